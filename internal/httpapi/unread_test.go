package httpapi_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"magellan/internal/discovery"
	"magellan/internal/httpapi"
	"magellan/internal/shops"
)

// unread is a record that exists and could never be read.
func unread(name string) []discovery.Doubt {
	return []discovery.Doubt{{Name: name, Reason: "/magellan/…/" + name + " has never been read: POST /admin/accept/magellan/…/" + name}}
}

var sea1 = shops.Datacenter{Name: "sea1", Region: "us-east1", Capacity: 10, Open: true}

// TestUnread: what nobody has read is not told as absent, in any format, and what it
// has nothing to do with is answered.
func TestUnread(t *testing.T) {
	w := newWorld(t, nil)
	w.reader.DeleteBadCitizens("everybody")
	w.reader.SetShop("60", "sea1")
	w.reader.SetDoubts(unread("us-west1"), unread("sea1"), unread("secret"))
	for target, name := range map[string]string{
		"/v1/bad-citizens": "secret", "/v1/bad-citizens?format=text": "secret", "/v1/bad-citizens?format=nginx": "secret",
		"/v1/bad-citizens?format=ipset": "secret", "/v1/bad-citizens/192.0.2.1": "secret",
		"/v1/regions": "us-west1", "/v1/regions/us-west1": "us-west1", "/v1/regions/us-east1": "sea1",
		"/v1/datacenters": "sea1", "/v1/datacenters/sea1": "sea1", "/v1/placement?shop=new": "us-west1", "/v1/shops/60": "sea1",
	} {
		for _, header := range []string{"Accept: */*", "Cache-Control: no-cache", "X-Min-Zxid: 0x1", "Cache-Control: stale-if-error=60"} {
			a := w.do("GET", target, "", header)
			if a.StatusCode != 503 || !strings.Contains(a.body, "urn:magellan:problem:unread-record") ||
				!strings.Contains(a.body, "/admin/accept/magellan/…/"+name) || a.Header.Get("Retry-After") == "" || a.Header.Get("Etag")+a.Header.Get("X-Cache") != "" {
				t.Errorf("%s with %s: %s %v %s", target, header, a.Status, a.Header, a.body)
			}
		}
		if a := w.do("HEAD", target, ""); a.StatusCode != 503 {
			t.Errorf("HEAD %s: %s", target, a.Status)
		}
	}
	for target, status := range map[string]int{
		"/v1/bad-citizens/203.0.113.9": 200, "/v1/datacenters/ash1": 200, "/v1/shops/42": 200,
		"/v1/datacenters/none": 404, "/v1/regions/none": 404, "/v1/shops/none": 404,
	} {
		if a := w.get(target); a.StatusCode != status || a.Header.Get("X-Cache") != "HIT" {
			t.Errorf("%s: %s, X-Cache %s, %s", target, a.Status, a.Header.Get("X-Cache"), a.body)
		}
	}
	a := w.do("POST", "/v1/shops/lookup", `{"shops":["42","60","lost"]}`)
	for _, want := range []string{`{"status":"found","shop":"42"`, `{"status":"unavailable","shop":"60","detail":"shop \"60\": its datacenter \"sea1\": unavailable: not known`, `{"status":"unreadable","shop":"lost"`} {
		if !strings.Contains(a.body, want) {
			t.Errorf("a lookup: %s lacks %s", a.body, want)
		}
	}
	// An operator goes on without them.
	accepted := func(name string) []discovery.Doubt {
		all := unread(name)
		all[0].Accepted = true
		return all
	}
	w.reader.SetDoubts(accepted("us-west1"), accepted("sea1"), accepted("secret"))
	for target, status := range map[string]int{
		"/v1/bad-citizens": 200, "/v1/bad-citizens/192.0.2.1": 200, "/v1/regions": 200, "/v1/datacenters": 200, "/v1/placement?shop=new": 200,
		"/v1/regions/us-west1": 502, "/v1/datacenters/sea1": 502, "/v1/shops/60": 502,
	} {
		if a := w.get(target); a.StatusCode != status || a.Header.Get("X-Cache") != "HIT" {
			t.Errorf("%s when that is accepted: %s, X-Cache %s, %s", target, a.Status, a.Header.Get("X-Cache"), a.body)
		}
	}
}

// TestStreamOfTheUnread: a stream has what is known, says what is not, and tells of it
// once it is. So does a long poll.
func TestStreamOfTheUnread(t *testing.T) {
	w := newWorld(t, nil)
	w.reader.SetShop("60", "sea1")
	w.reader.SetDoubts(nil, unread("sea1"), unread("secret"))
	c := w.watch("shop=42&shop=60&datacenters&datacenter=sea1&bad-citizens&bad-citizen=2001:db9::1", "")
	for _, want := range []string{"shop=42 200", "shop=60 503", "datacenters 503", "datacenter=sea1 503", "bad-citizens 503", "bad-citizen=2001:db9::1 200"} {
		wantPrefix(t, c.expectAnswer("snapshot"), want)
	}
	c.expect("synced")
	w.reader.SetDatacenter(sea1)
	w.reader.SetDoubts(nil, nil, unread("secret"))
	seen := map[string]bool{}
	for range 3 {
		key, _, _ := strings.Cut(c.expectAnswer("change"), " {")
		seen[key] = true
	}
	for _, want := range []string{"shop=60 200", "datacenters 200", "datacenter=sea1 200"} {
		if !seen[want] {
			t.Errorf("%s is not told of: %v", want, seen)
		}
	}
	w.reader.SetDoubts(nil, nil, nil)
	wantPrefix(t, c.expectAnswer("change"), "bad-citizens 200")
	// A list that is in doubt is no reason to refuse a stream.
	w.reader.DeleteBadCitizens("everybody")
	w.reader.SetDoubts(nil, nil, unread("secret"))
	d := w.watch("bad-citizen=192.0.2.1", "")
	wantPrefix(t, d.expectAnswer("snapshot"), "bad-citizen=192.0.2.1 503")
}

func TestUnreadLongPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, nil)
		got := b.poll(t.Context(), "/v1/bad-citizens", "wait=120")
		b.reader.SetDoubts(nil, nil, unread("secret"))
		time.Sleep(10 * time.Second)
		if !waits(got) {
			t.Fatalf("it ends with %+v", <-got)
		}
		b.reader.SetBadCitizens("secret", "192.0.2.1\n")
		b.reader.SetDoubts(nil, nil, nil)
		if a := <-got; a.StatusCode != 200 || !strings.Contains(a.body, "192.0.2.1") {
			t.Errorf("%s %s", a.Status, a.body)
		}
	})
}

// TestDoubted: what is served in place of what cannot be read is STALE and as old as
// it is; what is made of nothing of the kind is a hit.
func TestDoubted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, nil)
		b.reader.DeleteBadCitizens("everybody")
		zxid := b.reader.SetShop("60", "ash1")
		doubt := func(name string) []discovery.Doubt {
			return []discovery.Doubt{{Name: name, Reason: name + " is broken", Held: true, Since: time.Now(), Zxid: zxid - 1}}
		}
		b.reader.SetDoubts(doubt("us-east1"), doubt("ash1"), doubt("fraud"))
		made := []string{"/v1/bad-citizens", "/v1/bad-citizens/203.0.113.9", "/v1/bad-citizens/192.0.2.1", "/v1/regions", "/v1/regions/us-east1",
			"/v1/regions/eu-west1", "/v1/datacenters", "/v1/datacenters/ash1", "/v1/shops/42", "/v1/placement?shop=new"}
		time.Sleep(30 * time.Second)
		for _, target := range made {
			for _, header := range []string{"Accept: */*", "Cache-Control: no-cache", "Cache-Control: max-age=30", "X-Min-Zxid: 0x1"} {
				if a := b.ask(t.Context(), target, header); a.StatusCode != 200 || a.Header.Get("X-Cache") != "STALE" || a.Header.Get("Age") != "30" {
					t.Errorf("%s with %s: %s, %v, %s", target, header, a.Status, a.Header, a.body)
				}
			}
			for _, header := range []string{"Cache-Control: max-age=29", "Cache-Control: stale-if-error=29", fmt.Sprintf("X-Min-Zxid: %#x", zxid)} {
				if a := b.ask(t.Context(), target, header); a.StatusCode != 503 || !strings.Contains(a.body, "urn:magellan:problem:unavailable") {
					t.Errorf("%s with %s: %s %s", target, header, a.Status, a.body)
				}
			}
		}
		for _, target := range []string{"/v1/datacenters/dub1", "/v1/shops/43"} {
			if a := b.ask(t.Context(), target, fmt.Sprintf("X-Min-Zxid: %#x", zxid)); a.Header.Get("X-Cache") != "HIT" || a.Header.Get("Age") != "0" {
				t.Errorf("%s: %s %v", target, a.Status, a.Header)
			}
		}
		time.Sleep(time.Hour)
		for _, target := range made {
			if a := b.ask(t.Context(), target); a.StatusCode != 503 || !strings.Contains(a.body, "is broken") {
				t.Errorf("%s past --max-stale: %s %s", target, a.Status, a.body)
			}
		}
	})
}

// TestUpdating: a change that is being read is another thing than ZooKeeper being away.
func TestUpdating(t *testing.T) {
	w := newWorld(t, nil)
	w.reader.SetStaleness(time.Second, discovery.Updating)
	for _, target := range []string{"/v1/shops/42", "/v1/datacenters", "/v1/bad-citizens", "/v1/placement?shop=new", "/v1/shops/none"} {
		if a := w.get(target, "Cache-Control: stale-if-error=0"); a.Header.Get("X-Cache") != "UPDATING" || a.Header.Get("Age") != "1" {
			t.Errorf("%s: %s %v", target, a.Status, a.Header)
		}
	}
}

// TestStreamOfWhatBecomesTooOld: an answer that is made of all datacenters becomes too
// old while one of them cannot be read, and nothing but the clock tells. A stream says
// so of the keys that need them all, and goes on with the others.
func TestStreamOfWhatBecomesTooOld(t *testing.T) {
	w := newWorld(t, func(cfg *httpapi.Config) { cfg.Heartbeat = 10 * time.Millisecond })
	c := w.watch("datacenters&placement=new&datacenter=ash1", "")
	for range 3 {
		c.expect("snapshot")
	}
	c.expect("synced")
	broken := unread("sea1")
	broken[0].Since = time.Now().Add(2*time.Second - time.Hour) // an hour is the bound
	w.reader.SetDoubts(nil, broken, nil)
	keys := map[string]bool{}
	for range 2 {
		a := c.expect("unavailable").answer(t)
		if a.Status != 503 || !strings.Contains(string(a.Problem), "sea1") {
			t.Errorf("%+v", a)
		}
		keys[a.Key] = true
	}
	if !keys["datacenters"] || !keys["placement=new"] {
		t.Errorf("too old: %v", keys)
	}
	w.reader.SetDoubts(nil, nil, nil)
	for range 2 {
		if a := c.expect("change").answer(t); a.Status != 200 || !keys[a.Key] {
			t.Errorf("%+v", a)
		}
	}
}

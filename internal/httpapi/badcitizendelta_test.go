package httpapi_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cespare/xxhash/v2"

	"magellan/internal/httpapi"
	"magellan/internal/shops"
)

// follower is a client that follows the list by deltas: entry by prefix, as it
// stands in the answers.
type follower struct {
	t       testing.TB
	format  string
	since   string
	entries map[string]string
	// deltas counts the answers that were deltas, and lists those that were lists.
	deltas, lists int
}

// take applies an answer, of which it has only what a client would.
func (f *follower) take(a answer) {
	f.t.Helper()
	if a.StatusCode != http.StatusOK {
		f.t.Fatalf("%s %s", a.Status, a.body)
	}
	etag := a.Header.Get("Etag")
	base := a.Header.Get("Delta-Base")
	if f.format == "json" {
		f.takeJSON(a.body, base)
	} else {
		f.takeText(a.body, base)
	}
	if base == "" {
		f.lists++
	} else if f.deltas++; strings.Trim(base, `"`) != strings.Trim(f.since, `"`) {
		f.t.Fatalf("since %s a delta of %s", f.since, base)
	}
	f.since = etag
	if want := strings.Trim(etag, `"`); f.hash() != want {
		f.t.Fatalf("after %.200q the hash of %d entries is %s, the ETag %s", a.body, len(f.entries), f.hash(), want)
	}
}

// hash is what docs/bad-citizens.md says that an ETag is.
func (f *follower) hash() string {
	empty := map[string]string{"json": `{"entries":[]}` + "\n", "text": ""}[f.format]
	sum := xxhash.Sum64String(empty)
	for _, e := range f.entries {
		sum += xxhash.Sum64String(e)
	}
	return fmt.Sprintf("%016x", sum)
}

func (f *follower) takeJSON(body, base string) {
	f.t.Helper()
	var v struct {
		Entries, Removed, Added []json.RawMessage
		From, To                string
	}
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		f.t.Fatal(err)
	}
	if (v.Entries == nil) != (base != "") || (v.From == "") != (base == "") {
		f.t.Fatalf("is it a delta? Delta-Base %q, %.200s", base, body)
	}
	if v.Entries != nil {
		f.entries = map[string]string{}
	}
	key := func(e json.RawMessage) string {
		var entry struct{ Prefix string }
		if err := json.Unmarshal(e, &entry); err != nil {
			f.t.Fatal(err)
		}
		return entry.Prefix
	}
	for _, e := range v.Removed {
		f.remove(key(e), string(e))
	}
	for _, e := range append(v.Entries, v.Added...) {
		f.add(key(e), string(e))
	}
}

func (f *follower) takeText(body, base string) {
	f.t.Helper()
	lines := strings.SplitAfter(strings.TrimSuffix(body, "\n"), "\n")
	delta := strings.HasPrefix(body, "# delta ")
	if delta != (base != "") {
		f.t.Fatalf("is it a delta? Delta-Base %q, %.200s", base, body)
	}
	if !delta {
		f.entries = map[string]string{}
	} else {
		lines = lines[1:]
	}
	for _, line := range lines {
		if line = strings.TrimSuffix(line, "\n") + "\n"; line == "\n" {
			continue
		}
		entry := strings.TrimLeft(line, "+-")
		prefix, _, _ := strings.Cut(strings.TrimSuffix(entry, "\n"), " ")
		if line[0] == '-' {
			f.remove(prefix, entry)
		} else {
			f.add(prefix, entry)
		}
	}
}

func (f *follower) remove(prefix, entry string) {
	f.t.Helper()
	if f.entries[prefix] != entry {
		f.t.Fatalf("%q goes, which is %q", entry, f.entries[prefix])
	}
	delete(f.entries, prefix)
}

func (f *follower) add(prefix, entry string) {
	f.t.Helper()
	if f.entries[prefix] != "" {
		f.t.Fatalf("%q comes, and is there as %q", entry, f.entries[prefix])
	}
	f.entries[prefix] = entry
}

// body is the list that the client has, in the order that is documented: IPv4
// before IPv6, by address, shorter prefixes first.
func (f *follower) body() string {
	prefix := func(s string) netip.Prefix {
		if p, err := netip.ParsePrefix(s); err == nil {
			return p
		}
		addr := netip.MustParseAddr(s)
		return netip.PrefixFrom(addr, addr.BitLen())
	}
	var keys []string
	for k := range f.entries {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(x, y string) int { return prefix(x).Compare(prefix(y)) })
	separator := map[string]string{"json": ",", "text": ""}[f.format]
	var all []string
	for _, k := range keys {
		all = append(all, f.entries[k])
	}
	body := strings.Join(all, separator)
	if f.format == "json" {
		body = `{"entries":[` + body + "]}\n"
	}
	return body
}

// TestBadCitizensDelta: whoever applies deltas has what GET of the whole has, byte
// by byte, whichever of two replicas answers, through changes of several lists and
// expiries; and the ETag is the hash that clients can check.
func TestBadCitizensDelta(t *testing.T) {
	replicas := []*world{newWorld(t, nil), newWorld(t, nil)}
	random := rand.New(rand.NewPCG(7, 7))
	clock := now
	var followers []*follower
	for _, format := range []string{"json", "text"} {
		for range 3 {
			followers = append(followers, &follower{t: t, format: format})
		}
	}
	lists := map[string][]string{}
	for step := range 150 {
		name := fmt.Sprint("list-", random.IntN(3))
		lines := lists[name]
		for range 1 + random.IntN(3) {
			if len(lines) > 0 && random.IntN(3) == 0 {
				i := random.IntN(len(lines))
				lines = slices.Delete(slices.Clone(lines), i, i+1)
				continue
			}
			line := fmt.Sprintf("10.%d.0.%d/%d", random.IntN(2), random.IntN(8), 28+random.IntN(5))
			if random.IntN(3) == 0 {
				line = fmt.Sprintf("2001:db8::%d", random.IntN(5))
			}
			if random.IntN(2) == 0 {
				line += " expires=" + clock.Add(time.Duration(random.IntN(30)-2)*time.Second).Format(time.RFC3339)
			}
			if random.IntN(2) == 0 {
				line += fmt.Sprintf(" reason=\"why %d\"", random.IntN(3))
			}
			lines = append(lines, line)
		}
		lists[name] = lines
		for _, w := range replicas {
			w.setNow(clock)
			w.reader.SetBadCitizens(name, strings.Join(lines, "\n"))
		}
		for i, f := range followers {
			if random.IntN(1+2*i%5) > 0 {
				continue // some ask seldom
			}
			w := replicas[random.IntN(2)]
			f.take(w.get("/v1/bad-citizens?format=" + f.format + "&since=" + f.since))
			whole := replicas[random.IntN(2)].get("/v1/bad-citizens?format=" + f.format)
			if f.body() != whole.body || f.since != whole.Header.Get("Etag") {
				t.Fatalf("step %d: by deltas\n%s\n%s\nthe whole is\n%s\n%s", step, f.body(), f.since, whole.body, whole.Header.Get("Etag"))
			}
		}
		if random.IntN(2) == 0 {
			clock = clock.Add(time.Duration(random.IntN(4)) * time.Second)
			for _, w := range replicas {
				w.setNow(clock)
			}
		}
	}
	for _, f := range followers {
		if f.lists != 1 || f.deltas < 10 {
			t.Errorf("%s: %d whole lists and %d deltas", f.format, f.lists, f.deltas)
		}
	}
}

func TestBadCitizensSince(t *testing.T) {
	w := newWorld(t, nil)
	const target = "/v1/bad-citizens?since="
	first := w.get("/v1/bad-citizens").Header.Get("Etag")
	hash := strings.Trim(first, `"`)
	w.reader.SetBadCitizens("more", "192.0.2.1 reason=scan")
	second := w.get("/v1/bad-citizens").Header.Get("Etag")
	want := `{"from":"` + hash + `","to":` + second + `,"removed":[],"added":[{"prefix":"192.0.2.1/32","list":"more","reason":"scan"}]}` + "\n"
	for _, since := range []string{hash, strings.ToUpper(hash), "%22" + hash + "%22", "W/%22" + hash + "%22", "%22" + hash + "-gzip%22", hash + "-zstd", "%20" + hash} {
		a := w.get(target + since)
		if a.body != want || a.Header.Get("Delta-Base") != first || a.Header.Get("Etag") != second {
			t.Errorf("since %s: %v %s", since, a.Header, a.body)
		}
	}
	for _, since := range []string{"", "0", "0123456789abcdef", "*", hash + "0", "zzzzzzzzzzzzzzzz", "-"} {
		a := w.get(target + since)
		if !strings.HasPrefix(a.body, `{"entries":[`) || a.Header.Get("Delta-Base") != "" || a.Header.Get("Etag") != second {
			t.Errorf("since %s: %v %s, want the list", since, a.Header, a.body)
		}
	}

	// Nothing has changed.
	same := target + strings.Trim(second, `"`)
	if a := w.get(same); !strings.HasSuffix(a.body, `"removed":[],"added":[]}`+"\n") || a.Header.Get("Etag") != second {
		t.Errorf("since now: %s", a.body)
	}
	if a := w.get(same, "If-None-Match: "+second); a.StatusCode != http.StatusNotModified || a.Header.Get("Etag") != second {
		t.Errorf("since now, with If-None-Match: %s", a.Status)
	}
	if a := w.get(target+hash, "If-None-Match: "+first); a.body != want {
		t.Errorf("with the ETag of before: %s %s", a.Status, a.body)
	}

	// An entry that has changed is in both; so is one that another list has now,
	// but not in a format that does not show it.
	w.reader.SetBadCitizens("more", "192.0.2.1 reason=fraud")
	a := w.get(same)
	if !strings.HasSuffix(a.body, `"removed":[{"prefix":"192.0.2.1/32","list":"more","reason":"scan"}],"added":[{"prefix":"192.0.2.1/32","list":"more","reason":"fraud"}]}`+"\n") {
		t.Errorf("another reason: %s", a.body)
	}
	text := w.get("/v1/bad-citizens?format=text").Header.Get("Etag")
	nginx := w.get("/v1/bad-citizens?format=nginx").Header.Get("Etag")
	w.reader.SetBadCitizens("a", "192.0.2.1 reason=fraud")
	if a := w.get("/v1/bad-citizens?format=text"); a.Header.Get("Etag") != text {
		t.Error("the ETag of the same bytes is another")
	}
	w.reader.SetBadCitizens("a", "192.0.2.1 reason=more\n")
	w.reader.SetBadCitizens("more", "192.0.2.1 reason=more\n192.0.2.9")
	a = w.get("/v1/bad-citizens?format=text&since=" + text)
	if want := "# delta " + strings.Trim(text, `"`) + " " + strings.Trim(a.Header.Get("Etag"), `"`) +
		"\n-192.0.2.1 reason=\"fraud\"\n+192.0.2.1 reason=\"more\"\n+192.0.2.9\n"; a.body != want {
		t.Errorf("text:\n%s, want\n%s", a.body, want)
	}
	w.reader.SetBadCitizens("more", "192.0.2.1 reason=again")
	if a := w.get("/v1/bad-citizens?format=nginx"); a.Header.Get("Etag") != nginx {
		t.Error("nginx has no reasons, and another ETag for one")
	}
	if a := w.get("/v1/bad-citizens?format=nginx&since=" + nginx); a.StatusCode != http.StatusBadRequest || !strings.Contains(a.body, "since") {
		t.Errorf("nginx: %s %s", a.Status, a.body)
	}
}

// Entries that expire are among the removed, at each instant that some do.
func TestBadCitizensDeltaOfExpiry(t *testing.T) {
	w := newWorld(t, nil)
	w.reader.SetBadCitizens("short", "192.0.2.1 expires=2026-06-01T12:00:05Z\n192.0.2.2 expires=2026-06-01T12:00:06Z\n192.0.2.3")
	f := &follower{t: t, format: "text"}
	f.take(w.get("/v1/bad-citizens?format=text"))
	for _, seconds := range []int{2, 5, 6} {
		w.setNow(now.Add(time.Duration(seconds) * time.Second))
		f.take(w.get("/v1/bad-citizens?format=text&since=" + f.since))
		if whole := w.get("/v1/bad-citizens?format=text").body; f.body() != whole {
			t.Errorf("after %d s by deltas %s, the whole is %s", seconds, f.body(), whole)
		}
	}
	if f.lists != 1 || f.deltas != 3 || f.entries["192.0.2.2"] != "" || f.entries["192.0.2.3"] == "" {
		t.Errorf("%d lists, %d deltas, %v", f.lists, f.deltas, f.entries)
	}
}

// A delta for ipset is a file for ipset restore, as the list is.
func TestBadCitizensDeltaOfIPSet(t *testing.T) {
	w := newWorld(t, nil)
	const target = "/v1/bad-citizens?format=ipset"
	w.reader.DeleteBadCitizens("everybody")
	first := w.get(target).Header.Get("Etag")
	w.reader.SetBadCitizens("more", "192.0.2.0/24\n2001:db8:1::7")
	second := w.get(target + "&since=" + first)
	if want := "add magellan-bad-citizens-v4 192.0.2.0/24 -exist\nadd magellan-bad-citizens-v6 2001:db8:1::7 -exist\n"; second.body != want {
		t.Errorf("%s, want %s", second.body, want)
	}
	w.reader.SetBadCitizens("more", "2001:db8:1::7 reason=other")
	third := w.get(target + "&since=" + second.Header.Get("Etag"))
	if want := "del magellan-bad-citizens-v4 192.0.2.0/24 -exist\n"; third.body != want {
		t.Errorf("%s, want %s", third.body, want)
	}
	if a := w.get(target + "&since=" + third.Header.Get("Etag")); a.body != "" || a.Header.Get("Delta-Base") == "" {
		t.Errorf("no change: %s", a.body)
	}
	// A half of everything may be in the set for two reasons.
	w.reader.SetBadCitizens("everybody", "0.0.0.0/0")
	if a := w.get(target + "&since=" + third.Header.Get("Etag")); !strings.HasPrefix(a.body, "create ") || a.Header.Get("Delta-Base") != "" {
		t.Errorf("everybody: %s", a.body)
	}
}

// What is not known any more, and what is larger than the list, is the list.
func TestBadCitizensDeltaIsBounded(t *testing.T) {
	w := newWorld(t, nil)
	first := w.get("/v1/bad-citizens").Header.Get("Etag")
	var many strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&many, "10.0.%d.%d\n", i>>8, i&255)
	}
	w.reader.SetBadCitizens("more", many.String())
	second := w.get("/v1/bad-citizens?since=" + first)
	if second.Header.Get("Delta-Base") == "" {
		t.Error("5,000 more entries are no delta")
	}
	w.reader.DeleteBadCitizens("more")
	if a := w.get("/v1/bad-citizens?since=" + second.Header.Get("Etag")); a.Header.Get("Delta-Base") != "" || a.Header.Get("Etag") != first {
		t.Error("5,000 fewer entries are no list of the few that are left")
	}
	for i := range shops.MaxVersions + 1 {
		w.reader.SetBadCitizens("more", fmt.Sprint("10.0.0.1 reason=", i))
	}
	if a := w.get("/v1/bad-citizens?since=" + first); a.Header.Get("Delta-Base") != "" || !strings.Contains(a.body, `"entries"`) {
		t.Error("a version is known for ever")
	}
}

func TestBadCitizensDeltaLongPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, nil)
		etag := b.ask(t.Context(), "/v1/bad-citizens").Header.Get("Etag")
		ask := func(header ...string) <-chan polled {
			got := make(chan polled, 1)
			go func() {
				began := time.Now()
				got <- polled{b.ask(t.Context(), "/v1/bad-citizens?since="+etag, append(header, "Prefer: wait=300")...), time.Since(began)}
			}()
			synctest.Wait()
			return got
		}
		change := func(header ...string) {
			t.Helper()
			got := ask(header...)
			b.reader.SetShop("42", "dub1")
			b.reader.SetBadCitizens("empty", "")
			if !waits(got) {
				t.Fatal("nothing has changed, and the wait has ended")
			}
			b.reader.SetBadCitizens("more", "192.0.2.1")
			a := <-got
			if a.StatusCode != 200 || a.Header.Get("Delta-Base") != etag || !strings.Contains(a.body, `"added":[{"prefix":"192.0.2.1/32"`) {
				t.Errorf("%v: %s %v %s", header, a.Status, a.Header, a.body)
			}
			b.reader.DeleteBadCitizens("more")
		}
		change()
		change("If-None-Match: " + etag)

		// An entry that is gone in a second ends a wait as well.
		a := <-ask()
		if !strings.Contains(a.body, `"removed":[{"prefix":"198.51.100.1/32"`) || a.after > 2*time.Second {
			t.Errorf("an expiry: after %v %s", a.after, a.body)
		}
		etag = a.Header.Get("Etag")
		if a := <-ask(); a.StatusCode != 200 || !strings.HasSuffix(a.body, `"removed":[],"added":[]}`+"\n") || a.after < 200*time.Second {
			t.Errorf("the end of a wait: after %v %s %s", a.after, a.Status, a.body)
		}
		if a := <-ask("If-None-Match: " + etag); a.StatusCode != http.StatusNotModified || a.after < 200*time.Second {
			t.Errorf("the end of a wait with If-None-Match: after %v %s", a.after, a.Status)
		}
	})
}

// TestStreamOfDeltas: a stream begins with the list and goes on with what has
// changed; another replica goes on where it ended.
func TestStreamOfDeltas(t *testing.T) {
	w, other := newWorld(t, nil), newWorld(t, nil)
	value := func(e sseEvent) string {
		t.Helper()
		a := e.answer(t)
		if a.Key != "bad-citizens-delta" || a.Status != 200 {
			t.Errorf("%+v", a)
		}
		return string(a.Value)
	}
	c := w.watch("bad-citizens-delta&shop=42", "")
	c.expect("snapshot") // the shop
	first := c.expect("snapshot")
	if whole := w.get("/v1/bad-citizens"); value(first) != strings.TrimSpace(whole.body) || first.answer(t).ETag != whole.Header.Get("Etag") {
		t.Errorf("snapshot %s", first.data)
	}
	c.expect("synced")
	etag := first.answer(t).ETag
	for i := range 3 {
		w.reader.SetBadCitizens("more", fmt.Sprint("192.0.2.", i))
		other.reader.SetBadCitizens("more", fmt.Sprint("192.0.2.", i))
		e := c.expect("change")
		if v := value(e); !strings.HasPrefix(v, `{"from":`+etag+`,"to":`+e.answer(t).ETag+`,"removed":[`) ||
			!strings.Contains(v, `"added":[{"prefix":"192.0.2.`+strconv.Itoa(i)+`/32","list":"more"}]}`) {
			t.Errorf("change %d: %s", i, v)
		}
		etag = e.answer(t).ETag
	}
	c.giveUp()
	other.reader.SetBadCitizens("more", "")
	other.reader.SetBadCitizens("more", "192.0.2.2\n192.0.2.77")
	d := other.watch("bad-citizens-delta&shop=42", c.last)
	if v := value(d.expect("snapshot")); !strings.HasPrefix(v, `{"from":`+etag) || !strings.HasSuffix(v, `"removed":[],"added":[{"prefix":"192.0.2.77/32","list":"more"}]}`) {
		t.Errorf("resumed on another replica: %s", v)
	}
	d.expect("synced")

	// A replica that knows nothing of that version has the list for it.
	third := newWorld(t, nil)
	e := third.watch("bad-citizens-delta&shop=42", c.last)
	if v := value(e.expect("snapshot")); !strings.HasPrefix(v, `{"entries":[`) {
		t.Errorf("resumed on a replica that does not know the version: %s", v)
	}
}

// BenchmarkBadCitizensDelta is a change of one entry among 100,000, asked for as a
// delta and as the whole list.
func BenchmarkBadCitizensDelta(b *testing.B) {
	var text strings.Builder
	for i := range 50_000 {
		fmt.Fprintf(&text, "10.%d.%d.%d\n", i>>16, i>>8&255, i&255)
	}
	for _, how := range []string{"delta", "whole"} {
		b.Run(how, func(b *testing.B) {
			reader := newReader()
			reader.SetBadCitizens("a", text.String())
			reader.SetBadCitizens("b", strings.ReplaceAll(text.String(), "10.", "11."))
			service, err := shops.New(shops.Config{Reader: reader})
			if err != nil {
				b.Fatal(err)
			}
			server, err := httpapi.New(httpapi.Config{Service: service})
			if err != nil {
				b.Fatal(err)
			}
			bubble := &bubble{world: &world{t: b, server: server}}
			etag := bubble.ask(b.Context(), "/v1/bad-citizens").Header.Get("Etag")
			size := 0
			for i := 0; b.Loop(); i++ {
				reader.SetBadCitizens("c", fmt.Sprint("192.0.2.", i%256))
				target := "/v1/bad-citizens"
				if how == "delta" {
					target += "?since=" + etag
				}
				a := bubble.ask(b.Context(), target)
				etag, size = a.Header.Get("Etag"), len(a.body)
			}
			b.ReportMetric(float64(size), "bytes/change")
		})
	}
}

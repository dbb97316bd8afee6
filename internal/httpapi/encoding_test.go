package httpapi_test

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"magellan/internal/httpapi"
	"magellan/internal/shops"
	"magellan/internal/shops/shopstest"
)

// largeReader has answers that are worth compressing.
func largeReader() *shopstest.Reader {
	r := newReader()
	for i := range 400 {
		r.SetDatacenter(shops.Datacenter{Name: fmt.Sprintf("dc-%d", i), Region: "eu-west1", Capacity: 100, Open: true})
		r.SetRegion(shops.Region{Name: fmt.Sprintf("region-%d", i)})
	}
	r.SetBadCitizens("large", largeList(1000)+"203.0.113.8 reason=\""+strings.Repeat("long ", 500)+"\"\n")
	return r
}

// largeWorld is a Server over a largeReader.
func largeWorld(t *testing.T, reader shops.Reader) *world {
	s, err := shops.New(shops.Config{Reader: reader})
	if err != nil {
		t.Fatal(err)
	}
	return newWorld(t, func(cfg *httpapi.Config) { cfg.Service = s })
}

// unzipped is the body of an answer as it was before it was compressed.
func unzipped(t *testing.T, a answer) string {
	t.Helper()
	r, err := gzip.NewReader(strings.NewReader(a.body))
	if err != nil {
		t.Fatalf("%s %v: %v", a.Status, a.Header, err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(plain)
}

// zipTag is the ETag of the compressed body, by that of the body.
func zipTag(etag string) string { return strings.TrimSuffix(etag, `"`) + `-gzip"` }

// ask is world.do for answers that are compressed, which openapi.json's validator
// cannot read.
func (w *world) ask(method, target, body string, header ...string) answer {
	w.t.Helper()
	req, err := http.NewRequest(method, "http://"+w.addr+target, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	res, err := w.client.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{res, string(got)}
}

// TestCompression: each route's answer, with its own ETag, to who takes it compressed,
// who has it compressed, and who changes between the two.
func TestCompression(t *testing.T) {
	reader := largeReader()
	w, replica := largeWorld(t, reader), largeWorld(t, reader)
	names := make([]string, 300)
	for i := range names {
		names[i] = strconv.Quote(strconv.Itoa(i))
	}
	const zip = "Accept-Encoding: br, gzip;q=0.9"
	for _, target := range []string{
		"/v1/regions", "/v1/regions/eu-west1", "/v1/datacenters", "/v1/placement?shop=new", "/v1/bad-citizens/203.0.113.8",
		"/v1/bad-citizens", "/v1/bad-citizens?format=text", "/v1/bad-citizens?format=nginx", "/v1/bad-citizens?format=ipset", "/openapi.json", "/v1/shops/lookup",
	} {
		method, body := http.MethodGet, ""
		if strings.HasSuffix(target, "lookup") {
			method, body = http.MethodPost, `{"shops":[`+strings.Join(names, ",")+`]}`
		}
		plain, zipped := w.do(method, target, body), w.ask(method, target, body, zip)
		etag := plain.Header.Get("Etag")
		if plain.StatusCode != 200 || len(plain.body) <= 2<<10 || plain.Header.Get("Content-Encoding") != "" || plain.Header.Get("Vary") != "Accept-Encoding" {
			t.Fatalf("%s: %s, %d bytes, %v", target, plain.Status, len(plain.body), plain.Header)
		}
		if zipped.StatusCode != 200 || zipped.Header.Get("Content-Encoding") != "gzip" || zipped.Header.Get("Etag") != zipTag(etag) || zipped.Header.Get("Vary") != "Accept-Encoding" ||
			unzipped(t, zipped) != plain.body || len(zipped.body)*2 > len(plain.body) || zipped.ContentLength != int64(len(zipped.body)) || zipped.Header.Get("Content-Type") != plain.Header.Get("Content-Type") {
			t.Errorf("%s: %s, %d bytes, %v", target, zipped.Status, len(zipped.body), zipped.Header)
		}
		other := replica.ask(method, target, body, zip)
		if other.body != zipped.body || other.Header.Get("Etag") != zipped.Header.Get("Etag") {
			t.Errorf("%s: another replica answers otherwise: %v", target, other.Header)
		}
		for _, refused := range []string{"Accept-Encoding: gzip;q=0", "Accept-Encoding: identity", "Accept-Encoding: br"} {
			if a := w.ask(method, target, body, refused); a.body != plain.body || a.Header.Get("Etag") != etag {
				t.Errorf("%s, %s: %v", target, refused, a.Header)
			}
		}
		if method == http.MethodPost {
			continue
		}
		for _, accepts := range []string{zip, "Accept-Encoding: identity"} {
			whole := w.ask(http.MethodGet, target, "", accepts)
			head := w.ask(http.MethodHead, target, "", accepts)
			for _, name := range []string{"Etag", "Content-Length", "Content-Encoding", "Content-Type", "Vary"} {
				if got, want := head.Header.Get(name), whole.Header.Get(name); got != want {
					t.Errorf("HEAD %s, %s: %s is %q, GET says %q", target, accepts, name, got, want)
				}
			}
			// What it has it has, compressed or not.
			for _, has := range []string{etag, zipTag(etag), "W/" + zipTag(etag), `"other", ` + zipTag(etag)} {
				a := w.ask(http.MethodGet, target, "", accepts, "If-None-Match: "+has)
				want := etag
				if strings.Contains(has, "-gzip") {
					want = zipTag(etag)
				}
				if a.StatusCode != 304 || a.Header.Get("Etag") != want || a.Header.Get("Vary") != "Accept-Encoding" || a.Header.Get("Content-Encoding") != "" {
					t.Errorf("%s, %s, with %s: %s %v", target, accepts, has, a.Status, a.Header)
				}
			}
			for _, has := range []string{`"other"`, `"0123456789abcdef-gzip"`, etag[:len(etag)-1] + `-br"`} {
				if a := w.ask(http.MethodGet, target, "", accepts, "If-None-Match: "+has); a.StatusCode != 200 || a.body != whole.body {
					t.Errorf("%s, %s, with %s: %s", target, accepts, has, a.Status)
				}
			}
		}
	}
	// What is short, what is a problem and what is a stream is sent as it is.
	for target, status := range map[string]int{"/v1/shops/42": 200, "/v1/bad-citizens/198.51.100.9": 200, "/v1/shops/nope": 404, "/v1/placement?shop=x&exclude=eu-west1&exclude=us-east1&exclude=ap-south1": 409} {
		if a := w.ask(http.MethodGet, target, "", zip); a.StatusCode != status || a.Header.Get("Content-Encoding") != "" || strings.Contains(a.Header.Get("Etag"), "gzip") {
			t.Errorf("%s: %s %v", target, a.Status, a.Header)
		}
	}
	c := w.watchWith("datacenters", http.Header{"Accept-Encoding": {"gzip"}})
	if a := c.expect("snapshot").answer(t); c.res.Header.Get("Content-Encoding") != "" || a.ETag != w.get("/v1/datacenters").Header.Get("Etag") {
		t.Errorf("%v, %+v", c.res.Header, a)
	}
}

// TestCompressedPoll: who waits with the ETag of a compressed body is woken by the
// next one, and has it as it takes it then.
func TestCompressedPoll(t *testing.T) {
	reader := largeReader()
	w := largeWorld(t, reader)
	changes := 0
	for _, target := range []string{"/v1/datacenters", "/v1/bad-citizens"} {
		for _, accepts := range []string{"gzip", "identity"} {
			has := w.ask(http.MethodGet, target, "", "Accept-Encoding: gzip").Header.Get("Etag")
			got := make(chan answer, 1)
			go func() {
				got <- w.ask(http.MethodGet, target, "", "Accept-Encoding: "+accepts, "If-None-Match: "+has, "Prefer: wait=300")
			}()
			eventually(t, func() bool { return reader.Watches() == 1 })
			changes++
			reader.SetDatacenter(shops.Datacenter{Name: "dc-1", Region: "eu-west1", Assigned: int64(changes)})
			reader.SetBadCitizens("changes", fmt.Sprintf("192.0.2.%d\n", changes))
			a := <-got
			body, etag := a.body, a.Header.Get("Etag")
			if accepts == "gzip" {
				body, etag = unzipped(t, a), strings.Replace(etag, "-gzip", "", 1)
			}
			now := w.get(target)
			if a.StatusCode != 200 || etag == has || a.Header.Get("Preference-Applied") != "wait=300" ||
				body != now.body || etag != now.Header.Get("Etag") {
				t.Errorf("%s, %s: %s %v", target, accepts, a.Status, a.Header)
			}
		}
	}
}

package httpapi_test

import (
	"net/http"
	"strings"
	"testing"

	"magellan/internal/httpapi"
	"magellan/internal/shops"
)

const (
	shopPage  = "https://shop.example"
	otherPage = "http://localhost:3000"
)

// TestPreflight: a browser is told plainly whether a page may ask.
func TestPreflight(t *testing.T) {
	for _, tt := range []struct {
		name, origin, method string
		allowed              []string
		status               int
		allows               string
	}{
		{"off", shopPage, "GET", nil, 403, ""},
		{"listed", shopPage, "GET", []string{otherPage, shopPage}, 204, shopPage},
		{"HEAD", shopPage, "HEAD", []string{shopPage}, 204, shopPage},
		{"not listed", "https://evil.example", "GET", []string{shopPage}, 403, ""},
		{"a subdomain", "https://a.shop.example", "GET", []string{shopPage}, 403, ""},
		{"another scheme", "http://shop.example", "GET", []string{shopPage}, 403, ""},
		{"a file", "null", "GET", []string{shopPage}, 403, ""},
		{"any", "https://evil.example", "GET", []string{"*"}, 204, "*"},
		{"a file, any", "null", "GET", []string{shopPage, "*"}, 204, "*"},
		{"POST", shopPage, "POST", []string{shopPage}, 403, ""},
		{"DELETE, any", shopPage, "DELETE", []string{"*"}, 403, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, func(cfg *httpapi.Config) { cfg.CORSOrigins = tt.allowed })
			for _, path := range []string{"/v1/shops/42", "/v1/watch", "/v1/shops/lookup", "/healthz"} {
				a := w.do(http.MethodOptions, path, "", "Origin: "+tt.origin, "Access-Control-Request-Method: "+tt.method, "Access-Control-Request-Headers: if-none-match,prefer")
				if a.StatusCode != tt.status || a.Header.Get("Access-Control-Allow-Origin") != tt.allows {
					t.Errorf("%s: %s %v", path, a.Status, a.Header)
				}
				if varies := len(tt.allowed) == 1 && tt.allowed[0] != "*"; varies && a.Header.Get("Vary") != "Origin" {
					t.Errorf("%s: %v", path, a.Header)
				}
				if tt.status != 204 {
					if !strings.Contains(a.body, "origin-not-allowed") || a.Header.Get("Access-Control-Allow-Methods") != "" {
						t.Errorf("%s: %v %s", path, a.Header, a.body)
					}
					continue
				}
				if a.Header.Get("Access-Control-Allow-Methods") != "GET, HEAD" || a.Header.Get("Access-Control-Max-Age") == "" || a.body != "" || a.Header.Get("Access-Control-Allow-Credentials") != "" {
					t.Errorf("%s: %v", path, a.Header)
				}
				for _, sent := range []string{"If-None-Match", "Prefer", "Cache-Control", "X-Min-Zxid", "Last-Event-ID"} {
					if !strings.Contains(a.Header.Get("Access-Control-Allow-Headers"), sent) {
						t.Errorf("%s: %s may not be sent", path, sent)
					}
				}
			}
		})
	}
	// Who asks for a path's methods is no browser that asks for a page.
	w := newWorld(t, nil)
	if a := w.do(http.MethodOptions, "/v1/shops/42", ""); a.StatusCode != http.StatusNoContent || a.Header.Get("Allow") != "OPTIONS, GET, HEAD" {
		t.Errorf("%s %v", a.Status, a.Header)
	}
}

// TestCrossOrigin: what an allowed page may read, of whatever answer, and caches do
// not give one page another's answer.
func TestCrossOrigin(t *testing.T) {
	check := func(w *world, origin, allows string, varies bool) {
		t.Helper()
		etag := w.get("/v1/shops/42").Header.Get("Etag")
		for _, tt := range []struct {
			method, target string
			header         string
			status         int
		}{
			{"GET", "/v1/shops/42", "", 200},
			{"HEAD", "/v1/shops/42", "", 200},
			{"GET", "/v1/shops/42", "If-None-Match: " + etag, 304},
			{"GET", "/v1/shops/nope", "", 404},
			{"GET", "/v2", "", 404},
			{"GET", "/readyz", "", 200},
		} {
			a := w.do(tt.method, tt.target, "", "Origin: "+origin, tt.header)
			if a.StatusCode != tt.status || a.Header.Get("Access-Control-Allow-Origin") != allows || strings.Contains(a.Header.Get("Vary"), "Origin") != varies {
				t.Errorf("%s %s of %s: %s %v", tt.method, tt.target, origin, a.Status, a.Header)
			}
			if exposed := a.Header.Get("Access-Control-Expose-Headers"); (allows != "") != strings.Contains(exposed, "ETag") || (allows != "") != strings.Contains(exposed, "X-Zxid") {
				t.Errorf("%s %s: may read %q", tt.method, tt.target, exposed)
			}
		}
		if a := w.do("POST", "/v1/shops/lookup", `{"shops":[]}`, "Origin: "+origin); a.StatusCode != 200 || a.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("POST: %s %v", a.Status, a.Header)
		}
	}
	check(newWorld(t, nil), shopPage, "", false)
	listed := newWorld(t, func(cfg *httpapi.Config) { cfg.CORSOrigins = []string{shopPage, otherPage} })
	check(listed, shopPage, shopPage, true)
	check(listed, otherPage, otherPage, true)
	check(listed, "https://evil.example", "", true)
	any := newWorld(t, func(cfg *httpapi.Config) { cfg.CORSOrigins = []string{"*"} })
	check(any, "https://evil.example", "*", false)
	if a := any.get("/v1/shops/42"); a.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("what a cache keeps is of no use to a page: %v", a.Header)
	}
	// EventSource.
	c := listed.watchWith("shop=42", http.Header{"Origin": {shopPage}})
	c.expect("snapshot")
	if got := c.res.Header.Get("Access-Control-Allow-Origin"); got != shopPage {
		t.Errorf("a stream: %v", c.res.Header)
	}
}

func TestCheckOrigin(t *testing.T) {
	for _, origin := range []string{"*", shopPage, otherPage, "https://[::1]:8443", "http://127.0.0.1", "https://xn--caf-dma.example", "http://a_b.example:8080", "https://shop.example.", "https://shop.example:80", "http://[::ffff:7f00:1]"} {
		if err := httpapi.CheckOrigin(origin); err != nil {
			t.Errorf("%s: %v", origin, err)
		}
	}
	for _, origin := range []string{
		"", "null", "shop.example", "https://", "https://shop.example/", "https://Shop.example", "HTTPS://shop.example", "ftp://shop.example",
		"https://u@shop.example", "https://*.shop.example/x", "https://shop.example:443", "http://shop.example:80", "https://shop.example?", "//shop.example",
		"https://:443", "https://shop.example:99999", "https://*.shop.example", "https://café.example", "http://127.1", "http://127.0.0.01", "http://[fe80::1%25eth0]:80",
	} {
		if err := httpapi.CheckOrigin(origin); err == nil {
			t.Errorf("%q is taken", origin)
		}
		service, err := shops.New(shops.Config{Reader: newReader()})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := httpapi.New(httpapi.Config{Service: service, CORSOrigins: []string{origin}}); err == nil || !strings.HasPrefix(err.Error(), "httpapi: Config.CORSOrigins: ") {
			t.Errorf("%q: %v", origin, err)
		}
	}
}

// TestCheckOriginSays: the message has the form that browsers send.
func TestCheckOriginSays(t *testing.T) {
	for origin, want := range map[string]string{
		"https://shop.example/":             "https://shop.example",
		"https://shop.example/cart?a=b#c":   "https://shop.example",
		"HTTPS://Shop.Example:443/":         "https://shop.example",
		"http://shop.example:80":            "http://shop.example",
		"http://shop.example:":              "http://shop.example",
		"http://shop.example:08080":         "http://shop.example:8080",
		"http://[::1]:80":                   "http://[::1]",
		"http://[0:0::1]:3000":              "http://[::1]:3000",
		"https://[::FFFF:127.0.0.1]":        "https://[::ffff:7f00:1]",
		"https://somebody@shop.example:444": "https://shop.example:444",
	} {
		err := httpapi.CheckOrigin(origin)
		if err == nil || !strings.HasSuffix(err.Error(), ": want "+want) {
			t.Errorf("%s: %v, want %s", origin, err, want)
		} else if err := httpapi.CheckOrigin(want); err != nil {
			t.Error(err)
		}
	}
}

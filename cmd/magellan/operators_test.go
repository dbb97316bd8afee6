package main

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"magellan/internal/admin"
	"magellan/internal/cache"
)

// fakeHeld is a cache of which all is known.
type fakeHeld struct {
	problems []cache.Problem
	entries  map[string]cache.Explanation
	heldBack map[string]bool // until that is accepted
}

func (f fakeHeld) Problems() []cache.Problem { return f.problems }

func (f fakeHeld) Explain(path string) (cache.Explanation, bool) {
	x, ok := f.entries[path]
	return x, ok
}

func (f fakeHeld) Accept(path string) bool {
	held := f.heldBack[path]
	delete(f.heldBack, path)
	return held
}

// askOperators serves what operators can ask a cache and returns how to ask it.
func askOperators(t *testing.T, h held) (ask func(method, path string) (*http.Response, string)) {
	t.Helper()
	s, err := admin.New(admin.Config{Listen: "127.0.0.1:0", Gatherer: prometheus.NewRegistry(), Routes: cacheRoutes(h), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve()
	t.Cleanup(func() { s.Shutdown(context.Background()) })
	return func(method, path string) (*http.Response, string) {
		t.Helper()
		q, err := http.NewRequest(method, "http://"+s.Addr().String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(body)
	}
}

func TestCacheRoutes(t *testing.T) {
	ask := askOperators(t, fakeHeld{
		entries: map[string]cache.Explanation{
			"/magellan/shops/1a2/42":  {Zxid: 7},
			"/magellan/shops/00f/ö %": {Zxid: 8},
			"/":                       {Zxid: 9},
		},
		heldBack: map[string]bool{"/magellan/datacenters": true},
	})
	for _, test := range []struct {
		method, path string
		status       int
		contentType  string
		body         string // is part of it
	}{
		{"GET", "/admin/problems", 200, "application/json", `"problems": []`},
		{"GET", "/admin/cache/magellan/shops/1a2/42", 200, "application/json", `"zxid": 7`},
		{"GET", "/admin/cache//magellan/shops/1a2/42", 200, "application/json", `"zxid": 7`},
		{"GET", "/admin/cache/magellan%2Fshops%2F1a2%2F42", 200, "application/json", `"zxid": 7`},
		{"GET", "/admin/cache/magellan/shops/00f/%C3%B6%20%25", 200, "application/json", `"zxid": 8`},
		{"GET", "/admin/cache/", 200, "application/json", `"zxid": 9`},
		{"GET", "/admin/cache/magellan/shops/1a2/43", 404, "application/problem+json", "no znode that the cache holds has the path /magellan/shops/1a2/43"},
		{"POST", "/admin/problems", 405, "application/problem+json", "Method Not Allowed"},
		{"HEAD", "/admin/problems", 200, "application/json", ""},
		{"GET", "/admin/accept/magellan/datacenters", 405, "application/problem+json", "Method Not Allowed"},
		{"POST", "/admin/accept/magellan/datacenters", 200, "application/json", `"accepted": "/magellan/datacenters"`},
		{"POST", "/admin/accept/magellan/datacenters", 404, "application/problem+json", "there is nothing to accept at /magellan/datacenters"},
	} {
		resp, body := ask(test.method, test.path)
		if resp.StatusCode != test.status || !strings.HasPrefix(resp.Header.Get("Content-Type"), test.contentType) || !strings.Contains(body, test.body) {
			t.Errorf("%s %s: %d %s\n%s\nwant %d %s … %s", test.method, test.path,
				resp.StatusCode, resp.Header.Get("Content-Type"), body, test.status, test.contentType, test.body)
		}
	}
}

// The names of fields are what scripts rely on.
func TestCacheRoutesJSON(t *testing.T) {
	bad := cache.Problem{Path: "/magellan/shops/1a2/42", Error: `shop "42": unreadable record`, Since: time.Unix(1e9, 0).UTC(), Zxid: 12, ServedZxid: 7}
	ask := askOperators(t, fakeHeld{
		problems: []cache.Problem{bad},
		entries: map[string]cache.Explanation{bad.Path: {
			Path: bad.Path, Kind: "shop", Held: true, Value: "in dc1", Zxid: 7, Watched: true, Reading: true, Cache: "STALE", Age: 1500 * time.Millisecond,
			Session: 2, SessionID: 0x100abc, Restored: true, HeldBack: true, Heat: 3, Problem: &bad,
		}},
	})
	shown := map[string]any{"path": bad.Path, "error": bad.Error, "since": "2001-09-09T01:46:40Z", "zxid": 12., "served_zxid": 7.}
	for path, want := range map[string]map[string]any{
		"/admin/problems": {"problems": []any{shown}},
		"/admin/cache" + bad.Path: {
			"path": bad.Path, "kind": "shop", "held": true, "value": "in dc1", "zxid": 7., "cache": "STALE", "age_seconds": 1.5, "watched": true, "reading": true,
			"session": 2., "session_id": "0x100abc", "restored": true, "held_back": true, "heat": 3., "problem": shown,
		},
	} {
		_, body := ask("GET", path)
		var got map[string]any
		if err := json.Unmarshal([]byte(body), &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v\n%s\nwant %v", path, err, body, want)
		}
	}
}

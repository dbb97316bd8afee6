package httpapi

import (
	"net/http"
	"strings"
	"testing"
)

func TestMatchesETag(t *testing.T) {
	const etag = `"0123456789abcdef"`
	for _, tt := range []struct {
		values []string
		want   bool
	}{
		{[]string{etag}, true},
		{[]string{`W/` + etag}, true},
		{[]string{`*`}, true},
		{[]string{` * `}, true},
		{[]string{`"a", ` + etag}, true},
		{[]string{`"a","b"`, etag}, true},
		{[]string{`,, ,"a" ,	W/` + etag + `,`}, true},
		{[]string{`"a,b", ` + etag}, true},
		{[]string{``}, false},
		{[]string{`"a"`}, false},
		{[]string{`0123456789abcdef`}, false},
		{[]string{`"0123456789abcdef`}, false},
		{[]string{`w/` + etag}, false},
		{[]string{`"x` + etag}, false},
		{[]string{`"a" ` + etag}, false}, // no comma: a syntax error
		{[]string{`a, ` + etag}, false},
		{[]string{`"a", *`}, false},
		{[]string{`"0123456789ABCDEF"`}, false}, // opaque: case counts
		{[]string{`junk`, etag}, true},
	} {
		if got := matchesETag(tt.values, etag); got != tt.want {
			t.Errorf("%q: %v", tt.values, got)
		}
	}
}

func TestNoCache(t *testing.T) {
	for _, tt := range []struct {
		values []string
		want   bool
	}{
		{nil, false},
		{[]string{""}, false},
		{[]string{"no-cache"}, true},
		{[]string{"No-Cache"}, true},
		{[]string{"max-age=0, no-cache"}, true},
		{[]string{"max-age=0", "no-cache"}, true},
		{[]string{`no-cache="Set-Cookie"`}, true},
		{[]string{" ,, no-cache"}, true},
		{[]string{"no-store"}, false},
		{[]string{"no-cache-please"}, false},
		{[]string{`ext="no-cache"`}, false},
		{[]string{`ext="a\", no-cache"`}, false},
		{[]string{`ext="a", no-cache`}, true},
		{[]string{"ext=no-cache"}, false},
		{[]string{`ext="no-cache`}, false},
	} {
		if got := noCache(tt.values); got != tt.want {
			t.Errorf("%q: %v", tt.values, got)
		}
	}
}

// FuzzIfNoneMatch: no header makes it fail, and one that is well formed is read
// as its parts.
func FuzzIfNoneMatch(f *testing.F) {
	for _, s := range []string{``, `*`, `"a"`, `W/"a", "b"`, `"a`, `,,"x" "y"`, `"` + "\xff" + `"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		const etag = `"0123456789abcdef"`
		got := matchesETag([]string{header}, etag)
		if got && !strings.Contains(header, etag) && strings.Trim(header, " \t") != "*" {
			t.Errorf("%q matches", header)
		}
		if !matchesETag([]string{header, etag}, etag) {
			t.Errorf("%q hides the value behind it", header)
		}
		if !strings.Contains(header, `"`) && !matchesETag([]string{`"x" , W/` + etag + `,` + header}, etag) {
			t.Errorf("%q hides the tag before it", header)
		}
		noCache([]string{header})
	})
}

func TestRequestID(t *testing.T) {
	for id, want := range map[string]bool{
		"7b4f-22_a.b:c/d+e=f@g~h": true,
		strings.Repeat("a", 128):  true,
		strings.Repeat("a", 129):  false,
		"":                        false,
		"a b":                     false,
		"a\nb":                    false,
		`a"b`:                     false,
		"é":                       false,
	} {
		if got := saneRequestID(id); got != want {
			t.Errorf("%q: %v", id, got)
		}
	}
	x := newExchange(&Server{})
	seen := make(map[string]bool)
	for range 1000 {
		id := strings.Clone(x.requestIDOf(&http.Request{Header: http.Header{}})[0])
		if seen[id] || len(id) != 16 {
			t.Fatalf("id %q", id)
		}
		seen[id] = true
	}
	if two := x.requestIDOf(&http.Request{Header: http.Header{"X-Request-Id": {"a", "b"}}})[0]; len(two) != 16 {
		t.Errorf("of two ids %q was taken", two)
	}
}

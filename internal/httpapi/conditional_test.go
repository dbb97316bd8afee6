package httpapi

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"magellan/internal/discovery"
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

func TestCacheControl(t *testing.T) {
	type options = discovery.ReadOptions
	fresh := options{Fresh: true}
	for _, tt := range []struct {
		values []string
		want   options
	}{
		{nil, options{}},
		{[]string{""}, options{}},
		{[]string{"no-cache"}, fresh},
		{[]string{"No-Cache"}, fresh},
		{[]string{"max-age=0, no-cache"}, fresh},
		{[]string{"max-age=0", "no-cache"}, fresh},
		{[]string{`no-cache="Set-Cookie"`}, fresh},
		{[]string{" ,, no-cache"}, fresh},
		{[]string{"no-store"}, options{}},
		{[]string{"no-cache-please"}, options{}},
		{[]string{`ext="no-cache"`}, options{}},
		{[]string{`ext="a\", no-cache"`}, options{}},
		{[]string{`ext="a", no-cache`}, fresh},
		{[]string{"ext=no-cache"}, options{}},
		{[]string{`ext="no-cache`}, options{}},
		{[]string{"max-age=5"}, options{MaxAge: 5 * time.Second}},
		{[]string{"Max-Age=5 , min-fresh=3"}, options{MaxAge: 5 * time.Second}},
		{[]string{`max-age="5"`}, options{MaxAge: 5 * time.Second}},
		{[]string{"max-age=9, max-age=5", "max-age=7"}, options{MaxAge: 5 * time.Second}},
		{[]string{"max-age=99999999999999999999999"}, options{MaxAge: maxDeltaSeconds * time.Second}},
		// What is no number of seconds asks for all there is to ask.
		{[]string{"max-age=0"}, fresh},
		{[]string{"max-age"}, fresh},
		{[]string{"max-age=soon"}, fresh},
		{[]string{"max-age=-1"}, fresh},
		{[]string{`max-age="5`}, fresh},
		{[]string{"stale-if-error=60"}, options{StaleIfError: time.Minute}},
		{[]string{"stale-if-error=60, stale-if-error=30"}, options{StaleIfError: 30 * time.Second}},
		{[]string{"stale-if-error=0, stale-if-error=30"}, options{StaleIfError: -1}},
		{[]string{"stale-if-error=x"}, options{StaleIfError: -1}},
		{[]string{"max-age=1, stale-if-error=2, no-cache"}, options{Fresh: true, MaxAge: time.Second, StaleIfError: 2 * time.Second}},
	} {
		if got := cacheControl(tt.values); got != tt.want {
			t.Errorf("%q: %+v, want %+v", tt.values, got, tt.want)
		}
	}
}

func TestMinZxid(t *testing.T) {
	for _, tt := range []struct {
		values []string
		want   int64
	}{
		{[]string{"0x10000002a"}, 0x10000002a},
		{[]string{" 0X10000002A "}, 0x10000002a},
		{[]string{"10000002a"}, 0x10000002a},
		{[]string{"0x7fffffffffffffff"}, 1<<63 - 1},
		{[]string{"0x0"}, 0},
		{[]string{"0x1", "0x3", "0x2"}, 3},
		{[]string{""}, -1},
		{[]string{"0x"}, -1},
		{[]string{"0x8000000000000000"}, -1},
		{[]string{"-1"}, -1},
		{[]string{"+1"}, -1},
		{[]string{"0x+1"}, -1},
		{[]string{"1_0"}, -1},
		{[]string{"0x1", "latest"}, -1},
	} {
		if got := minZxid(tt.values); got != tt.want {
			t.Errorf("%q: %#x, want %#x", tt.values, got, tt.want)
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
		if opt := cacheControl([]string{header, "no-cache, max-age=7, stale-if-error=7"}); opt.MaxAge > 7*time.Second || opt.StaleIfError > 7*time.Second || opt.MaxAge < 0 {
			t.Errorf("after %q: %+v", header, opt)
		}
		if zxid := minZxid([]string{header}); zxid < -1 {
			t.Errorf("%q: %d", header, zxid)
		}
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
	x := newExchange(&Server{}, nil)
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

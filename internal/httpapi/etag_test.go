package httpapi

import (
	"strings"
	"testing"
	"time"
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

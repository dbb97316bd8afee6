package httpapi

import (
	"testing"
	"time"

	"magellan/internal/discovery"
)

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

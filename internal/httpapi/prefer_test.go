package httpapi

import (
	"testing"
	"time"
)

func TestPreferredWait(t *testing.T) {
	for _, tt := range []struct {
		values []string
		want   time.Duration
		ok     bool
	}{
		{nil, 0, false},
		{[]string{"wait=30"}, 30 * time.Second, true},
		{[]string{"Wait = 30"}, 30 * time.Second, true},
		{[]string{`wait="30"`}, 30 * time.Second, true},
		{[]string{"respond-async, wait=10"}, 10 * time.Second, true},
		{[]string{"respond-async", "wait=10; foo=1"}, 10 * time.Second, true},
		{[]string{"wait=10, wait=20"}, 10 * time.Second, true}, // the first counts
		{[]string{`foo="a, wait=5", wait=7`}, 7 * time.Second, true},
		{[]string{`foo="a\", wait=5", wait=7`}, 7 * time.Second, true},
		{[]string{`foo; wait=5`}, 0, false}, // a parameter of foo
		{[]string{"wait"}, 0, false},
		{[]string{"wait="}, 0, false},
		{[]string{"wait=soon"}, 0, false},
		{[]string{"wait=-1"}, 0, false},
		{[]string{"wait=99999999999999999999"}, 1 << 31 * time.Second, true},
		{[]string{"wait=4294967296"}, 1 << 31 * time.Second, true},
		{[]string{"wait=2.5"}, 3 * time.Second, true},
		{[]string{"wait=0.001"}, time.Second, true},
		{[]string{`wait = "10.0" ; x=y`}, 10 * time.Second, true},
		{[]string{"wait=1.2.3"}, 0, false},
		{[]string{"wait=1."}, 0, false},
		{[]string{"wait=.5"}, 0, false},
		{[]string{"wait=1e3"}, 0, false},
		{[]string{"wait=+1"}, 0, false},
		{[]string{"wait=30s"}, 0, false},
		{[]string{"wait=soon, wait=10"}, 0, false}, // the first counts
		{[]string{"wait=10", "wait=20"}, 10 * time.Second, true},
		{[]string{"waiting=3"}, 0, false},
		{[]string{`foo="wait=5`}, 0, false},
		{[]string{",, ,wait=0"}, 0, true},
	} {
		got, ok := preferredWait(tt.values)
		if ok != tt.ok || ok && got != tt.want {
			t.Errorf("%q: %v, %v", tt.values, got, ok)
		}
	}
}

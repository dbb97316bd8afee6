//go:build !asan

package pprof

import (
	"strconv"
	"strings"
	"testing"
)

// The line of the log has the function that one looks for, which is seldom among the
// innermost frames: a library is 20 frames deep, and below it is the handler.
func TestGrownStackHasBothEnds(t *testing.T) {
	stack := func(frames int) *GrownStack {
		g := new(GrownStack)
		for i := range frames {
			g.Stack = append(g.Stack, "f"+strconv.Itoa(i))
		}
		return g
	}
	if whole := stack(40).String(); strings.Count(whole, " < ") != 39 || strings.Contains(whole, "...") {
		t.Errorf("a stack of 40 frames is cut: %s", whole)
	}
	long := stack(128).String()
	if !strings.HasPrefix(long, "f0 < f1 < ") || !strings.HasSuffix(long, " < f126 < f127") || !strings.Contains(long, " < f31 < ... < f120 < ") {
		t.Errorf("a stack of 128 frames: %s", long)
	}
}

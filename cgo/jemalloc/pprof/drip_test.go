//go:build !asan

package pprof

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"magellan/cgo/jemalloc/internal/leaktest"
)

// dripRate is 50 KB/s in objects of 8 bytes.
const dripRate = 6400

// runDrip is a program that takes dripRate objects of 8 bytes a second in a C
// function and forgets them, or gives them back where PPROF_TEST_CLEAN is set. Its
// Recorder has all its defaults. It ends with its standard input.
func runDrip() {
	rec, err := New(Config{})
	if err != nil {
		panic(err)
	}
	s := httptest.NewServer(rec.Handler(""))
	fmt.Println(s.URL)
	ended := make(chan struct{})
	go func() {
		io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	clean := os.Getenv("PPROF_TEST_CLEAN") != ""
	tick := time.NewTicker(10 * time.Millisecond)
	for start, made := time.Now(), 0; ; {
		select {
		case <-tick.C:
		case <-ended:
			s.Close()
			rec.Close()
			return
		}
		// Made up for, if this was late: the rate is what is tried.
		due := int(time.Since(start).Seconds()*dripRate) - made
		made += due
		if b := leaktest.Leak(due, 8); clean {
			b.Free()
		}
	}
}

// TestDrip has real processes leak 50 KB/s in objects of 8 bytes, at the default
// sample rate and with the timings of a zero Config, and wants each to name the
// leak in the time given: MAGELLAN_DRIP=5m. A process beside them that takes as
// much and gives it back may have no suspect at any time. It is no part of the
// other tests: it takes minutes, and sampling being what it is, one leak in some
// dozens takes longer (heapprof's simulation says how many).
func TestDrip(t *testing.T) {
	limit := os.Getenv("MAGELLAN_DRIP")
	if limit == "" {
		t.Skip("takes minutes: MAGELLAN_DRIP=5m is how long a leak may take to be named")
	}
	within, err := time.ParseDuration(limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("MALLOC_CONF", "") // what is tried is the default
	const leaking = 3
	var urls [leaking + 1]string // the last one is clean
	for i := range urls {
		env := []string{}
		if i == leaking {
			env = append(env, "PPROF_TEST_CLEAN=1")
		}
		_, _, urls[i], _ = program(t, withSymbols(t), "drip", env...)
	}
	began := time.Now()
	var named [leaking]time.Duration
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for time.Since(began) < within {
		<-tick.C
		for i, url := range urls {
			found := fromJSON[leaks](t, fetch(t, url+"/leaks", 200))
			switch {
			case i == leaking && found.Suspects > 0:
				t.Fatalf("after %v, where nothing leaks: %+v", time.Since(began), found.Stacks[0])
			case i == leaking || found.Suspects == 0 || named[i] != 0:
			default:
				if err := isDrip(found.Stacks[0]); err != nil {
					t.Fatal(err)
				}
				named[i] = time.Since(began)
				t.Logf("process %d: named after %.0f s: %.0f ± %.0f bytes an hour, confidence %.4f; it leaks %d",
					i, named[i].Seconds(), found.Stacks[0].BytesPerHour, found.Stacks[0].BytesPerHourError, found.Stacks[0].Confidence, 8*dripRate*3600)
			}
		}
	}
	for i := range named {
		if named[i] == 0 {
			t.Errorf("process %d: not named in %v: %s", i, within, fetch(t, urls[i]+"/leaks?format=text&all=1", 200))
		}
	}
}

// isDrip says what is wrong with the stack that drips, down to the Go caller.
func isDrip(l leak) error {
	rest := l.Stack
	for _, want := range []frame{
		{Function: "leaktest_new_record", File: "leaktest.c"}, {Function: "leaktest.Leak", File: "leaktest.go"}, {Function: "pprof.runDrip", File: "drip_test.go"},
	} {
		for len(rest) > 0 && !strings.HasSuffix(rest[0].Function, want.Function) {
			rest = rest[1:]
		}
		if len(rest) == 0 || !strings.HasSuffix(rest[0].File, want.File) || rest[0].Line == 0 {
			text, _ := json.Marshal(l.Stack)
			return fmt.Errorf("no %s of %s where it should be on the stack: %s", want.Function, want.File, text)
		}
	}
	return nil
}

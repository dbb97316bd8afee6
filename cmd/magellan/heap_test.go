package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/pprof/profile"
	"github.com/rogpeppe/go-internal/testscript"

	"magellan/cgo/jemalloc/heapprof"
	"magellan/cgo/jemalloc/pprof"
)

// What the scripts do with native heap profiles.
func init() {
	commands["profile"] = cmdProfile
	commands["load"] = cmdLoad
	commands["adds"] = cmdAdds
	commands["storm"] = cmdStorm
	commands["whole"] = cmdWhole
}

// get requests an address that must exist, with the admin token if there is one.
func get(ts *testscript.TestScript, url string) []byte {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	ts.Check(err)
	if token := ts.Getenv("MAGELLAN_ADMIN_TOKEN"); token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	ts.Check(err)
	if resp.StatusCode != http.StatusOK {
		ts.Fatalf("GET %s: %s\n%s", url, resp.Status, body)
	}
	return body
}

// profile URL|FILE parses a profile as go tool pprof does and prints the stacks with
// allocations: "alloc_space: innermost < … < outermost".
func cmdProfile(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "profile URL|FILE")
	var text []byte
	if strings.HasPrefix(args[0], "http://") {
		text = get(ts, args[0])
	} else {
		text = []byte(ts.ReadFile(args[0]))
	}
	p, err := profile.ParseData(text)
	ts.Check(err)
	ts.Check(p.CheckValid())
	var types []string
	for _, t := range p.SampleType {
		types = append(types, t.Type)
	}
	fmt.Fprintln(ts.Stdout(), "types:", strings.Join(types, " "))
	index, err := p.SampleIndexByName("alloc_space")
	ts.Check(err)
	for _, s := range p.Sample {
		var names []string
		for _, l := range s.Location {
			for _, line := range l.Line {
				names = append(names, heapprof.Frame{Function: line.Function.Name, File: line.Function.Filename, Line: int(line.Line)}.String())
			}
		}
		fmt.Fprintf(ts.Stdout(), "%d: %s\n", s.Value[index], strings.Join(names, " < "))
	}
}

// load URL N requests URL0, URL1 and so on, N in all.
func cmdLoad(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 2, "load URL N")
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	for i := range n {
		get(ts, args[0]+strconv.Itoa(i))
	}
}

// adds URL PID checks that the parts of a ledger add up to the kernel's count of resident
// memory, within 3 %.
func cmdAdds(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 2, "adds URL PID")
	near := func(what string, got, want int64) {
		if diff := got - want; max(diff, -diff)*100 > want*3 {
			ts.Fatalf("%s: %d, want %d within 3 %%", what, got, want)
		}
	}
	poll(ts, "the ledger does not fit", func() error {
		var l pprof.Ledger
		ts.Check(json.Unmarshal(get(ts, args[0]), &l))
		sum := l.GoHeap + l.GoStacks + l.GoRuntime + l.NativeLive + l.NativeFragmentation + l.NativeDirty + l.NativeMetadata +
			l.FileBacked + l.Other - l.NotResident
		near("sum of the parts", sum, l.RSS)
		if l.GoHeap < 1<<20 || l.NativeLive < 64<<10 || l.FileBacked < 1<<20 {
			ts.Fatalf("parts are missing: %+v", l)
		}
		// The program runs on between the two looks.
		status, err := os.ReadFile("/proc/" + args[1] + "/smaps_rollup")
		ts.Check(err)
		_, after, _ := strings.Cut(string(status), "Rss:")
		var kb int64
		_, err = fmt.Sscan(after, &kb)
		ts.Check(err)
		if diff := l.RSS - kb<<10; max(diff, -diff)*100 > l.RSS*3 {
			return fmt.Errorf("resident: %d, the kernel says %d", l.RSS, kb<<10)
		}
		return nil
	})
}

// storm N URL posts there, N at a time, until nobody listens any more or the script
// ends.
func cmdStorm(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 2, "storm N URL")
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for {
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, args[1], nil)
				if err != nil {
					return // the URL is none: the script will notice
				}
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body) // cut off: then the next one is refused
				resp.Body.Close()
			}
		})
	}
	ts.Defer(func() {
		stop()
		wg.Wait()
	})
}

// whole DIR checks that the directory contains complete dumps and nothing else, and
// prints their number.
func cmdWhole(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "whole DIR")
	dir := ts.MkAbs(args[0])
	files, err := os.ReadDir(dir)
	ts.Check(err)
	found := map[string]int{}
	for _, f := range files {
		if f.Name() == ".lock" {
			continue
		}
		ext := f.Name()[max(0, strings.Index(f.Name(), "Z.")+1):]
		if !slices.Contains([]string{".heap", ".json", ".pb.gz"}, ext) {
			ts.Fatalf("%s is left in %s", f.Name(), args[0])
		}
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		ts.Check(err)
		switch ext {
		case ".heap":
			_, err = heapprof.Parse(bytes.NewReader(text), heapprof.Limits{})
			if !bytes.Contains(text, []byte("\nMAPPED_LIBRARIES:\n")) {
				ts.Fatalf("%s is cut off", f.Name())
			}
		case ".json":
			err = json.Unmarshal(text, new(pprof.Dump))
		case ".pb.gz":
			_, err = profile.ParseData(text)
		}
		if err != nil {
			ts.Fatalf("%s: %v", f.Name(), err)
		}
		found[ext]++
	}
	if found[".heap"] == 0 || found[".json"] != found[".heap"] || found[".pb.gz"] != found[".heap"] {
		ts.Fatalf("want as many of each: %v", found)
	}
	fmt.Fprintf(ts.Stdout(), "%d dumps\n", found[".heap"])
}

// TestWatchPage checks that a page fits on its terminal and has the important values.
func TestWatchPage(t *testing.T) {
	v := &watchView{server: "http://127.0.0.1:6060", interval: 2e9}
	stack := growing{Verdict: "suspect", BytesPerHour: 180 << 20, Error: 1 << 20, Confidence: 0.9999, LiveBytes: 30 << 20}
	if err := json.Unmarshal([]byte(`[{"function":"strdup","file":"/src/strdup.c","line":42},{"function":"example.com/shop.(*T).handle"}]`), &stack.Stack); err != nil {
		t.Fatal(err)
	}
	still := stack
	still.Verdict, still.BytesPerHour = "too early", 0
	for i := range 3 {
		v.add(look{
			ledger: pprof.Ledger{RSS: int64(100+10*i) << 20, GoHeap: 40 << 20, NativeLive: int64(20+10*i) << 20, FileBacked: 10 << 20, Other: 30 << 20},
			leaks:  ranking{Unwinder: "c+go", Suspects: 1, Samples: 20, SpanSeconds: 300, Stacks: []growing{stack, still}},
		})
	}
	text := strings.Join(v.page(120, 60), "\n")
	for _, want := range []string{
		"resident                     120.0MiB   +20.0MiB  ########################################",
		"  C holds                     40.0MiB   +20.0MiB  #############",
		"resident  ▁▄█",
		"1 suspects in 20 samples over 5m0s; stacks: c+go",
		"suspect: ~180.0MiB/h ± 1.0MiB/h, confidence 0.9999, live ~30.0MiB",
		"    strdup strdup.c:42\n    example.com/shop.(*T).handle",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "too early") {
		t.Errorf("a stack that does not grow is shown:\n%s", text)
	}
	for _, s := range []struct{ width, height int }{{20, 5}, {1, 1}, {0, 0}, {300, 200}} {
		lines := v.page(s.width, s.height)
		if len(lines) > max(s.height, 1) {
			t.Errorf("%d lines on a terminal of %d", len(lines), s.height)
		}
		for _, line := range lines {
			if n := len([]rune(line)); n > s.width {
				t.Errorf("%d columns on a terminal of %d: %q", n, s.width, line)
			}
		}
	}
	several := stack
	several.Ways, several.Cause, several.Callers = 6, &several.Stack[1], several.Stack[1:]
	several.Stack = several.Stack[:1]
	v.add(look{leaks: ranking{Suspects: 1, Stacks: []growing{several}}})
	text = strings.Join(v.page(120, 60), "\n")
	if want := "    strdup strdup.c:42\n    ... 6 stacks; magellan heap leaks shows them ...\n    example.com/shop.(*T).handle"; !strings.Contains(text, want) {
		t.Errorf("no %q in\n%s", want, text)
	}
	if got, want := several.String(), "~180.0MiB/h suspect: shop.(*T).handle (6 stacks)"; got != want {
		t.Errorf("in a line it is %q, want %q", got, want)
	}
	v.fault = "connection refused"
	if lines := v.page(80, 24); lines[1] != "OUT OF REACH: connection refused" {
		t.Errorf("an outage is not shown: %q", lines[1])
	}
}

// TestWatchLine checks for one header, and a line for each measurement.
func TestWatchLine(t *testing.T) {
	var out strings.Builder
	v := &watchView{}
	for range 2 {
		v.add(look{ledger: pprof.Ledger{RSS: 90 << 20, GoHeap: 40 << 20, NativeLive: 20 << 20, NativeDirty: 5 << 20, FileBacked: 35 << 20, NotResident: 10 << 20}})
		if err := v.line(&out); err != nil {
			t.Fatal(err)
		}
	}
	v.fault = "no answer"
	if err := v.line(&out); err != nil {
		t.Fatal(err)
	}
	want := `TIME                   RESIDENT         GO    C HOLDS     C REST      OTHER  UNTOUCHED SUSPECTS  GROWS MOST
0001-01-01T00:00:00Z    90.0MiB    40.0MiB    20.0MiB     5.0MiB    35.0MiB   -10.0MiB        0  -
0001-01-01T00:00:00Z    90.0MiB    40.0MiB    20.0MiB     5.0MiB    35.0MiB   -10.0MiB        0  -
# no answer
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

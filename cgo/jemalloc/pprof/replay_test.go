package pprof_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/pprof/profile"
	"github.com/prometheus/client_golang/prometheus"

	"magellan/cgo/jemalloc"
	"magellan/cgo/jemalloc/heapprof"
	"magellan/cgo/jemalloc/pprof"
)

// replay is a Source that replays what testdata/recorded/main.go recorded of itself: one
// moment after the other, each for as long as step. Then the process has ended. Its files
// are not at hand, and what is named is the Go code that the recording names: at the same
// addresses this process has other functions.
type replay struct {
	began  time.Time
	names  map[uint64][]heapprof.Frame
	root   string // where its files would be
	pid    int
	taking atomic.Int32 // dumps under way

	moments []struct {
		Live, Internal int64
		Ledger         pprof.Ledger
	}
}

const step = 15 * time.Second

var _ pprof.Source = (*replay)(nil)

const recorded = "testdata/recorded"

func newReplay(t *testing.T) *replay {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(recorded, "recording.json"))
	if err != nil {
		t.Fatal(err)
	}
	s := &replay{root: t.TempDir(), began: time.Now()}
	for name, into := range map[string]any{"PID": &s.pid, "Names": &s.names, "Moments": &s.moments} {
		fields := make(map[string]json.RawMessage)
		if err := errors.Join(json.Unmarshal(text, &fields), json.Unmarshal(fields[name], into)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s *replay) now() (int, error) {
	i := int(time.Since(s.began) / step)
	if i >= len(s.moments) {
		return 0, fmt.Errorf("%w: process %d has ended", pprof.ErrNotProfiled, s.pid)
	}
	return i, nil
}

func (s *replay) Process() pprof.Process {
	return pprof.Process{
		PID: s.pid, Started: s.began, Args: []string{"sessions", "--verbose"}, Sampler: "a recorded jemalloc",
		Unwinder: jemalloc.UnwinderC, UnwinderReason: "it was replayed",
		Symbols: heapprof.SymbolizerConfig{Go: func(pc uint64) []heapprof.Frame { return s.names[pc] }, Root: s.root},
	}
}

func (s *replay) Stats(context.Context) (pprof.Stats, error) {
	i, err := s.now()
	if err != nil {
		return pprof.Stats{}, err
	}
	m := s.moments[i]
	return pprof.Stats{Live: m.Live, Internal: m.Internal, Active: true}, nil
}

func (s *replay) Ledger(context.Context) (pprof.Ledger, error) {
	i, err := s.now()
	if err != nil {
		return pprof.Ledger{}, err
	}
	return s.moments[i].Ledger, nil
}

func (s *replay) Dump(_ context.Context, w io.Writer) error {
	defer s.taking.Add(-1)
	if n := s.taking.Add(1); n != 1 {
		return fmt.Errorf("%d dumps are taken at once", n)
	}
	i, err := s.now()
	if err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(recorded, fmt.Sprintf("%02d.heap", i)))
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

func (s *replay) SetActive(context.Context, bool) error { return unsupported("switched") }
func (s *replay) Collect(context.Context) error         { return unsupported("asked to collect garbage") }

func unsupported(what string) error {
	return fmt.Errorf("a recording cannot be %s: %w", what, errors.ErrUnsupported)
}

// A Recorder does all it does by itself, and answers all it is asked, about a process
// that is none of its own: this one's jemalloc, memory and Go runtime have no part in it.
func TestAnotherSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newReplay(t)
		registry := prometheus.NewPedanticRegistry()
		var log bytes.Buffer
		r, err := pprof.New(pprof.Config{
			Source: source, Dir: t.TempDir(), StepBytes: 8 << 20, Logger: slog.New(slog.NewTextHandler(&log, nil)), Registerer: registry,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		time.Sleep(time.Duration(len(source.moments))*step - time.Second) // to the last moment
		synctest.Wait()

		last := source.moments[len(source.moments)-1]
		mux := http.NewServeMux()
		mux.Handle("GET /debug/pprof/native", r.Native())
		mux.Handle("POST /debug/pprof/symbol", http.NotFoundHandler()) // knows of this process only
		mux.Handle("/debug/memory", r.Memory())
		mux.Handle("/debug/jeprof/", r.Handler("/debug/jeprof"))
		ask := func(method, path, body string, want int) []byte {
			t.Helper()
			w := httptest.NewRecorder()
			q := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
			mux.ServeHTTP(w, q.WithContext(context.WithValue(q.Context(), http.ServerContextKey, &http.Server{Handler: mux})))
			if w.Code != want {
				t.Errorf("%s %s: %d, want %d: %s", method, path, w.Code, want, w.Body)
			}
			return w.Body.Bytes()
		}

		checkKept(t, source, r, log.String())
		checkLeaks(t, ask("GET", "/debug/jeprof/leaks", "", 200))
		checkProfile(t, source, ask("GET", "/debug/pprof/native", "", 200))

		var ledger pprof.Ledger
		if err := json.Unmarshal(ask("GET", "/debug/memory", "", 200), &ledger); err != nil || ledger != last.Ledger {
			t.Errorf("the ledger is %+v, %v; recorded was %+v", ledger, err, last.Ledger)
		}
		for path, want := range map[string]string{
			"pprof/cmdline":     "sessions\x00--verbose",
			"pprof/heap":        "heap_v2/16384",
			"active":            `"active": true`,
			"leaks?format=text": "main.openSession main.go:",
			"ui/":               "stacks: c: it was replayed",
			"dumps/" + r.Dumps()[1].ID + "?format=text": "main.openSession main.go:",
		} {
			if body := ask("GET", "/debug/jeprof/"+path, "", 200); !bytes.Contains(body, []byte(want)) {
				t.Errorf("%s: no %q in %s", path, want, body)
			}
		}
		checkMetrics(t, registry, last.Ledger)

		for _, refused := range [][3]string{{"PUT", "/debug/jeprof/active", `{"active":false}`}, {"GET", "/debug/pprof/native?gc=1", ""}} {
			if body := ask(refused[0], refused[1], refused[2], http.StatusNotImplemented); !bytes.Contains(body, []byte("a recording cannot be")) {
				t.Errorf("%v: %s", refused, body)
			}
		}

		var summary bytes.Buffer
		leaks, err := r.Exit(jemalloc.ExitReport{Summary: &summary, Dump: filepath.Join(source.root, "last.heap")})
		if err != nil || leaks.Bytes < 50<<20 || leaks.Bytes > 70<<20 || !strings.Contains(summary.String(), "Leak approximation summary") {
			t.Errorf("at the end %+v, %v: %s", leaks, err, &summary)
		}
		written, err := os.ReadFile(filepath.Join(source.root, "last.heap"))
		if want, _ := os.ReadFile(filepath.Join(recorded, "19.heap")); err != nil || !bytes.Equal(written, want) {
			t.Errorf("the last dump is not what was recorded: %v", err)
		}
		if d := r.Dumps(); d[len(d)-1].Reason != pprof.Final {
			t.Errorf("the last dump that is kept is %+v", d[len(d)-1])
		}
	})
}

// checkKept: dumps of the process's growth were kept, described and logged.
func checkKept(t *testing.T, source *replay, r *pprof.Recorder, log string) {
	t.Helper()
	reasons := make(map[pprof.Reason]int)
	for _, d := range r.Dumps() {
		reasons[d.Reason]++
		at := source.moments[int(d.Time.Sub(source.began)/step)]
		if d.PID != source.pid || !d.Started.Equal(source.began) || d.Ledger != at.Ledger || d.RSS != at.Ledger.RSS || d.Stored != "disk" {
			t.Errorf("kept is %+v, recorded was %+v", d, at.Ledger)
		}
		if d.Reason == pprof.Grown && (d.Grown == nil || !strings.Contains(d.Grown.String(), "main.openSession main.go:")) {
			t.Errorf("%s: grew most: %v", d.ID, d.Grown)
		}
	}
	if reasons[pprof.Baseline] != 1 || reasons[pprof.Grown] < 3 || len(reasons) != 2 {
		t.Errorf("kept are %v", reasons)
	}
	if n := strings.Count(log, "native memory grew"); n != reasons[pprof.Grown] || strings.Count(log, "\n") != n {
		t.Errorf("the log has %d lines of growth: %s", n, log)
	}
}

// checkLeaks: the leak is the one suspect, and what is freed again is none.
func checkLeaks(t *testing.T, body []byte) {
	t.Helper()
	var found struct {
		Suspects int
		Unwinder string
		Stacks   []struct {
			Verdict      string
			BytesPerHour float64 `json:"bytes_per_hour"`
			Stack        []struct{ Function string }
		}
	}
	if err := json.Unmarshal(body, &found); err != nil {
		t.Fatal(err)
	}
	const leaked = 32 * 64 << 10 * float64(time.Hour/step)
	if found.Suspects != 1 || found.Unwinder != "c: it was replayed" || found.Stacks[0].BytesPerHour < 0.8*leaked || found.Stacks[0].BytesPerHour > 1.3*leaked {
		t.Fatalf("want one suspect of %.0f bytes an hour: %s", leaked, body)
	}
	for _, f := range found.Stacks[0].Stack {
		if f.Function == "main.openSession" {
			return
		}
	}
	t.Errorf("%s", body)
}

// checkProfile: the profile is that of the process, Go code has the names that the
// Source gave, and C code is named by where it is.
func checkProfile(t *testing.T, source *replay, body []byte) {
	t.Helper()
	p, err := profile.ParseData(body)
	if err != nil {
		t.Fatal(err)
	}
	if comments := strings.Join(p.Comments, "\n"); !strings.Contains(comments, fmt.Sprintf("native memory of process %d, by a recorded jemalloc\nstacks: c: it was replayed", source.pid)) ||
		!strings.Contains(comments, "C holds 54.1MiB, as a recorded jemalloc counts it") {
		t.Errorf("the comments are\n%s", comments)
	}
	goCode := make(map[string]bool)
	for _, frames := range source.names {
		for _, f := range frames {
			goCode[f.Function] = true
		}
	}
	places := 0
	for _, f := range p.Function {
		if strings.HasPrefix(f.Name, "sessions+0x") {
			places++
		} else if !goCode[f.Name] {
			t.Errorf("%s is no function of the recorded process", f.Name)
		}
		delete(goCode, f.Name)
	}
	if goCode["main.openSession"] || places == 0 {
		t.Errorf("what was recorded has no names: %v", p.Function)
	}
}

func checkMetrics(t *testing.T, registry prometheus.Gatherer, ledger pprof.Ledger) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		m := f.Metric[0]
		got[f.GetName()] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		if f.GetName() == "native_heap_unwinder_info" && m.GetLabel()[0].GetValue() != "c" {
			t.Errorf("%v", m)
		}
	}
	if got["native_memory_rss_bytes"] != float64(ledger.RSS) || got["native_heap_leak_suspects"] != 1 || got["native_heap_profiling_active"] != 1 || got["native_heap_samples_total"] < 15 {
		t.Errorf("%v", got)
	}
}

// A process that has ended is no fault: it is not in the log, and who asks is told.
func TestSourceThatEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newReplay(t)
		var log bytes.Buffer
		r, err := pprof.New(pprof.Config{Source: source, StepBytes: 1 << 40, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		time.Sleep(2 * time.Duration(len(source.moments)) * step)
		synctest.Wait()
		for _, path := range []string{"/dump", "/pprof/heap", "/active"} {
			method := map[bool]string{true: "POST", false: "GET"}[path == "/dump"]
			w := httptest.NewRecorder()
			r.Handler("").ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, nil))
			if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "has ended") {
				t.Errorf("%s: %d %s", path, w.Code, w.Body)
			}
		}
		w := httptest.NewRecorder()
		r.Handler("").ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/leaks", nil))
		var leaks struct {
			Suspects, Samples int
			Paused            *pprof.Paused
		}
		if err := json.Unmarshal(w.Body.Bytes(), &leaks); err != nil || leaks.Suspects != 1 || leaks.Samples != len(source.moments)-1 || leaks.Paused != nil {
			t.Errorf("%v: %s", err, w.Body)
		}
		if log.Len() > 0 {
			t.Errorf("%s", &log)
		}
	})
}

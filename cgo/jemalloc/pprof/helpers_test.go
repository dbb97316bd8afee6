//go:build !asan

package pprof

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
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/pprof/profile"

	"magellan/cgo/jemalloc"
	"magellan/cgo/jemalloc/heapprof"
	"magellan/cgo/jemalloc/internal/leaktest"
)

const mib = 1 << 20

// TestMain is also the programs that tests start: see program.
func TestMain(m *testing.M) {
	switch os.Getenv("PPROF_TEST_PROGRAM") {
	case "server":
		runServer()
	case "dumper":
		runDumper()
	case "zeros":
		runZeros()
	case "drip":
		runDrip()
	default:
		code := m.Run()
		if builtAt != "" {
			os.RemoveAll(filepath.Dir(builtAt))
		}
		os.Exit(code)
	}
}

// runServer is a program as anybody's: it leaks C memory from Go, mounts the
// handlers and says where. It ends with its standard input.
func runServer() {
	rec, err := New(Config{Dir: os.Getenv("PPROF_TEST_DIR")})
	if err != nil {
		panic(err)
	}
	leaktest.Leak(4, 16*mib) // so large that each is sampled
	mux := http.NewServeMux()
	mux.Handle("GET /debug/pprof/native", rec.Native())
	mux.Handle("/debug/jeprof/", rec.Handler("/debug/jeprof"))
	mux.Handle("/debug/memory", rec.Memory())
	s := httptest.NewServer(mux)
	fmt.Println(s.URL)
	io.Copy(io.Discard, os.Stdin)
	s.Close()
	if _, err := rec.Exit(jemalloc.ExitReport{Summary: os.Stdout, Dump: os.Getenv("PPROF_TEST_EXIT")}); err != nil {
		panic(err)
	}
}

// runDumper keeps dumps as fast as it can, until it is killed.
func runDumper() {
	rec, err := New(Config{Dir: os.Getenv("PPROF_TEST_DIR"), MaxDumps: 4, StepPercent: -1, SampleInterval: -1})
	if err != nil {
		panic(err)
	}
	fmt.Println("ready")
	for {
		leaktest.Leak(1, mib)
		if _, err := rec.Take(context.Background()); err != nil {
			panic(err)
		}
	}
}

// program starts this test as one of those programs.
func program(t *testing.T, binary, name string, env ...string) (cmd *exec.Cmd, stdin io.Closer, line string, rest func() string) {
	t.Helper()
	cmd = exec.Command(binary)
	cmd.Env = append(append(os.Environ(), "PPROF_TEST_PROGRAM="+name), env...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out := &output{wrote: make(chan struct{}, 1)}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	deadline := time.After(time.Minute)
	for {
		if first, _, whole := strings.Cut(out.String(), "\n"); whole {
			return cmd, in, first, func() string {
				_, after, _ := strings.Cut(out.String(), "\n")
				return after
			}
		}
		select {
		case <-out.wrote:
		case <-deadline:
			t.Fatalf("%s does not start: %s", name, out.String())
		}
	}
}

// output is what a program printed so far.
type output struct {
	mu    sync.Mutex
	text  bytes.Buffer
	wrote chan struct{}
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p)
	select {
	case o.wrote <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// builtAt is where symbolized put its binary.
var builtAt string

var symbolized = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "pprof-test-")
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "pprof.test")
	builtAt = binary
	if out, err := exec.Command("go", "test", "-c", "-o", binary, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go test -c: %w\n%s", err, out)
	}
	return binary, nil
})

// withSymbols is this test with its symbol table, which go test leaves out.
func withSymbols(t *testing.T) string {
	t.Helper()
	binary, err := symbolized()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

// quiet is a Config that does nothing by itself.
func quiet(t *testing.T) Config {
	return Config{StepPercent: -1, SampleInterval: -1, Logger: slog.New(slog.NewTextHandler(testWriter{t}, nil))}
}

// replaced is a Source whose dumps are taken by something else.
type replaced struct {
	Source
	dump func(io.Writer) error
}

func (s replaced) Dump(_ context.Context, w io.Writer) error { return s.dump(w) }

// failing is the Source of this process, but for its dumps, of which there are none.
func failing(reason string) Source {
	return replaced{self{}, func(io.Writer) error { return errors.New(reason) }}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", bytes.TrimSpace(p))
	return len(p), nil
}

func newTestRecorder(t *testing.T, cfg Config) *Recorder {
	t.Helper()
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// serve serves a Recorder as a program would.
func serve(t *testing.T, r *Recorder) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("/debug/pprof/native", r.Native())
	mux.Handle("/debug/jeprof/", r.Handler("/debug/jeprof"))
	mux.Handle("/debug/memory", r.Memory())
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// request makes a request and gives the answer with its body read.
func request(t *testing.T, method, url, body string) (*http.Response, []byte) {
	t.Helper()
	q, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, text
}

// fetch gets a URL that must answer with a status.
func fetch(t *testing.T, url string, want int) []byte {
	t.Helper()
	resp, body := request(t, http.MethodGet, url, "")
	if resp.StatusCode != want {
		t.Fatalf("GET %s: %s, want %d\n%s", url, resp.Status, want, body)
	}
	return body
}

func fromJSON[T any](t *testing.T, text []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

func take(t *testing.T, r *Recorder) Dump {
	t.Helper()
	d, err := r.Take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// sample takes a light sample into account, see rankAs.
func sample(t *testing.T, r *Recorder, i int) {
	t.Helper()
	_, heap, err := r.takeNow(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rankAs(t, r, i, heap)
}

// rankAs takes a dump into account as the i-th light sample of some that are said to be
// 15 seconds apart, and are taken one right after the other.
func rankAs(t *testing.T, r *Recorder, i int, d *heapprof.Dump) {
	t.Helper()
	d.Time = time.Unix(1_000_000_000, 0).Add(time.Duration(i) * 15 * time.Second)
	if err := r.rank(d); err != nil {
		t.Fatal(err)
	}
}

// expectStack wants a stack with these functions, the innermost first, whatever else is
// between them.
func expectStack(t *testing.T, text []byte, want ...string) {
	t.Helper()
	p, err := profile.ParseData(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range p.Sample {
		left := want
		for _, l := range s.Location {
			for _, line := range l.Line {
				if len(left) > 0 && line.Function.Name == left[0] {
					left = left[1:]
				}
			}
		}
		if len(left) == 0 {
			return
		}
	}
	t.Errorf("no stack has %v:\n%v", want, p)
}

// mustRun runs a program to its end and gives what it wrote to standard output.
func mustRun(t *testing.T, env []string, name string, args ...string) []byte {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Env, cmd.Stderr = env, &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(fmt.Errorf("%v: %w\n%s", cmd, err, &stderr))
	}
	return out
}

// eventually waits for something to become true.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute", what)
		}
		time.Sleep(5 * time.Millisecond) // between two looks
	}
}

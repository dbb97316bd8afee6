package gozk_test

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"magellan/cgo/jemalloc"
	"magellan/internal/childproc"
	"magellan/internal/zk/zktest"
)

// The program of examples/gozk answers with nodes, serves the profiles of its C memory,
// and ends when it is told to.
func TestExample(t *testing.T) {
	if _, err := jemalloc.ReadStats(); errors.Is(err, jemalloc.ErrNotLinked) {
		t.Skip("under the address sanitizer there is no profiler, which the program needs")
	}
	t.Parallel()
	s := zktest.Start(t)
	conn, _ := dial(t, s.Addr(), sessionTimeout)
	create(t, conn, "/app", "hello")
	create(t, conn, "/app/a", "")

	binary := filepath.Join(t.TempDir(), "gozk")
	build := exec.Command("go", "build", "-o", binary, "./examples/gozk")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	addr := l.Addr().String()
	l.Close()
	program, err := childproc.Start(exec.Command(binary, "--servers", s.Addr(), "--listen", addr))
	must(t, err)
	defer program.Stop(syscall.SIGKILL, patience)

	get := func(path string) (status int, body string) {
		resp, err := http.Get("http://" + addr + path)
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			return 0, err.Error()
		}
		return resp.StatusCode, string(b)
	}
	eventually(t, "it serves", func() bool { status, _ := get("/v1/nodes/"); return status == http.StatusOK })
	_, body := get("/v1/nodes/app")
	var node map[string]any
	must(t, json.Unmarshal([]byte(body), &node))
	want := map[string]any{"path": "/app", "data": "hello", "children": []any{"a"}, "version": 0.0}
	if !reflect.DeepEqual(node, want) {
		t.Errorf("%v, not %v", node, want)
	}
	for path, want := range map[string]int{
		"/v1/nodes/app/a": http.StatusOK, "/v1/nodes/none": http.StatusNotFound, "/v1/nodes/app/": http.StatusBadRequest, "/elsewhere": http.StatusNotFound,
		"/debug/pprof/native": http.StatusOK, "/debug/jeprof/leaks?format=text": http.StatusOK, "/debug/pprof/goroutine?debug=1": http.StatusOK,
	} {
		if status, body := get(path); status != want {
			t.Errorf("%s: %d %.200s", path, status, body)
		}
	}
	if err := program.Stop(syscall.SIGTERM, patience); err != nil {
		t.Errorf("told to end: %v", err)
	}
	if status, _ := get("/v1/nodes/"); status != 0 {
		t.Error("it still serves")
	}
	if out, err := exec.Command(binary, "surplus").CombinedOutput(); err == nil || !strings.Contains(string(out), "only flags") {
		t.Errorf("a surplus argument: %v\n%s", err, out)
	}
	if out, err := exec.Command(binary, "--servers", "no-port").CombinedOutput(); err == nil || !strings.Contains(string(out), "invalid argument") {
		t.Errorf("bad servers: %v\n%s", err, out)
	}
}

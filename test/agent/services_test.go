package agent

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"magellan/cgo/jemalloc/heapprof"
)

// service is a program in testdata that answers HTTP with the C library of somebody else.
type service struct {
	dir string
	// work are requests that do not leak, and leak is one that does.
	work []string
	leak string
	// requests is how many leaks are made before the first profile, and five times as many
	// before the second.
	requests int
	// culprit is the function of the program that leaks, and library is what the names of the
	// C functions in the library begin with.
	culprit, library string
}

// TestServices finds the leak of each service: what grows most is below the function that
// leaks, in the C library that it calls.
func TestServices(t *testing.T) {
	t.Parallel()
	for _, s := range []service{
		{"sqlite", []string{"/get?id=%d", "/put?id=%d"}, "/report", 10, "main.firstPage", "sqlite3"},
		{"zstd", []string{"/pack?n=%d000", "/echo?n=%d00"}, "/leak?n=20000", 10, "main.unpackAndForget", "ZSTD_"},
		{"kafka", []string{"/send"}, "/audit", 5, "main.audit", "rd_kafka_"},
	} {
		t.Run(s.dir, func(t *testing.T) {
			t.Parallel()
			s.test(t)
		})
	}
}

func (s service) test(t *testing.T) {
	p := start(t, heapRun(t, []string{"--sample", "16KiB"}, source{dir: s.dir}.build(t)))
	p.talks = s.dir == "kafka" // it warns that its broker is no real one
	url := p.line()
	get := func(path string) {
		t.Helper()
		client := http.Client{Timeout: patience}
		resp, err := client.Get(url + path)
		if err != nil {
			t.Fatalf("%v: %s", err, p.LastOutput())
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s %s %v", path, resp.Status, text, err)
		}
	}
	load := func(leaks int) {
		t.Helper()
		for i := range 100 {
			for _, path := range s.work {
				if strings.Contains(path, "%d") {
					path = fmt.Sprintf(path, i)
				}
				get(path)
			}
		}
		for range leaks {
			get(s.leak)
		}
	}
	load(s.requests)
	before := p.dump()
	load(5 * s.requests)
	after := p.dump()

	grown, err := heapprof.Delta(before, after)
	if err != nil {
		t.Fatal(err)
	}
	// What the library's own threads keep has no function of Go.
	stacks := through(stacksOf(t, grown), "runtime.goexit")
	slices.SortFunc(stacks, func(a, b stack) int { return int(b.liveBytes - a.liveBytes) })
	if len(stacks) == 0 || stacks[0].liveBytes <= 0 {
		t.Fatal("nothing grows")
	}
	top := stacks[0]
	t.Logf("%d bytes more in %d blocks:%v", top.liveBytes, top.live, top)
	inC := func(f frame) bool { return strings.HasPrefix(f.name, s.library) }
	if !top.has(s.culprit) || !slices.ContainsFunc(top.frames, inC) {
		t.Errorf("what grows most is not in %s, below %s:%v", s.library, s.culprit, top)
	}
	// All ways through the function are its leak.
	first, last, marked := lines(t, filepath.Join("testdata", s.dir, "main.go"), strings.TrimPrefix(s.culprit, "main."))
	found := false
	for _, one := range through(stacks, s.culprit) {
		f := one.frames[slices.IndexFunc(one.frames, func(f frame) bool { return f.name == s.culprit })]
		if filepath.Base(f.file) != "main.go" || f.line < first || f.line > last {
			t.Errorf("%v is not in main.go:%d-%d", f, first, last)
		}
		found = found || f.line == marked
	}
	if !found {
		t.Errorf("no stack is of the call that leaks, main.go:%d", marked)
	}
	var all, leaked int64
	for _, one := range stacks {
		if one.liveBytes > 0 {
			all += one.liveBytes
			if one.has(s.culprit) {
				leaked += one.liveBytes
			}
		}
	}
	t.Logf("%d of %d bytes that grow are below %s", leaked, all, s.culprit)
	if leaked < all*3/4 {
		t.Errorf("%d of %d bytes that grow are below %s", leaked, all, s.culprit)
	}
	status := p.status()
	for key, want := range map[string]string{"walks_cut": "0", "missed": "0", "unwinder": "c+go"} {
		if status[key] != want {
			t.Errorf("%s is %q, want %q, in the status %v", key, status[key], want, status)
		}
	}
}

// lines returns the lines of a function, and the one that is marked as its leak.
func lines(t *testing.T, file, name string) (first, last, marked int) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	set := token.NewFileSet()
	parsed, err := parser.ParseFile(set, file, text, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, decl := range parsed.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok && f.Name.Name == name {
			first, last = set.Position(f.Pos()).Line, set.Position(f.End()).Line
		}
	}
	for i, line := range strings.Split(string(text), "\n") {
		if strings.HasSuffix(line, "// LEAK") {
			marked = i + 1
		}
	}
	if first == 0 || marked < first || marked > last {
		t.Fatalf("%s has no function %s with a leak", file, name)
	}
	return first, last, marked
}

//go:build !asan

package pprof

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/pprof/profile"

	"magellan/cgo/jemalloc/heapprof"
)

func TestVictim(t *testing.T) {
	// Each dump is its ID and, after a slash, its series.
	for _, c := range []struct{ dumps, want string }{
		{"a b c", "a"},             // the oldest
		{"a/a b/a c/a", "b"},       // the last series keeps its first and its newest
		{"a/a b/a c d/d e/d", "a"}, // an earlier series goes first, the oldest of it
		{"b/a c d/d e/d", "b"},     // and all of it
		{"c d/d e/d", "c"},         // then what was asked for
		{"d/d e/d f/d c", "e"},     // the newest stays, whatever it is
		{"a/a b/a c d e", "c"},     // of two that were asked for, the older
		{"a", "a"}, {"a/a b/a", "a"}, {"", ""},
	} {
		var dumps []Dump
		for _, f := range strings.Fields(c.dumps) {
			id, ramp, _ := strings.Cut(f, "/")
			dumps = append(dumps, Dump{ID: id, Ramp: ramp})
		}
		got := ""
		if i := victim(dumps, func(int) bool { return true }); i >= 0 {
			got = dumps[i].ID
		}
		if got != c.want {
			t.Errorf("of %q %q goes first, want %q", c.dumps, got, c.want)
		}
	}
}

// testStore gives a store and a function that keeps a dump of n bytes in it.
func testStore(t *testing.T, cfg Config) (*store, func(id int, ramp string, n int) Dump) {
	t.Helper()
	q := quiet(t)
	cfg.Logger = q.Logger
	cfg, err := cfg.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	s := openStore(cfg)
	return s, func(id int, ramp string, n int) Dump {
		t.Helper()
		at := time.Unix(int64(id), 0)
		d, err := s.add(Dump{ID: newID(at), Time: at, Ramp: ramp, Reason: Requested}, noise(n))
		if err == nil {
			d, err = s.finish(d, []byte("profile"))
		}
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
}

// noise does not compress.
func noise(n int) []byte {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

func TestRetention(t *testing.T) {
	dir := t.TempDir()
	s, keep := testStore(t, Config{Dir: dir, MaxDumps: 3, MaxBytes: 4000})
	for id := range 5 {
		keep(id, "", 100)
	}
	if dumps, _ := s.list(); len(dumps) != 3 || dumps[0].ID != newID(time.Unix(2, 0)) {
		t.Errorf("of 5 dumps %v are left", dumps)
	}
	keep(5, "", 3500) // the bytes are bounded, too
	if dumps, _ := s.list(); len(dumps) > 3 || dumps[len(dumps)-1].ID != newID(time.Unix(5, 0)) {
		t.Errorf("%v are left", dumps)
	}
	if _, n := s.size(); n > 4000 {
		t.Errorf("%d bytes are kept", n)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	dumps, _ := s.list()
	if len(files) != 3*len(dumps) {
		t.Errorf("%d files for %d dumps", len(files), len(dumps))
	}
}

func TestNextProcessFindsDumps(t *testing.T) {
	dir := t.TempDir()
	_, keep := testStore(t, Config{Dir: dir})
	keep(1, "x", 100)
	keep(2, "x", 200)
	// The one before was killed here and there.
	for _, f := range []string{newID(time.Unix(2, 0)) + ".json", newID(time.Unix(1, 0)) + ".pb.gz"} {
		if err := os.Remove(filepath.Join(dir, f)); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{tempPrefix + "abc", "notes.heap", "notes.txt"} {
		if err := os.WriteFile(filepath.Join(dir, f), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, _ := testStore(t, Config{Dir: dir})
	dumps, fault := s.list()
	if len(dumps) != 2 || fault != "" || dumps[0].Ramp != "x" || dumps[1].Reason != Found || dumps[1].Time.IsZero() {
		t.Fatalf("%+v, %q", dumps, fault)
	}
	f, err := s.heap(dumps[1].ID)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if text, err := io.ReadAll(f); err != nil || !bytes.Equal(text, noise(200)) {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	if _, err := s.profile(dumps[0].ID); !errors.Is(err, errNoProfile) {
		t.Errorf("a profile that was never made: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, tempPrefix+"abc")); err == nil {
		t.Error("half a file stayed")
	}
	if _, err := os.Stat(filepath.Join(dir, "notes.heap")); err != nil {
		t.Errorf("somebody else's file: %v", err)
	}
}

func TestDirectoryThatCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	readOnly := tmpfs(t, "1m")
	for name, dir := range map[string]string{"is a file": file, "below a file": file + "/x", "read-only": readOnly} {
		t.Run(name, func(t *testing.T) {
			if dir == readOnly {
				if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
					t.Fatal(err)
				}
			}
			cfg := quiet(t)
			cfg.Dir = dir
			r := newTestRecorder(t, cfg)
			d := take(t, r)
			if d.Stored != "memory" || d.Note == "" {
				t.Errorf("%+v", d)
			}
			readable(t, r, d.ID)
			if _, fault := r.store.list(); fault == "" {
				t.Error("nothing is said of the directory")
			}
		})
	}
}

func TestFullDisk(t *testing.T) {
	dir := tmpfs(t, "256k")
	cfg := quiet(t)
	cfg.Dir = dir
	r := newTestRecorder(t, cfg)
	first := take(t, r)
	if first.Stored != "disk" {
		t.Fatalf("%+v", first)
	}
	filler := filepath.Join(dir, "filler")
	f, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	// The old dump makes room for the new one.
	second := take(t, r)
	if second.Stored != "disk" {
		t.Errorf("%+v", second)
	}
	readable(t, r, second.ID)
	if _, err := r.store.get(first.ID); !errors.Is(err, errUnknownDump) {
		t.Errorf("the first dump: %v", err)
	}
	// Now nothing but the newest is left to go, and somebody takes that space, too.
	r.store.mu.Lock()
	for len(r.store.kept) > 0 {
		r.store.drop(0)
	}
	r.store.mu.Unlock()
	for err = nil; err == nil; {
		_, err = f.Write(make([]byte, 4096))
	}
	third := take(t, r)
	if third.Stored != "memory" || !strings.Contains(third.Note, "no space") {
		t.Errorf("%+v", third)
	}
	readable(t, r, third.ID)
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if fourth := take(t, r); fourth.Stored != "disk" || fourth.Note != "" {
		t.Errorf("there is space again: %+v", fourth)
	}
	if _, fault := r.store.list(); fault != "" {
		t.Errorf("there is space again: %s", fault)
	}
	wholeFiles(t, dir, "filler")
}

// tmpfs mounts a small file system.
func tmpfs(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("mount a small tmpfs: %v: run the tests as root", err)
		}
		t.Skipf("mount a small tmpfs: %v: run the tests as root", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// readable checks that a dump that is kept can be read in all its forms.
func readable(t *testing.T, r *Recorder, id string) {
	t.Helper()
	f, err := r.store.heap(id)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := heapprof.Parse(f, heapprof.Limits{}); err != nil {
		t.Errorf("dump %s: %v", id, err)
	}
	if _, err := r.kept(id); err != nil {
		t.Errorf("profile of dump %s: %v", id, err)
	}
}

// wholeFiles checks that a directory holds whole files of a store and nothing else
// but some.
func wholeFiles(t *testing.T, dir string, but ...string) (heaps int) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		switch filepath.Ext(f.Name()) {
		case ".heap":
			heaps++
			_, err = heapprof.Parse(bytes.NewReader(text), heapprof.Limits{})
		case ".gz":
			_, err = profile.ParseData(text)
		case ".json":
			if fromJSON[Dump](t, text).ID == "" {
				err = errors.New("no description")
			}
		default:
			if fmt.Sprint(but) != fmt.Sprint([]string{f.Name()}) {
				err = errors.New("it should not be there")
			}
		}
		if err != nil {
			t.Errorf("%s: %v", f.Name(), err)
		}
	}
	return heaps
}

// A process that is killed while it dumps leaves whole dumps and nothing else.
func TestKilledWhileDumping(t *testing.T) {
	for round := range 5 {
		dir := t.TempDir()
		cmd, _, _, _ := program(t, os.Args[0], "dumper", "PPROF_TEST_DIR="+dir)
		eventually(t, "dumps", func() bool {
			found, err := filepath.Glob(filepath.Join(dir, "*.pb.gz"))
			if err != nil {
				t.Fatal(err)
			}
			return len(found) >= 1+round%4
		})
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		cmd.Wait() // its error is the signal
		if heaps := wholeFiles(t, dir); heaps == 0 {
			t.Error("no dump is left")
		}
		cfg := quiet(t)
		cfg.Dir = dir
		if found := newTestRecorder(t, cfg).Dumps(); len(found) == 0 {
			t.Error("the next process finds no dump")
		}
	}
}

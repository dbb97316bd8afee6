//go:build !asan

package pprof

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
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

// Of a stack whose memory was freed nothing is held.
func TestDescribe(t *testing.T) {
	var d Dump
	d.describe(&heapprof.Dump{Rate: 1, Inuse: heapprof.Count{Objects: 1, Bytes: 8}, Stacks: []heapprof.Stack{
		{PCs: []uint64{1}, Inuse: heapprof.Count{Objects: 1, Bytes: 8}},
		{PCs: []uint64{2}, Alloc: heapprof.Count{Objects: 3, Bytes: 24}},
	}})
	if d.Stacks != 1 || !strings.HasSuffix(d.LeakSummary, ">= 1 context") {
		t.Errorf("%+v", d)
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
	if len(files) != 3*len(dumps)+1 { // the lock
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

// One line of the log says that a directory cannot be written, not one for each
// dump, until it can be again.
func TestFaultIsLoggedOnce(t *testing.T) {
	dir := tmpfs(t, "64k")
	var log bytes.Buffer
	s, keep := testStore(t, Config{Dir: dir, MaxBytes: 1 << 20})
	s.log = slog.New(slog.NewTextHandler(&log, nil))
	lines := func(want int) {
		t.Helper()
		if n := strings.Count(log.String(), "kept in memory"); n != want {
			t.Errorf("%d lines, want %d:\n%s", n, want, &log)
		}
	}
	for id := range 3 {
		keep(id, "", 100<<10) // each to another file, none of which fits
	}
	lines(1)
	keep(3, "", 100)
	lines(1)
	keep(4, "", 100<<10)
	lines(2)
}

// Somebody removed the directory, files in it, or made it only now.
func TestDirectoryThatComesAndGoes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	s, keep := testStore(t, Config{Dir: dir})
	keep(1, "", 100)
	if err := os.RemoveAll(filepath.Dir(dir)); err != nil {
		t.Fatal(err)
	}
	if dumps, _ := s.list(); len(dumps) != 0 {
		t.Errorf("of a directory that is gone %v are left", dumps)
	}
	if d := keep(2, "", 100); d.Stored != "disk" {
		t.Errorf("the directory is not made again: %+v", d)
	}
	keep(3, "", 100)
	if err := os.Remove(filepath.Join(dir, newID(time.Unix(2, 0))+".heap")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.profile(newID(time.Unix(2, 0))); !errors.Is(err, errUnknownDump) {
		t.Errorf("a dump whose file is gone: %v", err)
	}
	if dumps, fault := s.list(); len(dumps) != 1 || fault != "" {
		t.Errorf("%v are left, %q", dumps, fault)
	}
}

// What is no file of ours is passed over: a pipe that nobody writes to would be
// read for ever, a link would be served wherever it leads.
func TestOddFiles(t *testing.T) {
	dir := t.TempDir()
	name := func(day int, ext string) string {
		return filepath.Join(dir, newID(time.Date(2026, 1, day, 0, 0, 0, 0, time.UTC))+ext)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := errors.Join(
		os.WriteFile(secret, []byte("secret"), 0o600),
		os.Symlink(secret, name(1, ".heap")),
		os.Mkdir(name(2, ".heap"), 0o700),
		syscall.Mkfifo(name(3, ".heap"), 0o600),
		os.WriteFile(name(4, ".heap"), []byte("text"), 0o600),
		syscall.Mkfifo(name(4, ".json"), 0o600),
		os.Symlink(secret, name(4, ".pb.gz")),
	); err != nil {
		t.Fatal(err)
	}
	s, _ := testStore(t, Config{Dir: dir})
	dumps, _ := s.list()
	if len(dumps) != 1 || dumps[0].Reason != Found || dumps[0].ProfileBytes != 0 {
		t.Fatalf("%+v", dumps)
	}
	if _, err := s.profile(dumps[0].ID); !errors.Is(err, errNoProfile) {
		t.Errorf("a link in place of the profile: %v", err)
	}
}

// Two processes that share a directory, though each should have its own, may take
// a dump in the same millisecond: neither loses it to the other.
func TestSharedDirectory(t *testing.T) {
	cfg := quiet(t)
	cfg.Dir = t.TempDir()
	r := newTestRecorder(t, cfg)
	_, keep := testStore(t, Config{Dir: cfg.Dir})
	theirs := keep(1<<32, "", 100) // in the future, as ours will be
	r.mu.Lock()
	r.lastID = theirs.Time.Add(-time.Millisecond)
	r.mu.Unlock()
	ours := take(t, r)
	if want := newID(theirs.Time.Add(time.Millisecond)); ours.ID != want {
		t.Errorf("our dump is %s, want %s, the one after theirs", ours.ID, want)
	}
	readable(t, r, ours.ID)
	if text, err := os.ReadFile(filepath.Join(cfg.Dir, theirs.ID+".heap")); err != nil || !bytes.Equal(text, noise(100)) {
		t.Errorf("their dump is lost: %v", err)
	}
	// The same where a file cannot be made without a name.
	path := filepath.Join(cfg.Dir, "file")
	for i, replace := range []bool{false, false, true} {
		err := writeNamed(path, []byte{byte(i)}, replace)
		if i == 1 && !errors.Is(err, fs.ErrExist) || i != 1 && err != nil {
			t.Errorf("write %d: %v", i, err)
		}
	}
	if text, err := os.ReadFile(path); err != nil || text[0] != 2 {
		t.Errorf("%v, %v", text, err)
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

// tmpfs mounts a small file system. Who may not, in the build of an image or as a
// user, cannot install the right to: that is no failure on CI either.
func tmpfs(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size)
	if errors.Is(err, syscall.EPERM) {
		t.Skipf("mount a small tmpfs: %v: run the tests as root", err)
	} else if err != nil {
		t.Fatalf("mount a small tmpfs: %v", err)
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
			if f.Name() != lockName && !slices.Contains(but, f.Name()) {
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

// Two processes with one directory: the second one keeps its dumps in memory, says
// why, and takes over when the first one has ended.
func TestDirectoryOfAnotherProcess(t *testing.T) {
	dir := t.TempDir()
	first, _, url, _ := program(t, os.Args[0], "server", "PPROF_TEST_DIR="+dir)
	resp, body := request(t, "POST", url+"/debug/jeprof/dump", "")
	if resp.StatusCode != 201 {
		t.Fatalf("%s", body)
	}
	theirs := fromJSON[Dump](t, body)
	cfg := quiet(t)
	cfg.Dir = dir
	r := newTestRecorder(t, cfg)
	if d := take(t, r); d.Stored != "memory" || !strings.Contains(d.Note, "another process") {
		t.Errorf("%+v", d)
	}
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	first.Wait() // its error is the signal
	if d := take(t, r); d.Stored != "disk" || d.Note != "" {
		t.Errorf("when the other one has ended: %+v", d)
	}
	if dumps, fault := r.store.list(); fault != "" || !slices.ContainsFunc(dumps, func(d Dump) bool { return d.ID == theirs.ID }) ||
		!slices.IsSortedFunc(dumps, func(a, b Dump) int { return strings.Compare(a.ID, b.ID) }) {
		t.Errorf("%q, %+v", fault, dumps)
	}
}

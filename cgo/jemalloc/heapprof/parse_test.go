package heapprof

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

// goldens are real dumps of jemalloc 5.3.0, with the paths and inodes of the
// memory map replaced.
func goldens(tb testing.TB) map[string][]byte {
	tb.Helper()
	paths, err := filepath.Glob("testdata/*.heap")
	if err != nil || len(paths) == 0 {
		tb.Fatalf("no goldens: %v", err)
	}
	texts := make(map[string][]byte)
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			tb.Fatal(err)
		}
		texts[strings.TrimSuffix(filepath.Base(path), ".heap")] = text
	}
	return texts
}

func mustParse(tb testing.TB, text []byte) *Dump {
	tb.Helper()
	d, err := Parse(bytes.NewReader(text), Limits{})
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

func TestParseRealDump(t *testing.T) {
	d := mustParse(t, goldens(t)["threads"])
	if d.Rate != 4096 {
		t.Errorf("rate %d, want 4096", d.Rate)
	}
	if want := (Count{768, 6320}); d.Inuse != want {
		t.Errorf("summary %v, want %v", d.Inuse, want)
	}
	if want := (Count{769, 6333}); d.Alloc != want || !d.HasAlloc() {
		t.Errorf("summary of all allocations %v, want %v", d.Alloc, want)
	}
	wantThreads := []Thread{
		{ID: 0, Name: "a", Inuse: Count{23, 2772}, Alloc: Count{24, 2272}},
		{ID: 1, Name: "io thread: a b", Inuse: Count{373, 2984}, Alloc: Count{373, 2984}},
		{ID: 2, Name: "io thread: a b", Inuse: Count{372, 2976}, Alloc: Count{372, 2976}},
	}
	if !reflect.DeepEqual(d.Threads, wantThreads) {
		t.Errorf("threads %+v", d.Threads)
	}
	if len(d.Stacks) != 3 {
		t.Fatalf("%d stacks, want 3", len(d.Stacks))
	}
	s := d.Stacks[2]
	if len(s.PCs) != 7 || s.PCs[0] != 0x7fe9f32a2630 || s.PCs[6] != 0x7fe9f31278ec {
		t.Errorf("addresses %#x", s.PCs)
	}
	wantCounts := []ThreadCount{
		{Thread: 1, Inuse: Count{373, 2984}, Alloc: Count{373, 2984}},
		{Thread: 2, Inuse: Count{372, 2976}, Alloc: Count{372, 2976}},
	}
	if s.Inuse != (Count{745, 5960}) || !reflect.DeepEqual(s.Threads, wantCounts) {
		t.Errorf("counts %v, by thread %+v", s.Inuse, s.Threads)
	}
	m := findMapping(d.Mappings, s.PCs[0])
	if m == nil || m.File != "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2" || !m.Exec || m.Offset != 0x9000 {
		t.Errorf("mapping of the innermost address: %+v", m)
	}
	if last := d.Mappings[len(d.Mappings)-1]; last.File != "[vsyscall]" {
		t.Errorf("last mapping %+v", last)
	}
	// 400,000 objects of 8 bytes, 80 KiB of libstdc++ and 500 of 16 bytes: at
	// 745 samples the standard deviation of the sum is 1/sqrt(745) of it.
	const truth = 400_000*8 + 81920 + 500*16
	if live := d.Live(); math.Abs(live.Bytes-truth) > 3*truth/math.Sqrt(745) {
		t.Errorf("live %.0f bytes, want about %d", live.Bytes, truth)
	}
}

// TestParseCutAnywhere cuts real dumps at every byte. Until the head of the
// memory map every cut is found; after it, those within a line, and those
// that lose the code of a stack.
func TestParseCutAnywhere(t *testing.T) {
	for name, text := range goldens(t) {
		whole := mustParse(t, text)
		maps := bytes.Index(text, []byte("MAPPED_LIBRARIES:"))
		for n := range text {
			d, err := Parse(bytes.NewReader(text[:n]), Limits{})
			if err == nil && (n <= maps+len("MAPPED_LIBRARIES:\n") || text[n-1] != '\n') {
				t.Fatalf("%s cut to %d of %d bytes is accepted", name, n, len(text))
			}
			if err != nil {
				if !errors.Is(err, ErrTruncated) && !errors.Is(err, ErrFormat) {
					t.Fatalf("%s cut to %d bytes: %v", name, n, err)
				}
				continue
			}
			for _, s := range d.Stacks {
				for _, pc := range s.PCs {
					if findMapping(whole.Mappings, pc) != nil && findMapping(d.Mappings, pc) == nil {
						t.Fatalf("%s cut to %d bytes is accepted without the mapping of %#x", name, n, pc)
					}
				}
			}
		}
	}
}

func TestParseErrors(t *testing.T) {
	const (
		head  = "heap_v2/524288\n  t*: 1: 8 [0: 0]\n"
		stack = "@ 0x1 0x2\n  t*: 1: 8 [0: 0]\n"
		maps  = "\nMAPPED_LIBRARIES:\n1000-2000 r-xp 00000000 08:01 1000 /bin/app\n7000-8000 rw-p 00000000 00:00 0 [stack]\n"
	)
	tests := []struct {
		name, text string
		want       error
	}{
		{"whole", head + stack + maps, nil},
		{"no stack", head + maps, nil},
		{"carriage returns", strings.ReplaceAll(head+stack+maps, "\n", "\r\n"), nil},
		{"empty", "", ErrTruncated},
		{"another format", "heap profile: 1: 8 [1: 8] @ heapprofile\n", ErrFormat},
		{"gzip", "\x1f\x8b\x08\x00\n", ErrFormat},
		{"rate 0", "heap_v2/0\n" + maps, ErrFormat},
		{"rate too large", "heap_v2/99999999999999999999\n", ErrFormat},
		{"rate negative", "heap_v2/-1\n", ErrFormat},
		{"no summary", "heap_v2/1\n" + maps, ErrTruncated},
		{"no map", head + stack, ErrTruncated},
		{"empty map", head + stack + "\nMAPPED_LIBRARIES:\n", ErrTruncated},
		{"no counts", head + "@ 0x1\n" + maps, ErrTruncated},
		{"doubled", head + stack + maps + head + stack + maps, ErrDoubled},
		{"doubled stacks", head + stack + stack + maps, ErrDoubled},
		{"doubled counts", head + stack + "  t*: 1: 8 [0: 0]\n" + maps, ErrDoubled},
		{"doubled thread", head + "  t0: 1: 8 [0: 0] a\n  t0: 1: 8 [0: 0] a\n" + maps, ErrDoubled},
		{"header within the map", head + stack + maps + "heap_v2/524288\n", ErrDoubled},
		{"address without 0x", head + "@ 1 2\n  t*: 1: 8 [0: 0]\n" + maps, ErrFormat},
		{"address too large", head + "@ 0x10000000000000000\n  t*: 1: 8 [0: 0]\n" + maps, ErrFormat},
		{"count negative", head + "@ 0x1\n  t*: -1: 8 [0: 0]\n" + maps, ErrFormat},
		{"count too large", head + "@ 0x1\n  t*: 9223372036854775807: 8 [0: 0]\n" + maps, ErrFormat},
		{"count without end", head + "@ 0x1\n  t*: 1: 8 [0: 0\n" + maps, ErrFormat},
		{"thread without number", head + "@ 0x1\n  t*: 1: 8 [0: 0]\n  tx: 1: 8 [0: 0]\n" + maps, ErrFormat},
		{"unknown line", head + "hello\n" + maps, ErrFormat},
		{"mapping without perms", head + "\nMAPPED_LIBRARIES:\n1000-2000\n", ErrFormat},
		{"mapping reversed", head + "\nMAPPED_LIBRARIES:\n2000-1000 r-xp 0 08:01 1 /a\n", ErrFormat},
		{"mappings fall", head + "\nMAPPED_LIBRARIES:\n2000-3000 r-xp 0 08:01 1 /a\n1000-2000 r-xp 0 08:01 1 /a\n", ErrFormat},
		{"variable in the map", head + "\nMAPPED_LIBRARIES:\na=bbbb\nb=$a$a\n", ErrFormat},
		{"long line", head + "@" + strings.Repeat(" 0x1", 20000) + "\n", ErrFormat},
		{"deep stack", head + "@" + strings.Repeat(" 0x1", 2000) + "\n  t*: 1: 8 [0: 0]\n" + maps, ErrTooLarge},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if _, err := Parse(strings.NewReader(test.text), Limits{}); !errors.Is(err, test.want) {
				t.Errorf("error %v, want %v", err, test.want)
			}
		})
	}
}

// TestParseMapThatMoved: the process changed its map while the kernel wrote it out.
func TestParseMapThatMoved(t *testing.T) {
	dump := func(maps string) string { return "heap_v2/1\n  t*: 0: 0 [0: 0]\n\nMAPPED_LIBRARIES:\n" + maps }
	for name, tt := range map[string]struct {
		maps string
		want []Mapping
	}{
		"grew upwards":         {"1000-2000 rw-p 0 0:0 0\n1000-3000 rw-p 0 0:0 0\n", []Mapping{{Start: 0x1000, Limit: 0x3000}}},
		"grew downwards":       {"1000-2000 rw-p 0 0:0 0\n1800-3000 rw-p 0 0:0 0\n", []Mapping{{Start: 0x1000, Limit: 0x1800}, {Start: 0x1800, Limit: 0x3000}}},
		"merged with two":      {"1000-2000 rw-p 0 0:0 0\n3000-4000 r--p 0 0:0 0\n4000-5000 rw-p 0 0:0 0\n3000-6000 rw-p 0 0:0 0\n", []Mapping{{Start: 0x1000, Limit: 0x2000}, {Start: 0x3000, Limit: 0x6000}}},
		"nothing of the first": {"2000-3000 rw-p 0 0:0 0\n1000-4000 rw-p 0 0:0 0\n", []Mapping{{Start: 0x1000, Limit: 0x4000}}},
	} {
		d, err := Parse(strings.NewReader(dump(tt.maps)), Limits{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !reflect.DeepEqual(d.Mappings, tt.want) {
			t.Errorf("%s: %+v, want %+v", name, d.Mappings, tt.want)
		}
	}
}

func TestParseLimits(t *testing.T) {
	text := goldens(t)["threads"]
	for name, limits := range map[string]Limits{
		"bytes":    {MaxBytes: int64(len(text)) - 1},
		"stacks":   {MaxStacks: 2},
		"depth":    {MaxDepth: 8},
		"threads":  {MaxThreads: 2},
		"mappings": {MaxMappings: 10},
	} {
		if _, err := Parse(bytes.NewReader(text), limits); !errors.Is(err, ErrTooLarge) {
			t.Errorf("limit of %s: error %v, want %v", name, err, ErrTooLarge)
		}
	}
	if _, err := Parse(bytes.NewReader(text), Limits{MaxBytes: int64(len(text)), MaxStacks: 3, MaxDepth: 9, MaxThreads: 3}); err != nil {
		t.Errorf("at the limits: %v", err)
	}
}

func TestParseReportsReadError(t *testing.T) {
	broken := errors.New("disk on fire")
	r := io.MultiReader(bytes.NewReader(goldens(t)["threads"][:100]), &failing{broken})
	if _, err := Parse(r, Limits{}); !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

// TestHostileTextIsMadePrintable: names from a dump end up on terminals.
func TestHostileTextIsMadePrintable(t *testing.T) {
	text := "heap_v2/1\n  t*: 1: 8 [0: 0]\n  t0: 1: 8 [0: 0] a\x1b[2Jb\xff\n\nMAPPED_LIBRARIES:\n" +
		"1000-2000 r-xp 00000000 08:01 1000 /bin/\x1b]0;x\x07app\n7000-8000 rw-p 0 00:00 0 [stack]\n"
	d := mustParse(t, []byte(text))
	if got := d.Threads[0].Name; got != "a?[2Jb?" {
		t.Errorf("thread name %q", got)
	}
	if got := d.Mappings[0].File; got != "/bin/?]0;x?app" {
		t.Errorf("file %q", got)
	}
}

// bigDump writes a dump of many stacks of the given depth that call from the
// code at 0x400000.
func bigDump(stacks, depth int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "heap_v2/524288\n  t*: %d: %d [0: 0]\n  t0: %d: %d [0: 0] main\n", stacks, stacks*64, stacks, stacks*64)
	for i := range stacks {
		b.WriteString("@")
		for j := range depth {
			// Outer frames are shared, as in a real program.
			fmt.Fprintf(&b, " %#x", 0x400000+(i>>j)*16+j+1)
		}
		b.WriteString("\n  t*: 1: 64 [0: 0]\n  t0: 1: 64 [0: 0]\n")
	}
	b.WriteString("\nMAPPED_LIBRARIES:\n00400000-10000000 r-xp 00000000 08:01 1000 /srv/app/big\n7ffc0000-7ffd0000 rw-p 00000000 00:00 0 [stack]\n")
	return b.Bytes()
}

func TestParseManyStacksInBoundedMemory(t *testing.T) {
	const stacks, depth = 100_000, 30
	text := bigDump(stacks, depth)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	d := mustParse(t, text)
	runtime.ReadMemStats(&after)
	if len(d.Stacks) != stacks {
		t.Fatalf("%d stacks", len(d.Stacks))
	}
	last := d.Stacks[stacks-1]
	if len(last.PCs) != depth || len(last.Threads) != 1 || last.Threads[0].Thread != 0 {
		t.Errorf("last stack %+v", last)
	}
	allocated := after.TotalAlloc - before.TotalAlloc
	t.Logf("%d bytes of text, %d allocated", len(text), allocated)
	if allocated > 4*uint64(len(text)) {
		t.Errorf("%d bytes allocated for %d bytes of text", allocated, len(text))
	}
}

func TestUnbias(t *testing.T) {
	const rate = 512 << 10
	tests := []struct {
		count Count
		want  Estimate
	}{
		{Count{}, Estimate{}},
		{Count{1, 8}, Estimate{rate / 8, rate}},                          // small: a sample stands for rate bytes
		{Count{10, 10 * rate}, Estimate{15.8198, 15.8198 * rate}},        // 1/(1-1/e)
		{Count{3, 300 << 20}, Estimate{3, 300 << 20}},                    // large: each one is sampled
		{Count{0, 100}, Estimate{0, 100}}, {Count{5, 0}, Estimate{5, 0}}, // damaged: as they are
	}
	for _, test := range tests {
		got := test.count.Unbias(rate)
		if math.Abs(got.Objects-test.want.Objects) > 1e-4*test.want.Objects || math.Abs(got.Bytes-test.want.Bytes) > 1e-4*test.want.Bytes {
			t.Errorf("%v: %v, want %v", test.count, got, test.want)
		}
	}
	if got := (Count{7, 56}).Unbias(1); got != (Estimate{7, 56}) {
		t.Errorf("at rate 1 nothing is estimated: %v", got)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range goldens(f) {
		f.Add(text)
	}
	f.Add([]byte("heap_v2/1\nt*:1:1[0:0]\n@\nt*:1:1[0:0]\nMAPPED_LIBRARIES:\n1-2 r-xp 0 0:0 0 /dev/zero\n"))
	f.Add([]byte("heap_v2/1\nt*:1:1[0:0]\n@ 0x0 0xffffffffffffffff\nt*:1152921504606846976:1[0:0]\nt9:1:1[0:0]\nMAPPED_LIBRARIES:\n0-ffffffffffffffff r-xp 0 0:0 0 [stack]\n"))
	empty := f.TempDir()
	limits := Limits{MaxBytes: 1 << 20, MaxStacks: 100, MaxDepth: 100, MaxThreads: 100, MaxMappings: 100}
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := Parse(bytes.NewReader(text), limits)
		if err != nil {
			return
		}
		// Whatever is accepted converts to a valid profile, in every way.
		for _, opts := range []ProfileOptions{{}, {Threads: true, Symbols: NewSymbolizer(SymbolizerConfig{Root: empty}).SymbolizeDump(d)}} {
			p := d.Profile(opts)
			if err := p.CheckValid(); err != nil {
				t.Fatal(err)
			}
			if err := p.Write(io.Discard); err != nil {
				t.Fatal(err)
			}
			if err := WriteStacks(io.Discard, p, TopOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	})
}

package heapprof

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"
)

// realisticDump is a dump of 2,000 stacks with addresses in the code that a
// real process has mapped: about 2,500 distinct ones.
func realisticDump(tb testing.TB) []byte {
	real := mustParse(tb, takeDump(tb, compile(tb, "-g")))
	rng := rand.New(rand.NewPCG(1, 2))
	var code []Mapping
	for _, m := range real.Mappings {
		if m.Exec && m.hasFile() {
			code = append(code, m)
		}
	}
	pcs := real.PCs()
	for len(pcs) < 2500 {
		m := code[rng.IntN(len(code))]
		pcs = append(pcs, m.Start+1+rng.Uint64N(m.Limit-m.Start-1))
	}
	var b bytes.Buffer
	b.WriteString("heap_v2/524288\n  t*: 2000: 128000 [4000: 256000]\n  t0: 2000: 128000 [4000: 256000] main\n")
	for range 2000 {
		b.WriteString("@")
		for range 20 {
			fmt.Fprintf(&b, " %#x", pcs[rng.IntN(len(pcs))])
		}
		b.WriteString("\n  t*: 1: 64 [2: 128]\n  t0: 1: 64 [2: 128]\n")
	}
	b.WriteString("\nMAPPED_LIBRARIES:\n")
	for _, m := range real.Mappings {
		perms := "r--p"
		if m.Exec {
			perms = "r-xp"
		}
		fmt.Fprintf(&b, "%x-%x %s %08x 08:01 %d %s\n", m.Start, m.Limit, perms, m.Offset, m.Inode, m.File)
	}
	return b.Bytes()
}

// convert does what a server does for one request.
func convert(tb testing.TB, text []byte, s *Symbolizer) {
	d := mustParse(tb, text)
	d.Time = time.Now()
	if err := d.Profile(ProfileOptions{Symbols: s.SymbolizeDump(d)}).Write(io.Discard); err != nil {
		tb.Fatal(err)
	}
}

func BenchmarkParse(b *testing.B) {
	text := realisticDump(b)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		mustParse(b, text)
	}
}

func BenchmarkConvertCold(b *testing.B) {
	text := realisticDump(b)
	b.ReportAllocs()
	for b.Loop() {
		convert(b, text, NewSymbolizer(SymbolizerConfig{Go: GoFrames}))
	}
}

func BenchmarkConvertWarm(b *testing.B) {
	text := realisticDump(b)
	s := NewSymbolizer(SymbolizerConfig{Go: GoFrames})
	convert(b, text, s)
	b.ReportAllocs()
	for b.Loop() {
		convert(b, text, s)
	}
}

func BenchmarkRankerAdd(b *testing.B) {
	d := mustParse(b, realisticDump(b))
	r := NewRanker(RankerConfig{})
	d.Time = simStart
	for b.Loop() {
		d.Time = d.Time.Add(12 * time.Second)
		if err := r.Add(d); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSuspects(b *testing.B) {
	d := mustParse(b, realisticDump(b))
	r := NewRanker(RankerConfig{})
	for i := range 2 * maxPoints {
		d.Time = simStart.Add(time.Duration(i) * 12 * time.Second)
		if err := r.Add(d); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if s := r.Suspects(); len(s) != 0 {
			b.Fatal(s)
		}
	}
}

// TestPeakMemory bounds what a conversion adds to the resident set at its
// highest, with nothing known before.
func TestPeakMemory(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc/self")
	}
	if raceEnabled {
		t.Skip("the race detector doubles the memory")
	}
	text := realisticDump(t)
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		t.Skipf("cannot reset the peak: %v", err)
	}
	before := status(t, "VmHWM:")
	convert(t, text, NewSymbolizer(SymbolizerConfig{Go: GoFrames}))
	grown := status(t, "VmHWM:") - before
	t.Logf("peak resident set: %d KiB more", grown)
	if grown > 64<<10 {
		t.Errorf("the peak of the resident set grew by %d KiB", grown)
	}
}

// status returns a field of /proc/self/status in KiB.
func status(tb testing.TB, field string) int {
	tb.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, field); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				tb.Fatal(err)
			}
			return n
		}
	}
	tb.Fatalf("no %s", field)
	return 0
}

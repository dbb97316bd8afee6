package agent

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// sampling runs `magellan heap sampling`.
func (p *target) sampling(state string) {
	p.Helper()
	cmd := exec.Command(magellan(p), "heap", "sampling", "--pid", strconv.Itoa(p.pid), state)
	if o := outcomeOf(p, cmd); o.ended != "exit status 0" {
		p.Fatalf("%v: %+v", cmd.Args, o)
	}
}

// kept is what the profile has of the host's blocks.
func (p *target) kept() stack {
	p.Helper()
	return total(through(stacksOf(p, p.dump()), "main.keep", "host_keep"))
}

// TestEstimate: the profile estimates what the program holds, for blocks that are smaller and
// larger than the distance between two samples.
func TestEstimate(t *testing.T) {
	t.Parallel()
	p := hostUnder(t, "--sample", "8KiB")
	for _, c := range []struct{ blocks, size int }{{1_000_000, 16}, {100_000, 240}, {10_000, 3_200}, {2_000, 80_000}} {
		p.do("keep %d %d", c.blocks, c.size)
		got := p.kept()
		want := float64(c.blocks) * float64(c.size)
		// One sample in 8 KiB, or each block. Five standard deviations are one in two million.
		samples := float64(c.blocks) * (1 - math.Exp(-float64(c.size)/8192))
		allowed := 5 / math.Sqrt(samples)
		t.Logf("%d blocks of %d: estimated %d with %d bytes, %.1f standard deviations", c.blocks, c.size, got.live, got.liveBytes,
			(float64(got.liveBytes)/want-1)*math.Sqrt(samples))
		if math.Abs(float64(got.liveBytes)/want-1) > allowed || math.Abs(float64(got.live)/float64(c.blocks)-1) > allowed {
			t.Errorf("%d blocks with %d bytes, want %d with %.0f", got.live, got.liveBytes, c.blocks, want)
		}
		p.do("free")
		if got := p.kept(); got.live != 0 || got.liveBytes != 0 {
			t.Errorf("%d blocks with %d bytes live after all were freed", got.live, got.liveBytes)
		}
	}
}

// TestSwitch: sampling can be off from the start, and can be switched. Blocks of the time when
// it was off are not in the profile, and are freed as others.
func TestSwitch(t *testing.T) {
	t.Parallel()
	p := hostUnder(t, "--off", "--sample", "1")
	p.do("pin") // each thread notices a switch by itself
	want := func(live, calls int64) {
		t.Helper()
		if got := p.kept(); got.live != live || got.calls != calls {
			t.Errorf("%d blocks live of %d, want %d of %d, with the status %v", got.live, got.calls, live, calls, p.status())
		}
	}
	p.do("keep 1000 100")
	want(0, 0)
	p.sampling("on")
	// A thread notices after 1 MiB at most, so that it need not look each time.
	p.do("keep 100 100000")
	before := p.kept()
	if before.live < 80 || before.live != before.calls {
		t.Errorf("%d blocks live of %d", before.live, before.calls)
	}
	p.do("keep 500 100")
	want(before.live+500, before.calls+500)
	p.do("free")
	want(0, before.calls+500)
	p.sampling("off")
	p.do("keep 1000 100")
	want(0, before.calls+500)
	p.do("free")
	// With another rate the profile begins anew.
	p.sampling("64KiB")
	p.sampling("on")
	p.sampling("1")
	p.do("keep 100 100000")
	p.do("free")
	middle := p.kept()
	p.do("keep 500 100")
	want(500, middle.calls+500)
}

// TestOwnMemory: what the agent itself takes is bounded, whatever the program does.
func TestOwnMemory(t *testing.T) {
	t.Parallel()
	const most, each = 4 << 20, 100
	p := hostUnder(t, everyBlock...)
	bounded := func(what string, live int64) {
		t.Helper()
		got := p.number("own_bytes")
		t.Logf("%s: %d bytes, %d stacks, %d dropped", what, got, p.number("stacks"), p.number("stacks_dropped"))
		if got > most+each*live {
			t.Errorf("%s: the agent takes %d bytes, which are more than 4 MiB and %d for each of %d samples", what, got, each, live)
		}
	}
	bounded("at the start", 0)
	// Each block on a stack of its own, and freed at once.
	p.do("pass 16")
	bounded("after 65536 stacks", 0)
	p.do("pass 17")
	bounded("after 131072 stacks more", 0)
	if got := total(stacksOf(t, p.dump())).calls; got < 3<<16 {
		t.Errorf("the profile has %d of %d allocations", got, 3<<16)
	}
	if p.number("stacks_dropped") == 0 {
		t.Errorf("no stacks were dropped: %v", p.status())
	}
	// Many live blocks on one stack.
	const live = 200_000
	p.do("keep %d 16", live)
	if got := p.kept().live; got != live {
		t.Errorf("%d blocks live, want %d", got, live)
	}
	bounded("with many live blocks", live)
	p.do("free")
	p.do("keep %d 16", live)
	bounded("with as many again", live)
	if p.number("missed") != 0 {
		t.Errorf("status %v", p.status())
	}
}

// TestResident: what a program takes more under an agent, as the kernel counts it. It is the
// agent's own memory, and a page for each live sample at most.
func TestResident(t *testing.T) {
	t.Parallel()
	host := source{dir: "host"}.build(t)
	resident := func(p *target) int64 {
		t.Helper()
		p.do("keep 100000 1000")
		p.do("threads 100 1000")
		p.do("pass 14")
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "RssAnon:")
		n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n << 10
	}
	without := start(t, exec.Command(host))
	without.pid = without.askPID()
	under := hostUnder(t)
	before, after := resident(without), resident(under)
	live := under.number("live_objects")
	t.Logf("resident %d bytes, under an agent %d, with %d live samples; the agent says %d", before, after, live, under.number("own_bytes"))
	// Go's own memory differs between two runs by less than 1 MiB.
	if most := 4<<20 + (100+4096)*live + 1<<20; after-before > most {
		t.Errorf("the program takes %d bytes more under an agent, want at most %d", after-before, most)
	}
}

package agent

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestChildren: children of the program run as they would without an agent, and with
// --children under one of their own.
func TestChildren(t *testing.T) {
	t.Parallel()
	const environment = `env | grep -E "^(LD_PRELOAD|MAGELLAN_AGENT)="; grep -c memfd: /proc/self/maps; ls -l /proc/self/fd | grep -c -e memfd -e socket:`
	ask := func(p *target) string {
		// What a child of a child has.
		file := filepath.Join(p.TempDir(), "ask")
		if err := os.WriteFile(file, []byte(environment+"; exit 0\n"), 0o644); err != nil {
			p.Fatal(err)
		}
		return p.do("run sh %s", file)
	}
	host := source{dir: "host"}.build(t)

	t.Run("none", func(t *testing.T) {
		p := hostUnder(t, everyBlock...)
		if got := ask(p); got != "0\n0\n" {
			t.Errorf("a child has something of the agent: %s", got)
		}
		for _, name := range []string{"LD_PRELOAD", "MAGELLAN_AGENT"} {
			if goValue, cValue := p.do("env %s", name), p.do("cenv %s", name); goValue != "" || cValue != "" {
				t.Errorf("%s is %q in Go, and %q in C", name, goValue, cValue)
			}
		}
		if got := p.do("descriptors"); strings.Contains(got, "memfd") {
			t.Errorf("the agent's file is still open:\n%s", got)
		}
		// Another program in the same process.
		p.do("exec %s -hello", host)
		p.do("keep 10 10")
		p.wantNoAgent("agent")
	})
	t.Run("all", func(t *testing.T) {
		p := hostUnder(t, "--sample", "1", "--children")
		got := ask(p)
		if !strings.Contains(got, "LD_PRELOAD=") || !strings.Contains(got, "MAGELLAN_AGENT=") || strings.Contains(got, "\n0\n") {
			t.Errorf("a child has nothing of the agent: %s", got)
		}
		if got := p.do("run sh -c id"); !strings.HasPrefix(got, "uid=") {
			t.Errorf("id: %s", got)
		}
		p.wantKept(10, 10)
		p.do("exec %s -hello", host)
		p.wantKept(20, 10) // the blocks before are gone
	})
}

// send sends a command that has no answer.
func (p *target) send(format string, args ...any) {
	p.Helper()
	if _, err := fmt.Fprintf(p.in, format+"\n", args...); err != nil {
		p.Fatal(err)
	}
}

// TestSetuid: the program changes its user, on all of its threads, while the agent has a
// thread of its own.
func TestSetuid(t *testing.T) {
	t.Parallel()
	needRoot(t)
	p := hostUnder(t, everyBlock...)
	p.wantKept(100, 1000)
	p.do("setuid %d", nobody)
	p.do("keep 100 1000")
	if got := total(through(stacksOf(t, p.dump()), "host_keep")); got.live != 200 {
		t.Errorf("%d blocks live, want 200", got.live)
	}
	if got := p.status()["uid"]; got != strconv.Itoa(nobody) {
		t.Errorf("the agent says that the user is %s", got)
	}
	// All threads have changed, the agent's too.
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", p.pid))
	if err != nil || len(threads) < 2 {
		t.Fatalf("threads %v, %v", threads, err)
	}
	for _, thread := range threads {
		text, err := os.ReadFile(thread)
		if err != nil {
			continue // it has ended
		}
		if !strings.Contains(string(text), "Uid:\t65534\t65534\t65534\t65534\n") {
			t.Errorf("%s is of another user:\n%s", thread, text)
		}
	}
	// The new user may look, unless the kernel keeps the process from its own user. A
	// stranger may not.
	socket, err := socketOf(p.pid)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := askAs(t, nobody, socket, "status"); err != nil {
		t.Errorf("the process's user is refused: %s", text)
	}
	if text, err := askAs(t, stranger, socket, "status"); err == nil {
		t.Errorf("a stranger is answered: %s", text)
	}
}

// askAs asks an agent as another user.
func askAs(t *testing.T, uid int, socket, request string) (string, error) {
	t.Helper()
	file := filepath.Join(built, "ask")
	if _, err := os.Stat(file); err != nil {
		self, err := os.Executable()
		if err == nil {
			var program []byte
			if program, err = os.ReadFile(self); err == nil {
				err = os.WriteFile(file, program, 0o755) // where everybody may read it
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	out, err := as(t, uid, exec.Command(file, askArgument, socket, request)).CombinedOutput()
	return string(out), err
}

// TestUndumpable: root may look at a process that nobody else may look at.
func TestUndumpable(t *testing.T) {
	t.Parallel()
	needRoot(t)
	p := hostUnder(t, everyBlock...)
	p.do("undumpable")
	p.wantKept(100, 1000)
}

// TestFork: children that do not execute another program go on allocating.
func TestFork(t *testing.T) {
	t.Parallel()
	p := hostUnder(t, everyBlock...)
	p.do("fork 150")
	p.wantKept(100, 1000)
	if p.number("missed") != 0 {
		t.Errorf("status %v", p.status())
	}
}

// TestThreadsThatEnd: their blocks live on in the profile, and they leave nothing behind.
func TestThreadsThatEnd(t *testing.T) {
	t.Parallel()
	p := hostUnder(t, everyBlock...)
	const threads = 1000
	var own []int64
	for round := range 5 {
		p.do("threads %d 100", threads)
		got := total(through(stacksOf(t, p.dump()), "thread_main", "keep_one"))
		if got.live != threads || got.calls != int64(threads*(round+1)) {
			t.Errorf("round %d: %d blocks live of %d, want %d of %d", round, got.live, got.calls, threads, threads*(round+1))
		}
		p.do("free")
		own = append(own, p.number("own_bytes"))
	}
	const warm = 1 << 20 // free blocks of samples, which the agent keeps for the next ones
	if more := own[4] - own[0]; more > 100_000+warm {
		t.Errorf("the agent's own memory after each %d threads: %d", threads, own)
	}
	if got := p.number("live_objects"); got > threads/2 {
		t.Errorf("%d objects live after all were freed", got)
	}
}

// TestNoMemory: the process may have no more address space, and the agent none either.
func TestNoMemory(t *testing.T) {
	t.Parallel()
	const room = 40_000_000
	for _, sample := range []string{"1", "4KiB", "512KiB"} {
		t.Run(sample, func(t *testing.T) {
			p := hostUnder(t, "--sample", sample)
			for _, size := range []int{200, 2000, 100_000, 10_000_000} {
				n, err := strconv.Atoi(p.do("exhaust %d %d", room, size))
				if err != nil || n < 1 {
					t.Errorf("%d blocks of %d bytes, %v", n, size, err)
				}
				// A block takes a page more at most.
				if n < room/(size+size/4+4096)-10 {
					t.Errorf("only %d blocks of %d bytes in %d bytes", n, size, room)
				}
			}
			p.do("keep 1000 1000")
			p.do("free")
			p.do("threads 100 1000")
			p.dump()
		})
	}
}

// TestClosedLibrary: a library that was closed, and whose place another has taken, does not
// give its place's names to the other.
func TestClosedLibrary(t *testing.T) {
	t.Parallel()
	first, second := buildLibrary(t, "library_first", 1), buildLibrary(t, "library_second", 40)
	p := hostUnder(t, everyBlock...)
	p.do("open %s", first)
	p.do("call 30 1000")
	p.do("close")
	p.do("open %s", second)
	p.do("call 50 3000")
	stacks := through(stacksOf(t, p.dump()), "main.callLibrary")
	of := func(size int64, allowed ...string) {
		t.Helper()
		var n int64
		for _, s := range stacks {
			if s.live == 0 || s.liveBytes/s.live != size {
				continue
			}
			n += s.live
			f := s.frames[len(s.frames)-2] // the one that called malloc
			for _, name := range allowed {
				if f.name == name || name == "" && strings.Contains(f.name, "+0x") {
					return
				}
			}
			t.Errorf("blocks of %d bytes are of %v:%v", size, f, s)
		}
		if n == 0 {
			t.Errorf("no blocks of %d bytes below main.callLibrary", size)
		}
	}
	of(1008, "library_first", "")
	of(3008, "library_second")
	p.do("close")
	// Now there is nothing at that place.
	stacks = through(stacksOf(t, p.dump()), "main.callLibrary")
	of(1008, "library_first", "")
	of(3008, "library_second", "")
	if got := total(stacks); got.live != 80 {
		t.Errorf("%d blocks live, want 80", got.live)
	}
}

// TestFullCgroup: in a memory cgroup with little room the program goes on, and so does the
// agent.
func TestFullCgroup(t *testing.T) {
	t.Parallel()
	needRoot(t)
	dir, limit := memoryCgroup(t)
	p := hostUnder(t, "--sample", "4KiB")
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(p.pid)), 0o644); err != nil {
		t.Fatal(err)
	}
	const room = 100 << 20
	if err := os.WriteFile(filepath.Join(dir, limit), []byte(strconv.Itoa(room)), 0o644); err != nil {
		t.Fatal(err)
	}
	// 84 MiB of blocks: 16 bytes of glibc's for each, and 4 MiB of the agent's.
	p.do("keep %d %d", 21<<10, 4000)
	got := total(through(stacksOf(t, p.dump()), "main.keep", "host_keep"))
	if got.live < 16<<10 || got.live > 26<<10 {
		t.Errorf("%d blocks live, want about %d", got.live, 21<<10)
	}
	// More than there is room for. The kernel kills the process, not the agent or magellan.
	p.send("keep %d %d", 21<<10, 4000)
	select {
	case <-p.Done():
	case <-t.Context().Done():
	}
	p.ended = true
	if text := p.Ended().String(); text != "signal: killed" {
		t.Errorf("it ended with %s", text)
	}
	cmd, _ := dumpCommand(t, p.pid)
	refusedDump(t, cmd)
}

// memoryCgroup makes a cgroup that limits memory, and returns the name of the file that has
// the limit.
func memoryCgroup(t *testing.T) (dir, limit string) {
	t.Helper()
	for _, kind := range []struct{ root, limit string }{
		{"/sys/fs/cgroup", "memory.max"},
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
	} {
		dir := filepath.Join(kind.root, "magellan-test-"+strconv.Itoa(os.Getpid()))
		if err := os.Mkdir(dir, 0o755); err != nil {
			continue
		}
		t.Cleanup(func() { os.Remove(dir) })
		if _, err := os.Stat(filepath.Join(dir, kind.limit)); err == nil {
			return dir, kind.limit
		}
	}
	t.Skip("no memory cgroup can be made here, as in most containers")
	return "", ""
}

// TestLockedMemory: a program that locks all of its memory takes hardly more under an agent.
func TestLockedMemory(t *testing.T) {
	needRoot(t)
	t.Parallel()
	p := hostUnder(t, everyBlock...)
	// If address space that the agent does not use became resident, the machine would run out
	// of memory.
	const most = 1 << 30
	stop := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
				if statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.pid)); err == nil {
					if resident, err := strconv.Atoi(strings.Fields(string(statm))[1]); err == nil && resident*os.Getpagesize() > most {
						p.kill()
						t.Errorf("more than %d bytes are resident", most)
						return
					}
				}
			}
		}
	})
	defer watching.Wait()
	defer close(stop)
	p.do("mlockall")
	p.wantKept(1000, 1000)
	p.do("threads 100 1000")
	p.do("free")
	p.wantKept(1000, 1000)
}

// TestClosedDescriptors: a program that closes all descriptors, as daemons do, closes the
// agent's. The agent does not take the program's sockets for its own afterwards.
func TestClosedDescriptors(t *testing.T) {
	t.Parallel()
	p := hostUnder(t, everyBlock...)
	p.wantKept(100, 1000)
	socket, err := socketOf(p.pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the program listens: %s", p.do("listen"))
	// The agent may still wait for a client on the socket that was closed. Then it answers, and
	// waits for the next.
	_, err = ask(socket, "status")
	t.Logf("the agent after its socket was closed: %v", err)
	for range 5 {
		p.do("accept")
	}
	p.do("keep 100 1000")
	// The agent's thread does not spin. A tick is a hundredth of a second.
	if ticks := p.agentTicks(); ticks > 50 {
		t.Errorf("the agent's thread has used %d ticks of processor time", ticks)
	}
	// The agent opens another socket when the program makes its next thread.
	eventually(t, "the agent can be asked again", func() error {
		p.do("threads 1 1")
		_, err := socketOf(p.pid)
		return err
	})
	if got := total(through(stacksOf(t, p.dump()), "main.keep", "host_keep")); got.live != 200 {
		t.Errorf("%d blocks live, want 200", got.live)
	}
}

// agentTicks is the processor time of the agent's thread.
func (p *target) agentTicks() int {
	p.Helper()
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.pid))
	for _, thread := range threads {
		text, err := os.ReadFile(thread)
		if _, rest, ok := strings.Cut(string(text), "(magellan-agent) "); err == nil && ok {
			f := strings.Fields(rest)
			user, err := strconv.Atoi(f[11])
			system, err2 := strconv.Atoi(f[12])
			if err != nil || err2 != nil {
				p.Fatalf("%s: %s", thread, text)
			}
			return user + system
		}
	}
	return 0 // it has ended
}

// TestDaemon: a child that closes all descriptors and opens its own keeps them, though one has
// the number that the agent's socket had in the parent.
func TestDaemon(t *testing.T) {
	t.Parallel()
	p := hostUnder(t, everyBlock...)
	p.wantKept(10, 10) // the agent has its socket
	p.do("daemon")
}

// TestForbidden: the program has the kernel refuse accept4. The agent's thread then ends, and does
// not ask for ever.
func TestForbidden(t *testing.T) {
	t.Parallel()
	p := hostUnder(t, everyBlock...)
	p.wantKept(10, 10)
	socket, err := socketOf(p.pid)
	if err != nil {
		t.Fatal(err)
	}
	p.do("forbid %d", syscall.SYS_ACCEPT4)
	if text, err := ask(socket, "status"); err != nil { // the thread was in the call before
		t.Errorf("%v: %s", err, text)
	}
	before := p.agentTicks()
	deadline := time.Now().Add(20 * time.Second)
	for {
		if _, err := socketOf(p.pid); err != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the agent still has its socket, and its thread has used %d ticks", p.agentTicks()-before)
		}
		time.Sleep(10 * time.Millisecond)
	}
	p.do("keep 10 10")
}

// TestChroot: the program changes its root, and there is no /proc.
func TestChroot(t *testing.T) {
	t.Parallel()
	needRoot(t)
	p := hostUnder(t, everyBlock...)
	p.do("keep 100 1000")
	p.do("chroot %s", t.TempDir())
	p.do("keep 100 1000")
	if got := total(through(stacksOf(t, p.dump()), "main.keep", "main.main", "runtime.goexit")); got.live != 200 {
		t.Errorf("%d blocks live, want 200", got.live)
	}
}

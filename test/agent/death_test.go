package agent

import (
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestDeathDuringDump: the process is killed while it sends a dump. magellan says so, or has
// got all of it before.
func TestDeathDuringDump(t *testing.T) {
	t.Parallel()
	const bits = 13
	p := hostUnder(t, everyBlock...)
	p.do("stacks %d", bits)
	begin := time.Now()
	p.dump()
	whole := time.Since(begin)
	// At another moment each time. None is certain to be in the middle, some are.
	const moments = 8
	for i := range moments {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			p := hostUnder(t, everyBlock...)
			p.do("stacks %d", bits)
			cmd, file := dumpCommand(t, p.pid)
			var dumped outcome
			var running sync.WaitGroup
			running.Go(func() { dumped = outcomeOf(t, cmd) })
			time.Sleep(whole * time.Duration(i) / moments)
			p.kill()
			running.Wait()
			t.Logf("magellan: %s, %s", dumped.ended, dumped.stderr)
			switch {
			case dumped.ended == "exit status 0":
				if got := total(through(stacksOf(t, readProfile(t, file)), "main.stacks", "host_stacks")); got.live != 1<<bits {
					t.Errorf("the profile has %d blocks, want all or nothing", got.live)
				}
			case !strings.HasPrefix(dumped.ended, "exit status"), !strings.Contains(dumped.stderr, fmt.Sprint(p.pid)):
				t.Errorf("magellan: %s, %s", dumped.ended, dumped.stderr)
			}
		})
	}
}

// TestDeathInTheMiddle kills the process when a part of the dump is sent.
func TestDeathInTheMiddle(t *testing.T) {
	t.Parallel()
	p := hostUnder(t, everyBlock...)
	p.do("stacks 13")
	conn := p.connect()
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, "dump\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	p.kill()
	text, err := io.ReadAll(conn)
	if strings.HasSuffix(string(text), "\x00\x00\x00\x00") {
		t.Errorf("the answer of a process that was killed has an end, after %d bytes, %v", len(text), err)
	}
}

// TestStopped: a process that does not run does not answer, and magellan does not wait for
// ever.
func TestStopped(t *testing.T) {
	t.Parallel()
	p := hostUnder(t, everyBlock...)
	p.wantKept(100, 1000)
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	cmd, _ := dumpCommand(t, p.pid, "--timeout", "1s")
	if text := refusedDump(t, cmd); !strings.Contains(text, fmt.Sprint(p.pid)) {
		t.Errorf("magellan says %q", text)
	}
	// It is killed while magellan waits.
	cmd, _ = dumpCommand(t, p.pid)
	var text string
	var running sync.WaitGroup
	running.Go(func() { text = refusedDump(t, cmd) })
	eventually(t, "magellan waits for the process", func() error { return connected(p.pid, 1) })
	p.kill()
	running.Wait()
	if !strings.Contains(text, "ended") && !strings.Contains(text, "no process") {
		t.Errorf("magellan says %q", text)
	}
	// There is no such process now.
	cmd, _ = dumpCommand(t, p.pid)
	if text := refusedDump(t, cmd); !strings.Contains(text, fmt.Sprint(p.pid)) {
		t.Errorf("magellan says %q", text)
	}
}

// connected checks that the agent's socket has connections that it has not accepted.
func connected(pid, n int) error {
	name, err := socketOf(pid)
	if err != nil {
		return err
	}
	out, err := exec.Command("grep", "-c", "-F", name, fmt.Sprintf("/proc/%d/net/unix", pid)).Output()
	if err != nil {
		return err
	}
	var count int
	if fmt.Sscan(string(out), &count); count < 1+n {
		return fmt.Errorf("%d sockets", count)
	}
	return nil
}

// TestDeaf: clients that ask and do not listen, or do not ask, keep nobody from asking.
func TestDeaf(t *testing.T) {
	t.Parallel()
	p := hostUnder(t, everyBlock...)
	p.do("stacks 13")
	for _, request := range []string{"", "dump\n", strings.Repeat("names ", 20_000), "\n", "no such request\n", "sample -1\n", "sample 99999999999999999999\n", "names 0x\n"} {
		conn := p.connect()
		conn.SetDeadline(time.Now().Add(patience))
		io.WriteString(conn, request) // the agent may have closed the connection
	}
	p.wantKept(100, 1000)
	for _, request := range []string{"", "no such request", "statusx", "offline", "sample", "sample 0", "sample -1", "sample 4096x", "sample 99999999999999999999"} {
		if text, err := ask(p.socket(), request); err == nil || !strings.Contains(err.Error(), `"error `) {
			t.Errorf("the answer to %q is no error: %v, %q", request, err, text)
		}
	}
	if p.number("sample") != 1 || p.status()["state"] != "on" {
		t.Errorf("nonsense has changed the status: %v", p.status())
	}
}

// TestManyAtOnce: many dumps at the same time are all complete.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	p := hostUnder(t, everyBlock...)
	p.do("stacks 12")
	socket := p.socket()
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			for range 4 {
				text, err := ask(socket, "dump")
				if err != nil || !strings.HasPrefix(text, "heap_v2/") || strings.Count(text, "@") < 1<<12 {
					t.Errorf("a dump of %d bytes, %v", len(text), err)
				}
			}
		})
	}
	p.do("threads 500 100")
	running.Wait()
}

package agent

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// TestOtherUser: a user without rights profiles a program of its own, and nobody else but
// root may look at it.
func TestOtherUser(t *testing.T) {
	t.Parallel()
	p := startHost(t, func(host string) *exec.Cmd { return as(t, nobody, heapRun(t, everyBlock, host)) })
	p.wantKept(100, 1000) // by root
	cmd, file := dumpCommand(t, p.pid)
	if o := outcomeOf(t, as(t, nobody, cmd)); o.ended != "exit status 0" {
		t.Fatalf("the user itself: %+v", o)
	}
	if got := total(through(stacksOf(t, readProfile(t, file)), "main.keep", "host_keep")); got.live != 100 {
		t.Errorf("%d blocks live, want 100", got.live)
	}
	cmd, _ = dumpCommand(t, p.pid)
	refusedDump(t, as(t, stranger, cmd))
	socket, err := socketOf(p.pid)
	if err != nil {
		t.Fatal(err)
	}
	for _, request := range []string{"status", "dump", "names 0x1", "on", "off", "sample 4096"} {
		if text, err := askAs(t, stranger, socket, request); err == nil {
			t.Errorf("the agent answers a stranger's %q with %q", request, text)
		}
	}
	if p.status()["state"] != "on" || p.number("sample") != 1 {
		t.Errorf("a stranger has changed the status: %v", p.status())
	}
}

// TestNoNewPrivileges: a program that may not get privileges has none to lose.
func TestNoNewPrivileges(t *testing.T) {
	t.Parallel()
	setpriv := need(t, "setpriv")
	p := startHost(t, func(host string) *exec.Cmd {
		run := heapRun(t, everyBlock, host)
		return exec.Command(setpriv, append([]string{"--no-new-privs", "--"}, run.Args...)...)
	})
	p.wantKept(100, 1000)
}

// TestNamespaces: as in containers, which have namespaces of their own and often no file that
// may be written.
func TestNamespaces(t *testing.T) {
	t.Parallel()
	needRoot(t)
	unshare := need(t, "unshare")
	for name, options := range map[string][]string{
		"network":        {"--net"},
		"processes":      {"--pid", "--fork", "--mount-proc", "--kill-child"},
		"all":            {"--net", "--pid", "--fork", "--mount-proc", "--kill-child", "--uts", "--ipc"},
		"read-only root": {"--mount", "sh", "-c", `mount --bind / / && mount --bind "$1" "$1" && cd "$1" && for m in / "$1" /tmp /dev/shm /run /var/tmp; do mount -o remount,bind,ro $m || mount --bind $m $m && mount -o remount,bind,ro $m; done 2>/dev/null; if touch /tmp/x /dev/shm/x "$1"/x 2>/dev/null; then exit 9; fi; shift; exec "$@"`, "sh", built},
	} {
		t.Run(name, func(t *testing.T) {
			p := startHost(t, func(host string) *exec.Cmd {
				run := heapRun(t, everyBlock, host)
				return exec.Command(unshare, append(options, run.Args...)...)
			})
			// The number that the program has here. It is a child of unshare, or unshare itself.
			if p.pid != p.Pid() {
				child, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", p.Pid()))
				if err != nil {
					t.Fatal(err)
				}
				if p.pid, err = strconv.Atoi(strings.TrimSpace(string(child))); err != nil {
					t.Fatal(err)
				}
			}
			p.wantKept(100, 1000)
		})
	}
}

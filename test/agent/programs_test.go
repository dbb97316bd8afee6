package agent

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestOtherPrograms: what is not written in Go runs under an agent as it does without one,
// and writes the same.
func TestOtherPrograms(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := filepath.Join(dir, "c.c")
	if err := os.WriteFile(c, []byte("#include <stdio.h>\nint main(void) { return puts(\"hello\") < 0; }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, command := range map[string][]string{
		"ls":                       {"ls", "-la", "/usr/bin"},
		"status":                   {"sh", "-c", "ls /no/such/file; echo out; exit 7"},
		"signal":                   {"sh", "-c", "kill -TERM $$"},
		"no such program":          {"sh", "-c", "/no/such/program"},
		"pipes":                    {"bash", "-c", "seq 100000 | sort -R --parallel=4 | sort -n | tail -n 2; echo ${PIPESTATUS[@]}"},
		"descriptors taken":        {"bash", "-c", "exec 3</dev/null 4</dev/null 5>/dev/null; ls /; cat <&3"},
		"descriptors closed":       {"bash", "-c", "for fd in $(seq 3 255); do eval \"exec $fd>&-\"; done; ls /"},
		"compiler":                 {"gcc", "-O2", "-Wall", "-o", filepath.Join(dir, "c"), c},
		"python":                   {"python3", "-c", "import json, threading\nt = [threading.Thread(target=lambda: json.dumps(list(range(10000)))) for _ in range(8)]\n[x.start() for x in t]; [x.join() for x in t]\nprint(json.dumps([1, {'a': None}]))"},
		"python's children":        {"python3", "-c", "import subprocess\nprint(subprocess.run(['ls', '/'], capture_output=True))"},
		"python's processes":       {"python3", "-c", "import multiprocessing as m\nwith m.Pool(2) as p: print(p.map(abs, range(-50, 0)))"},
		"java":                     {"java", "-version"},
		"perl":                     {"perl", "-e", "my %h = map { $_ => \"$_\" x 100 } 1..20000; print scalar(keys %h), \"\\n\"; system('echo', 'child')"},
		"awk":                      {"awk", "BEGIN { for (i = 0; i < 20000; i++) a[i] = i \"\"; print length(a) }"},
		"git":                      {"git", "--version"},
		"other user":               {"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "sh", "-c", "id; ls /"},
		"su":                       {"su", "-s", "/bin/sh", "nobody", "-c", "id"},
		"empty environment":        {"env", "-i", "/bin/sh", "-c", "ls /; /usr/bin/env | sort"},
		"new root":                 {"chroot", "--userspec=0:0", "/", "ls", "/"},
		"new session":              {"setsid", "--wait", "sh", "-c", "ls /"},
		"few descriptors":          {"sh", "-c", "ulimit -n 20; ls / | cat"},
		"few descriptors are left": {"bash", "-c", "ulimit -n 6; ls /"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := exec.LookPath(command[0]); err != nil {
				t.Skip(command[0] + " is not installed")
			}
			switch command[0] {
			case "su", "setpriv", "chroot":
				needRoot(t)
			}
			run := func(cmd *exec.Cmd) outcome {
				cmd.Stdin = strings.NewReader("input\n")
				cmd.Dir = "/"
				return outcomeOf(t, cmd)
			}
			want := run(exec.Command(command[0], command[1:]...))
			got := run(heapRun(t, everyBlock, command...))
			if got != want {
				t.Errorf("under an agent: %s\nstdout %.2000q\nstderr %.2000q\nwithout: %s\nstdout %.2000q\nstderr %.2000q",
					got.ended, got.stdout, got.stderr, want.ended, want.stdout, want.stderr)
			}
		})
	}
}

// TestNoSuchProgram: magellan says so itself.
func TestNoSuchProgram(t *testing.T) {
	t.Parallel()
	got := outcomeOf(t, heapRun(t, nil, "/no/such/program"))
	if !strings.HasPrefix(got.ended, "exit status") || got.ended == "exit status 0" || !strings.Contains(got.stderr, "/no/such/program") {
		t.Errorf("%+v", got)
	}
}

// TestRefused: magellan starts no program in which the agent cannot work, and gives the
// reason. If a shell starts such a program, it runs, and magellan gives the reason later.
func TestRefused(t *testing.T) {
	t.Parallel()
	static := source{dir: "host", flags: []string{"-ldflags=-linkmode=external -extldflags=-static"}}
	for name, c := range map[string]struct {
		source
		reason string
	}{
		"static": {static, "static"},
		"no C":   {source{dir: "plain"}, "without C code"},
	} {
		t.Run(name, func(t *testing.T) {
			binary := c.build(t)
			if got := outcomeOf(t, heapRun(t, everyBlock, binary)); got.ended != "exit status 1" || !strings.Contains(got.stderr, c.reason) || got.stdout != "" {
				t.Errorf("%+v", got)
			}
			p := start(t, heapRun(t, everyBlock, "sh", "-c", `"$0"; exit $?`, binary))
			p.pid = p.askPID()
			p.wantNoAgent(c.reason)
		})
	}
	t.Run("AddressSanitizer", func(t *testing.T) {
		// go build -asan links the same library.
		file := filepath.Join(t.TempDir(), "asan")
		compile := exec.Command("gcc", "-fsanitize=address", "-x", "c", "-o", file, "-")
		compile.Stdin = strings.NewReader("int main(void) { return 0; }\n")
		if o := outcomeOf(t, compile); o.ended != "exit status 0" {
			t.Fatalf("%+v", o)
		}
		got := outcomeOf(t, heapRun(t, everyBlock, file))
		if got.ended != "exit status 1" || !strings.HasPrefix(got.stderr, "magellan: ") || !strings.Contains(strings.ToLower(got.stderr), "asan") {
			t.Errorf("%+v", got)
		}
	})
	t.Run("more rights", func(t *testing.T) {
		needRoot(t)
		binary, err := os.ReadFile(source{dir: "host"}.build(t))
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(built, "setuid")
		if err := os.WriteFile(file, binary, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, 0o755|os.ModeSetuid); err != nil {
			t.Fatal(err)
		}
		got := outcomeOf(t, as(t, nobody, heapRun(t, everyBlock, file)))
		if got.ended != "exit status 1" || !strings.Contains(got.stderr, "LD_PRELOAD") {
			t.Errorf("%+v", got)
		}
	})
	t.Run("own malloc", func(t *testing.T) {
		got := outcomeOf(t, heapRun(t, everyBlock, magellan(t), "version"))
		if got.ended != "exit status 1" || !strings.Contains(got.stderr, "malloc of its own") || got.stdout != "" {
			t.Errorf("%+v", got)
		}
	})
}

// TestShell: a shell that starts the program is profiled as well as the program.
func TestShell(t *testing.T) {
	t.Parallel()
	for name, command := range map[string][]string{
		"child":       {"sh", "-c", `"$0"; exit $?`},
		"exec":        {"sh", "-c", `exec "$0"`},
		"bash":        {"bash", "-c", `(cd / && "$0")`},
		"pipe":        {"bash", "-c", `cat | "$0" | cat`},
		"env":         {"env", "A=1"},
		"nice":        {"nice", "-n", "1"},
		"timeout":     {"timeout", "1000"},
		"stdbuf":      {"stdbuf", "-oL"}, // it has a library of its own to load
		"two shells":  {"sh", "-c", `bash -c '"$0"; exit $?' "$0"; exit $?`},
		"setpriv":     {"setpriv", "--no-new-privs"},
		"python":      {"python3", "-c", "import subprocess, sys\nsys.exit(subprocess.run(sys.argv[1]).returncode)"},
		"python exec": {"python3", "-c", "import os, sys\nos.execv(sys.argv[1], sys.argv[1:])"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := exec.LookPath(command[0]); err != nil {
				t.Skip(command[0] + " is not installed")
			}
			p := startHost(t, func(host string) *exec.Cmd { return heapRun(t, everyBlock, append(command, host)...) })
			p.wantKept(100, 1000)
			if text := p.do("env LD_PRELOAD"); strings.Contains(text, "/fd/") {
				t.Errorf("the agent is still in LD_PRELOAD: %s", text)
			}
		})
	}
}

// TestNumberTaken: a shell uses the number of the agent's file for a file of its own. Then what it
// starts has no agent, and else all that it would have.
func TestNumberTaken(t *testing.T) {
	t.Parallel()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is not installed")
	}
	library := buildLibrary(t, "library_preloaded", 1)
	for _, preload := range []string{"", library} {
		p := startHost(t, func(host string) *exec.Cmd {
			const script = `n=${LD_PRELOAD#/proc/self/fd/} && eval "exec ${n%%:*}</dev/null" && "$0"; exit $?`
			cmd := heapRun(t, everyBlock, bash, "-c", script, host)
			cmd.Env = append(os.Environ(), "LD_PRELOAD="+preload)
			return cmd
		})
		p.do("keep 10 10")
		p.wantNoAgent("agent")
		if got := p.do("env LD_PRELOAD"); got != preload {
			t.Errorf("LD_PRELOAD is %q, want %q", got, preload)
		}
	}
}

// wantKept has the host allocate blocks, which the profile must have.
func (p *target) wantKept(n, size int) {
	p.Helper()
	p.do("keep %d %d", n, size)
	got := total(through(stacksOf(p, p.dump()), "main.keep", "host_keep"))
	if got.live != int64(n) || got.liveBytes != int64(n*((size+15)/16*16)) {
		p.Errorf("the profile has %d blocks of %d bytes, want %d of %d", got.live, got.liveBytes, n, n*size)
	}
}

// TestEmptyEnvironment: a program that loses the agent on its way is not profiled, and
// magellan says so.
func TestEmptyEnvironment(t *testing.T) {
	t.Parallel()
	p := startHost(t, func(host string) *exec.Cmd { return heapRun(t, everyBlock, "env", "-i", host) })
	p.do("keep 10 10")
	p.wantNoAgent("agent")
}

// wantNoAgent checks that magellan says that the program has no agent, for this reason.
func (p *target) wantNoAgent(reason string) {
	p.Helper()
	if name, err := socketOf(p.pid); err == nil {
		p.Errorf("there is an agent: %s", name)
	}
	cmd, _ := dumpCommand(p, p.pid)
	if text := refusedDump(p, cmd); !strings.Contains(text, reason) {
		p.Errorf("magellan says %q", text)
	}
}

// TestTwoAgents: magellan is itself a child of a program that runs under an agent. The program
// that it starts has one agent.
func TestTwoAgents(t *testing.T) {
	t.Parallel()
	for name, options := range map[string][]string{"once": everyBlock, "with children": {"--sample", "1", "--children"}} {
		t.Run(name, func(t *testing.T) {
			p := startHost(t, func(host string) *exec.Cmd {
				inner := heapRun(t, everyBlock, "sh", "-c", `"$0"; exit $?`, host)
				return heapRun(t, options, append([]string{"sh", "-c", `"$0" "$@"; exit $?`}, inner.Args...)...)
			})
			p.wantKept(100, 1000)
			code := 0
			for line := range strings.Lines(p.do("run cat /proc/%d/maps", p.pid)) {
				if strings.Contains(line, "/memfd:") && strings.Contains(line, " r-xp ") {
					code++
				}
			}
			if code != 1 {
				t.Errorf("the code of %d agents is in the program", code)
			}
		})
	}
}

// TestPreloaded: what the user preloads stays so, for the program and for its children.
func TestPreloaded(t *testing.T) {
	t.Parallel()
	library := buildLibrary(t, "library_preloaded", 1)
	p := startHost(t, func(host string) *exec.Cmd {
		cmd := heapRun(t, everyBlock, host)
		cmd.Env = append(os.Environ(), "LD_PRELOAD="+library)
		return cmd
	})
	p.wantKept(100, 1000)
	if got := p.do("env LD_PRELOAD"); got != library {
		t.Errorf("Go's LD_PRELOAD is %q, want %q", got, library)
	}
	if got := p.do("cenv LD_PRELOAD"); got != library {
		t.Errorf("C's LD_PRELOAD is %q, want %q", got, library)
	}
	if got := p.do("run cat /proc/self/maps"); !strings.Contains(got, library) {
		t.Errorf("a child does not have the library:\n%s", got)
	}
}

// TestPreloadedFile: an image names the agent's file in LD_PRELOAD, beside other libraries. Those
// stay there.
func TestPreloadedFile(t *testing.T) {
	t.Parallel()
	first, second := buildLibrary(t, "library_preloaded", 1), buildLibrary(t, "library_second", 40)
	agent := filepath.Join(built, "libmagellan-agent.so")
	if o := outcomeOf(t, exec.Command(magellan(t), "heap", "agent", "--output", agent)); o.ended != "exit status 0" {
		t.Fatalf("%+v", o)
	}
	for list, want := range map[string]string{
		first + ":" + agent:                first,
		agent + " " + first:                first,
		first + ":" + agent + ":" + second: first + ":" + second,
		agent:                              "",
	} {
		p := startHost(t, func(host string) *exec.Cmd {
			cmd := exec.Command(host)
			cmd.Env = append(os.Environ(), "LD_PRELOAD="+list, "MAGELLAN_AGENT=sample=1")
			return cmd
		})
		p.wantKept(100, 1000)
		if got := p.do("env LD_PRELOAD"); got != want {
			t.Errorf("LD_PRELOAD was %q and is %q, want %q", list, got, want)
		}
	}
}

// TestOtherMalloc: the process's malloc may be another than that of libc.
func TestOtherMalloc(t *testing.T) {
	t.Parallel()
	found, _ := filepath.Glob("/usr/lib/*/libjemalloc.so.2")
	if len(found) == 0 {
		missing(t, "libjemalloc.so.2 is not installed: install libjemalloc-dev")
	}
	p := startHost(t, func(host string) *exec.Cmd {
		cmd := heapRun(t, everyBlock, host)
		cmd.Env = append(os.Environ(), "LD_PRELOAD="+found[0])
		return cmd
	})
	p.wantKept(100, 1000)
	if status := p.status(); !strings.Contains(status["malloc"], "libjemalloc") || status["first"] != "yes" {
		t.Errorf("status %v", status)
	}
}

// TestClosedStdio: a program that has no standard input or output gets none of the agent.
func TestClosedStdio(t *testing.T) {
	t.Parallel()
	for name, redirect := range map[string]string{"input": "<&-", "output": ">&-", "all": "<&- >&- 2>&-"} {
		t.Run(name, func(t *testing.T) {
			host := source{dir: "host"}.build(t)
			descriptors := func(command ...string) string {
				t.Helper()
				file := filepath.Join(t.TempDir(), "report")
				args := append([]string{"-c", `exec "$0" "$@" ` + redirect}, command...)
				p := start(t, exec.Command("sh", append(args, host, "-report", file)...))
				eventually(t, "the program reports its descriptors", func() error {
					_, err := os.Stat(file)
					return err
				})
				if len(command) > 0 {
					eventually(t, "the program has an agent", func() error {
						_, err := socketOf(p.pid)
						return err
					})
					p.dump()
				}
				p.kill()
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				var low []string
				for line := range strings.Lines(string(text)) {
					if number, to, _ := strings.Cut(line, " "); len(number) == 1 && number <= "2" {
						if strings.HasPrefix(to, "pipe:") {
							to = "pipe"
						}
						low = append(low, number+" "+strings.TrimSpace(to))
					}
				}
				return strings.Join(low, ", ")
			}
			run := heapRun(t, everyBlock)
			if got, want := descriptors(run.Args...), descriptors(); got != want {
				t.Errorf("under an agent it has %q, without %q", got, want)
			}
		})
	}
}

// TestSignals: a signal to magellan heap run is one to the program.
func TestSignals(t *testing.T) {
	t.Parallel()
	p := startHost(t, func(host string) *exec.Cmd {
		cmd := heapRun(t, nil, host)
		cmd.Env = append(os.Environ(), "HOST_EARLY_THREAD=1") // with which the agent begins its own
		return cmd
	})
	if blocked := p.agentBlocks(); blocked&0x7ffbfeff != 0x7ffbfeff {
		t.Errorf("the agent's thread blocks only these signals: %x", blocked)
	}
	p.ended = true
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(0, patience); err != nil {
		t.Fatal(err)
	}
	if status, ok := p.Ended().Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGTERM {
		t.Errorf("it ended with %v", p.Ended())
	}
}

// agentBlocks are the signals that the agent's thread blocks, the first in the lowest bit.
func (p *target) agentBlocks() (blocked uint64) {
	p.Helper()
	eventually(p, "the agent has a thread", func() error {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", p.pid))
		for _, thread := range threads {
			text, _ := os.ReadFile(thread) // it may have ended
			if _, rest, ok := strings.Cut(string(text), "\nSigBlk:\t"); ok && strings.HasPrefix(string(text), "Name:\tmagellan-agent\n") {
				blocked, err = strconv.ParseUint(rest[:16], 16, 64)
				return err
			}
		}
		return fmt.Errorf("none of %d (%v)", len(threads), err)
	})
	return blocked
}

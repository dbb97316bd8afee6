package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"magellan/internal/childproc"
)

// startTimeout is how long a process may take until it works.
const startTimeout = 60 * time.Second

// stopTimeout is how long a process may take to end before it is killed.
const stopTimeout = 20 * time.Second

// clockTick is the unit of the times in /proc/PID/stat: USER_HZ is 100 on every
// Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// process is a child that goes on until it is stopped.
type process struct {
	*childproc.Process
	name string
}

// withEnv gives a child more environment than this process has.
func withEnv(env []string, cmd *exec.Cmd) *exec.Cmd {
	if len(env) > 0 {
		cmd.Env = append(os.Environ(), env...)
	}
	return cmd
}

// listenOn gives cmd a listening socket as file descriptor 3, and returns its
// address: the port is known before the process runs, and nobody else can take it.
func listenOn(cmd *exec.Cmd) (addr string, done func() error, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		l.Close()
		return "", nil, err
	}
	cmd.ExtraFiles = []*os.File{f}
	return l.Addr().String(), func() error { return errors.Join(f.Close(), l.Close()) }, nil
}

// stop ends the process. It may be called twice.
func (p *process) stop() {
	_ = p.Stop(syscall.SIGTERM, stopTimeout) // what it measured counts, not how it ended
}

// family returns the pids of the process and its children.
func (p *process) family() []int { return append(childrenOf(p.Pid()), p.Pid()) }

// cpu returns the processor time the process and its children have used.
func (p *process) cpu() (time.Duration, error) { return cpuOf(p.family()...) }

// pin binds all threads of the process and its children to one core, or to all
// cores again for a negative number.
func (p *process) pin(core int) error { return pin(core, p.family()...) }

func childrenOf(pid int) []int {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	var children []int
	for _, stat := range stats {
		child, _ := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
		if f, err := statFields(child); err == nil && f[1] == strconv.Itoa(pid) {
			children = append(children, child)
		}
	}
	return children
}

// statFields returns the fields of /proc/PID/stat behind the name, which may
// hold blanks: state, parent, ...
func statFields(pid int) ([]string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	return strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])), nil
}

func cpuOf(pids ...int) (time.Duration, error) {
	var ticks int64
	for _, pid := range pids {
		f, err := statFields(pid)
		if err != nil {
			return 0, err
		}
		for _, field := range f[11:13] { // utime, stime
			n, err := strconv.ParseInt(field, 10, 64)
			if err != nil {
				return 0, err
			}
			ticks += n
		}
	}
	return time.Duration(ticks) * clockTick, nil
}

// rssOf returns the resident memory of a process in bytes.
func rssOf(pid int) (int64, error) { return statusField(pid, "VmRSS:") }

// statusField returns a size in /proc/PID/status in bytes.
func statusField(pid int, field string) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, field); ok {
			kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(v), "kB")), 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/%d/status has no %s", pid, field)
}

var allCores = sync.OnceValues(func() (set unix.CPUSet, err error) {
	err = unix.SchedGetaffinity(os.Getpid(), &set)
	return set, err
})

func pin(core int, pids ...int) error {
	set, err := allCores()
	if err != nil {
		return err
	}
	if core >= 0 {
		set.Zero()
		set.Set(core)
	}
	for _, pid := range pids {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
		for _, task := range tasks {
			tid, _ := strconv.Atoi(filepath.Base(task))
			// A thread that has ended meanwhile needs no core.
			if err := unix.SchedSetaffinity(tid, &set); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("pin: %w", err)
			}
		}
	}
	return nil
}

// runJSON runs a child to its end and reads its standard output into result. It
// is killed if ctx ends.
func runJSON(ctx context.Context, cmd *exec.Cmd, result any) error {
	out, err := childproc.Run(ctx, cmd)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(out, result); err != nil {
		return fmt.Errorf("%s: %w: %s", cmd, err, out)
	}
	return nil
}

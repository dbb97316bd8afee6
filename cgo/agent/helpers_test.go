package agent

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds whatever a test waits for.
const patience = time.Minute

// helperVariable makes the test binary another program, see helpers.
const helperVariable = "AGENT_TEST_HELPER"

// helpers are what the test binary does as a child process. An error is printed.
var helpers = map[string]func() error{
	"find":    findParent,
	"inspect": inspectArgument,
	"serve":   serveUntilEOF,
	"halves":  serveHalf,
	"exec":    execArguments,
}

func TestMain(m *testing.M) {
	if name := os.Getenv(helperVariable); name != "" {
		if err := helpers[name](); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// helper returns a child process that does what helpers says.
func helper(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), helperVariable+"="+name)
	return cmd
}

// startHelper starts a helper that prints a line when it is ready and ends when its
// standard input is closed.
func startHelper(t *testing.T, cmd *exec.Cmd) (pid int, stop func()) {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		if errors.Is(err, syscall.EPERM) {
			t.Skipf("this system does not allow it: %v", err)
		}
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		in.Close()
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
	})
	t.Cleanup(stop)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "ready\n" {
		t.Fatalf("the helper says %q, %v", line, err)
	}
	return cmd.Process.Pid, stop
}

// fake is an agent of the process that runs it. It speaks the protocol as the real one does, and is written
// independently of answer.go.
type fake struct {
	listener net.Listener
	// answer returns the frames of an answer, without the end. If it returns an error, the
	// connection is closed there.
	answer func(request string) (frames []string, err error)

	mu       sync.Mutex
	requests []string
	done     sync.WaitGroup
}

var errHangUp = errors.New("hang up")

func nameOf(pid int) string { return fmt.Sprintf("magellan-agent/%d/0123456789abcdef", pid) }

func listen(pid int, answer func(string) ([]string, error)) (*fake, error) {
	listener, err := net.Listen("unix", "@"+nameOf(pid))
	if err != nil {
		return nil, err
	}
	f := &fake{listener: listener, answer: answer}
	f.done.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			f.done.Go(func() {
				defer conn.Close()
				request, err := bufio.NewReaderSize(conn, 64<<10).ReadSlice('\n')
				if err != nil {
					return
				}
				f.mu.Lock()
				f.requests = append(f.requests, strings.TrimSuffix(string(request), "\n"))
				f.mu.Unlock()
				frames, err := f.answer(strings.TrimSuffix(string(request), "\n"))
				var out bytes.Buffer
				for _, frame := range frames {
					_ = binary.Write(&out, binary.LittleEndian, uint32(len(frame)))
					out.WriteString(frame)
				}
				if err == nil {
					out.Write(make([]byte, 4))
				}
				_, _ = conn.Write(out.Bytes()) // the client may be gone
			})
		}
	})
	return f, nil
}

func (f *fake) close() {
	f.listener.Close()
	f.done.Wait()
}

func (f *fake) asked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.requests...)
}

// serve runs a fake agent of this process until the test ends. Tests that use it cannot run
// side by side, because a process has one agent.
func serve(t *testing.T, answer func(request string) ([]string, error)) *fake {
	t.Helper()
	f, err := listen(os.Getpid(), answer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.close)
	return f
}

// statusText is a status as an agent writes it.
const statusText = `protocol 1
version 00ff12ab00ff12ab
pid 1
uid 1000
state on
sample 524288
live_objects 12
live_bytes 3456789
live_estimate 4000000
objects 100
bytes 98765432
stacks 7
stacks_dropped 2
missed 1
own_bytes 2097152
unwinder c+go
unwinder_reason
malloc /lib/x86_64-linux-gnu/libc.so.6
first yes
first_other
entered preload
go_text 0x401000-0x4a2b3c
walks 1000
walks_cut 3
walks_lost_frame 2
walks_too_deep 1
some_day more
`

func answerStatus(request string) ([]string, error) {
	if request != "status" {
		return []string{"error unknown request: " + request}, nil
	}
	return []string{"ok", statusText}, nil
}

// serveUntilEOF is an agent until its standard input is closed.
func serveUntilEOF() error {
	f, err := listen(os.Getpid(), answerStatus)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	f.close()
	return err
}

// serveHalf is an agent whose process ends during an answer.
func serveHalf() error {
	ended := make(chan struct{})
	f, err := listen(os.Getpid(), func(string) ([]string, error) {
		defer close(ended)
		return []string{"ok", "heap_v2/524288\n"}, errHangUp
	})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	<-ended
	f.listener.Close()
	f.done.Wait()
	return nil
}

// findParent prints the error of Find for the process that has started this one.
func findParent() error {
	_, err := Find(os.Getppid())
	return err
}

// inspectArgument prints what gives the program that is its argument more rights.
func inspectArgument() error {
	p, err := Inspect(os.Args[1])
	if err == nil {
		fmt.Println(p.Privilege)
	}
	return err
}

// execArguments starts its arguments under the library that is the first of them.
func execArguments() error {
	cmd, err := (&RunConfig{Args: os.Args[2:], Sample: 4096, Env: withoutHelper(os.Environ())}).command(func() ([]byte, error) {
		return os.ReadFile(os.Args[1])
	})
	if err != nil {
		return err
	}
	return cmd.Exec()
}

func withoutHelper(env []string) (rest []string) {
	for _, v := range env {
		if !strings.HasPrefix(v, helperVariable+"=") {
			rest = append(rest, v)
		}
	}
	return rest
}

// otherRoot gives a child process a mount namespace of its own.
func otherRoot() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
}

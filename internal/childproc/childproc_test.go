package childproc_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"magellan/internal/childproc"
)

// patience is for what must happen.
const patience = 2 * time.Minute

// TestMain is also a parent that starts a child and waits to be killed.
func TestMain(m *testing.M) {
	if os.Getenv("CHILDPROC_TEST_PARENT") == "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command("sleep", "1000")
	cmd.Stdout = os.Stdout
	if _, err := childproc.Start(cmd); err != nil {
		panic(err)
	}
	fmt.Println("started")
	select {}
}

// The child lives on when the thread that called Start ends.
func TestOutlivesTheThread(t *testing.T) {
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var p *childproc.Process
	tid := onItsOwnThread(func() { p, err = childproc.Start(cmd) })
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", tid)); errors.Is(err, os.ErrNotExist) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the thread does not end")
		}
	}
	if p.Ended() != nil {
		t.Error("it has ended")
	}
	if _, err := io.WriteString(in, "there?\n"); err != nil {
		t.Error(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "there?\n" {
		t.Errorf("it answers %q, %v", line, err)
	}
	if err := p.Stop(syscall.SIGTERM, patience); err != nil || p.Ended() == nil {
		t.Errorf("Stop: %v, %v", err, p.Ended())
	}
	if err := p.Signal(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("a signal after its end: %v", err)
	}
}

// onItsOwnThread calls f on a thread that ends afterwards, and gives its id.
func onItsOwnThread(f func()) int {
	thread := make(chan int)
	var try func()
	try = func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		tid := syscall.Gettid()
		if tid == os.Getpid() { // but the process's first thread stays
			go try()
			return
		}
		f()
		thread <- tid
	}
	go try()
	return <-thread
}

// The child ends with its parent, which is killed.
func TestEndsWithTheParent(t *testing.T) {
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), "CHILDPROC_TEST_PARENT=1")
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	parent.Stdout = write
	err = parent.Start()
	write.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer parent.Wait()
	if line, err := bufio.NewReader(read).ReadString('\n'); err != nil {
		t.Errorf("%q, %v", line, err)
	}
	parent.Process.Kill()
	// Parent and child hold the other end of the pipe.
	read.SetReadDeadline(time.Now().Add(patience))
	if _, err := read.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the child goes on: %v", err)
	}
}

func TestStopKills(t *testing.T) {
	cmd := exec.Command("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1000; done")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := childproc.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(syscall.SIGTERM, 10*time.Millisecond); err == nil || p.Ended() == nil {
		t.Errorf("Stop: %v, %v", err, p.Ended())
	}
}

func TestProgramThatIsMissing(t *testing.T) {
	if _, err := childproc.Start(exec.Command("/nowhere")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Start: %v", err)
	}
}

func shell(script string) *exec.Cmd { return exec.Command("sh", "-c", script) }

// Once a child has ended, the error contains the end of its output, whichever way it was
// started.
func TestErrorsContainOutput(t *testing.T) {
	const script = "echo beginning >&2; head -c 10000 /dev/zero | tr '\\0' x >&2; echo the end >&2; exit 3"
	for name, start := range map[string]func(*exec.Cmd) (*childproc.Process, error){
		"in memory": childproc.Start,
		"in a file": func(cmd *exec.Cmd) (*childproc.Process, error) {
			return childproc.StartLogged(cmd, filepath.Join(t.TempDir(), "log"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := start(shell(script))
			if err != nil {
				t.Fatal(err)
			}
			<-p.Done()
			err = p.Check()
			if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "the end") || strings.Contains(err.Error(), "beginning") {
				t.Errorf("Check: %v", err)
			}
			if err := p.Finish(patience); err == nil || !strings.Contains(err.Error(), "exit status 3") {
				t.Errorf("Finish after its end: %v", err)
			}
		})
	}
}

func TestAwait(t *testing.T) {
	not := errors.New("not yet")
	p, err := childproc.Start(shell("echo why >&2; exec sleep 1000"))
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	if err := p.Await(t.Context(), "count", func() error {
		if asked++; asked < 3 {
			return not
		}
		return nil
	}); err != nil || asked != 3 || p.Check() != nil {
		t.Errorf("Await: %v, after %d", err, asked)
	}
	for deadline := time.Now().Add(patience); p.LastOutput() == "" && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := p.Await(ended, "count", func() error { return not }); !errors.Is(err, not) || !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "why") {
		t.Errorf("Await until ctx ends: %v", err)
	}
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	if err := p.Await(t.Context(), "count", func() error { return not }); err == nil || !strings.Contains(err.Error(), "signal: killed") {
		t.Errorf("Await until the process ends: %v", err)
	}
}

func TestFinish(t *testing.T) {
	for script, want := range map[string]string{
		"trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done":                 "",
		"trap 'echo badly >&2; exit 4' TERM; echo ready; while :; do sleep 0.01; done": "badly",
	} {
		cmd := shell(script)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		p, err := childproc.Start(cmd)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		err = p.Finish(patience)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", script, err, want)
		}
	}
}

func TestRun(t *testing.T) {
	if out, err := childproc.Run(t.Context(), shell("echo out; echo err >&2")); err != nil || string(out) != "out\n" {
		t.Errorf("got %q, %v", out, err)
	}
	if _, err := childproc.Run(t.Context(), shell("echo out; echo err >&2; exit 5")); err == nil || !strings.Contains(err.Error(), "out\nerr\n") {
		t.Errorf("it fails: %v", err)
	}
	ctx, end := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	end(cause)
	if _, err := childproc.Run(ctx, exec.Command("sleep", "1000")); !errors.Is(err, cause) {
		t.Errorf("when ctx ends: %v", err)
	}
}

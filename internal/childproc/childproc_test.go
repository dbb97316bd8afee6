package childproc_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
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

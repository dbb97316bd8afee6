package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func findSelf(t *testing.T) *Client {
	t.Helper()
	c, err := Find(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClient(t *testing.T) {
	f := serve(t, func(request string) ([]string, error) {
		word, rest, _ := strings.Cut(request, " ")
		switch word {
		case "status":
			return answerStatus(request)
		case "dump":
			return []string{"ok", "heap_v2/524288\n", strings.Repeat("@ 0x1\n", 1<<18)}, nil
		case "names":
			frames := []string{"ok"}
			for i, pc := range strings.Fields(rest) {
				if i%2 == 0 { // the others are in no Go code
					frames = append(frames, pc+"\n\tmain.f"+pc+"\t/src/main.go\t12\n")
				}
			}
			return frames, nil
		case "on", "off", "sample":
			return []string{"ok"}, nil
		}
		return []string{"error unknown request"}, nil
	})
	c, ctx := findSelf(t), t.Context()
	if c.PID() != os.Getpid() {
		t.Errorf("PID %d", c.PID())
	}
	if s, err := c.Status(ctx); err != nil || s.Unwinder != "c+go" {
		t.Errorf("status %+v, %v", s, err)
	}
	var dump bytes.Buffer
	if err := c.Dump(ctx, &dump); err != nil || dump.Len() != len("heap_v2/524288\n")+6<<18 {
		t.Errorf("dump of %d bytes, %v", dump.Len(), err)
	}
	var pcs []uint64
	for i := range 5001 {
		pcs = append(pcs, 0x7fff_0000_0000+uint64(i))
	}
	names, err := c.Names(ctx, pcs)
	if err != nil || len(names) != 2501 || names[pcs[4000]][0].Function != "main.f0x7fff00000fa0" {
		t.Errorf("%d names, %v: %v", len(names), err, names[pcs[4000]])
	}
	if err := errors.Join(c.SetActive(ctx, true), c.SetActive(ctx, false), c.SetSample(ctx, 4096)); err != nil {
		t.Error(err)
	}
	var short []string
	for _, request := range f.asked() {
		if len(request) >= 64<<10 {
			t.Errorf("a request of %d bytes", len(request))
		}
		short = append(short, strings.Join(strings.Fields(request)[:min(2, len(strings.Fields(request)))], " "))
	}
	want := []string{"status", "dump", "names 0x7fff00000000", "names 0x7fff000007d0", "names 0x7fff00000fa0", "on", "off", "sample 4096"}
	if !slices.Equal(short, want) {
		t.Errorf("requests %q, want %q", short, want)
	}
}

// TestClientMap: if the dump has no memory map, the client adds it. If it has one, it stays
// the only one.
func TestClientMap(t *testing.T) {
	text := "heap_v2/1\n  t*: 0: 0 [0: 0]\n\nMAPPED_LIBRARIES:\n"
	serve(t, func(string) ([]string, error) { return []string{"ok", text}, nil })
	var dump bytes.Buffer
	if err := findSelf(t).Dump(t.Context(), &dump); err != nil || !strings.HasPrefix(dump.String(), text) || !strings.Contains(dump.String(), "[stack]") {
		t.Errorf("without a map: %v\n%s", err, &dump)
	}
	text += "00400000-00401000 r-xp 00000000 00:00 0 /program\n"
	dump.Reset()
	if err := findSelf(t).Dump(t.Context(), &dump); err != nil || dump.String() != text {
		t.Errorf("with a map: %v\n%s", err, &dump)
	}
}

// TestClientTooLarge: a dump that has no end is not read without end.
func TestClientTooLarge(t *testing.T) {
	listener, err := net.Listen("unix", "@"+nameOf(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		frame := framed(strings.Repeat("x", 1<<20))
		frame = frame[:len(frame)-4] // without the end
		_, err = conn.Write([]byte("\x02\x00\x00\x00ok"))
		for sent := 0; err == nil && sent < maxDump+10<<20; sent += len(frame) {
			_, err = conn.Write(frame)
		}
	}()
	if err := findSelf(t).Dump(t.Context(), io.Discard); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v", err)
	}
}

func TestClientRefused(t *testing.T) {
	serve(t, func(string) ([]string, error) { return []string{"error the profile is empty"}, nil })
	_, err := findSelf(t).Status(t.Context())
	var refused *Refused
	if !errors.As(err, &refused) || refused.Reason != "the profile is empty" {
		t.Errorf("got %v", err)
	}
}

func TestClientCut(t *testing.T) {
	for _, frames := range [][]string{nil, {"ok"}, {"ok", statusText}} {
		f, err := listen(os.Getpid(), func(string) ([]string, error) { return frames, errHangUp })
		if err != nil {
			t.Fatal(err)
		}
		if s, err := findSelf(t).Status(t.Context()); !errors.Is(err, ErrCut) {
			t.Errorf("after %d frames: %+v, %v", len(frames), s, err)
		}
		f.close()
	}
}

func TestClientEnds(t *testing.T) {
	asked, ended := make(chan struct{}, 2), make(chan struct{})
	serve(t, func(string) ([]string, error) {
		asked <- struct{}{}
		<-ended
		return nil, errHangUp
	})
	defer close(ended)
	c := findSelf(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Status(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(fmt.Sprint(err), "is the process stopped?") {
		t.Errorf("deadline: %v", err)
	}
	<-asked
	ctx, cancel = context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	if _, err := c.Status(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestClientBusy fills the queue of connections of an agent.
func TestClientBusy(t *testing.T) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	name := nameOf(os.Getpid())
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: "@" + name}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "socket")
	listener, err := net.FileListener(file)
	file.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	c := findSelf(t)
	var waiting []net.Conn
	for {
		conn, err := c.connect(t.Context())
		if errors.Is(err, syscall.EAGAIN) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		waiting = append(waiting, conn)
		if len(waiting) > 100 {
			t.Fatal("the queue has no end")
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Status(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a full queue: %v", err)
	}
	status := make(chan error, 1)
	go func() {
		_, err := c.Status(t.Context())
		status <- err
	}()
	for {
		conn, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if len(waiting) > 0 {
			waiting[0].Close()
			waiting = waiting[1:]
			conn.Close()
			continue
		}
		buf := make([]byte, 100)
		if n, _ := conn.Read(buf); string(buf[:n]) == "status\n" {
			_, _ = conn.Write(framed("ok", statusText))
			conn.Close()
			break
		}
		conn.Close() // of the call that did not wait
	}
	if err := <-status; err != nil {
		t.Errorf("after the queue: %v", err)
	}
}

func TestFindNone(t *testing.T) {
	if _, err := Find(os.Getpid()); !errors.Is(err, ErrNoAgent) {
		t.Errorf("a process without an agent: %v", err)
	}
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	// What has the name of its agent belongs to this process.
	f, err := listen(pid, answerStatus)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	if _, err := Find(pid); !errors.Is(err, ErrNoAgent) {
		t.Errorf("a process with the name of another's socket: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// Its parent has not waited for it yet.
	info := unix.Siginfo{}
	if err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := Find(pid); !errors.Is(err, ErrNoProcess) {
		t.Errorf("a zombie: %v", err)
	}
	_ = cmd.Wait()
	for _, pid := range []int{pid, 0, -1, 1 << 30} {
		if _, err := Find(pid); !errors.Is(err, ErrNoProcess) {
			t.Errorf("process %d: %v", pid, err)
		}
	}
	thread := make(chan int)
	go func() {
		runtime.LockOSThread() // ends with the goroutine
		thread <- unix.Gettid()
		<-thread
	}()
	tid := <-thread
	defer close(thread)
	if _, err := Find(tid); tid != os.Getpid() && !errors.Is(err, ErrNoProcess) {
		t.Errorf("a thread: %v", err)
	}
}

// TestFindForked gives the socket to a child, as fork does.
func TestFindForked(t *testing.T) {
	f := serve(t, answerStatus)
	raw, err := f.listener.(*net.UnixListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	// The copy is not closed by exec.
	err = raw.Control(func(fd uintptr) {
		if fd, err := unix.Dup(int(fd)); err == nil {
			t.Cleanup(func() { unix.Close(fd) })
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	inherited := false
	sockets, err := agentSockets(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	// The machine may have other agents.
	own := slices.IndexFunc(sockets, func(s socket) bool { return s.name == nameOf(os.Getpid()) })
	entries, _ := os.ReadDir(procPath(cmd.Process.Pid, "fd"))
	for _, e := range entries {
		link, _ := os.Readlink(procPath(cmd.Process.Pid, "fd/"+e.Name()))
		inherited = inherited || link == "socket:["+sockets[own].inode+"]"
	}
	if !inherited {
		t.Fatal("the child has no socket")
	}
	if _, err := Find(cmd.Process.Pid); !errors.Is(err, ErrNoAgent) {
		t.Errorf("a child with the socket of its parent: %v", err)
	}
	if _, err := findSelf(t).Status(t.Context()); err != nil {
		t.Errorf("its parent: %v", err)
	}
}

// TestFindGone asks agents whose processes have ended.
func TestFindGone(t *testing.T) {
	pid, stop := startHelper(t, helper(t, "serve"))
	c, err := Find(pid)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Status(t.Context()); err != nil {
		t.Error(err)
	}
	stop()
	if _, err := c.Status(t.Context()); !errors.Is(err, ErrNoProcess) {
		t.Errorf("a process that has ended: %v", err)
	}
	// Another process takes the name.
	f, err := listen(pid, answerStatus)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	if _, err := c.Status(t.Context()); err == nil {
		t.Error("another process answers")
	}
	pid, _ = startHelper(t, helper(t, "halves"))
	if c, err = Find(pid); err != nil {
		t.Fatal(err)
	}
	var dump bytes.Buffer
	if err := c.Dump(t.Context(), &dump); !errors.Is(err, ErrCut) && !errors.Is(err, ErrNoProcess) {
		t.Errorf("a process that ends during a dump: %v", err)
	}
}

func TestFindDenied(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be another user")
	}
	serve(t, answerStatus)
	cmd := helper(t, "find")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "may not be looked at: only its user (root) and root may") {
		t.Errorf("as another user: %v\n%s", err, out)
	}
	if got := whoMay(65534, 0, "nobody"); !strings.Contains(got, "CAP_SYS_PTRACE") || !strings.Contains(got, "its user (nobody)") {
		t.Errorf("root in a container: %s", got)
	}
	p, err := readProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.explain(&fs.PathError{Op: "open", Path: "fd", Err: syscall.EACCES}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %v", err)
	}
}

// TestFindOtherUserNamespace looks from a user namespace whose root has no rights in ours.
func TestFindOtherUserNamespace(t *testing.T) {
	serve(t, answerStatus)
	cmd := helper(t, "find")
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	groups := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: groups}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) {
		t.Skipf("this system does not allow it: %v", err)
	}
	if err == nil || !strings.Contains(string(out), "but has more rights, such as capabilities, or is in another user namespace") {
		t.Errorf("got %v\n%s", err, out)
	}
}

// TestNetwork asks an agent in another network namespace.
func TestNetwork(t *testing.T) {
	cmd := helper(t, "serve")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	pid, _ := startHelper(t, cmd)
	c, err := Find(pid)
	if err != nil {
		t.Fatal(err)
	}
	if c.network == "" {
		t.Fatal("it is in no other namespace")
	}
	for range 20 {
		if s, err := c.Status(t.Context()); err != nil || s.Unwinder != "c+go" {
			t.Fatalf("%+v, %v", s, err)
		}
		if _, err := net.Dial("unix", "@"+c.socket); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("a thread stays in the other namespace: %v", err)
		}
	}
}

func TestList(t *testing.T) {
	serve(t, answerStatus)
	pid, _ := startHelper(t, helper(t, "serve"))
	all, _, err := List()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSortedFunc(all, func(a, b Process) int { return a.PID - b.PID }) {
		t.Error("not sorted")
	}
	for _, want := range []int{os.Getpid(), pid} {
		i := slices.IndexFunc(all, func(p Process) bool { return p.PID == want })
		if i < 0 || all[i].Agent == nil || !all[i].Program.Go || all[i].Program.GoVersion != runtime.Version() {
			t.Fatalf("process %d is not listed: %+v", want, all)
		}
		if _, err := all[i].Agent.Status(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

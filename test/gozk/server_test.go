package gozk_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	zookeeper "github.com/Shopify/gozk"

	"magellan/internal/zk/zktest"
)

// freePort returns a port that nobody listened on a moment ago. It is below those that
// the kernel gives to outgoing connections.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 22000 + rand.IntN(8000)
		if l, err := net.Listen("tcp", fmt.Sprintf(":%d", port)); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

// A server keeps its data over Stop and Start, and knows whether it runs.
func TestServer(t *testing.T) {
	t.Parallel()
	needsServer(t)
	dir := filepath.Join(t.TempDir(), "zk")
	port := freePort(t)
	srv, err := zookeeper.CreateServer(port, dir, "")
	must(t, err)
	t.Cleanup(func() { _ = srv.Destroy() })
	addr, err := srv.Addr()
	if err != nil || addr != "127.0.0.1:"+strconv.Itoa(port) {
		t.Fatalf("%q, %v", addr, err)
	}
	wantNotRunning(t, srv)
	must(t, srv.Stop()) // it does nothing
	must(t, srv.Start())
	if srv.Start() == nil {
		t.Error("it was started twice")
	}
	conn, _ := dial(t, addr, sessionTimeout)
	create(t, conn, "/kept", "x")
	must(t, conn.Close())

	// Who attaches has the same server.
	same, err := zookeeper.AttachServer(dir)
	must(t, err)
	process, err := same.Process()
	must(t, err)
	if same.Start() == nil {
		t.Error("it was started twice")
	}
	must(t, same.Stop())
	wantNotRunning(t, srv)
	if runs(process.Pid) {
		t.Error("Stop has not waited for the end of the process")
	}
	must(t, same.Start())
	conn, _ = dial(t, addr, sessionTimeout)
	if data, _, err := conn.Get("/kept"); err != nil || data != "x" {
		t.Errorf("%q, %v", data, err)
	}

	// A port that somebody else has is found out at once.
	must(t, same.Stop())
	l, err := net.Listen("tcp", addr)
	must(t, err)
	if err := srv.Start(); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("on a port in use: %v", err)
	}
	l.Close()
	must(t, srv.Start())

	// A server that has died must be stopped before it is started.
	process, err = srv.Process()
	must(t, err)
	for range 2 { // Stop may come while it ends
		must(t, process.Kill())
		if err := srv.Start(); err == nil {
			t.Error("it was started although pid.txt is there")
		}
		must(t, srv.Stop())
		must(t, srv.Start())
		process, err = srv.Process()
		must(t, err)
		dial(t, addr, sessionTimeout) // so that it has the port
	}
	must(t, srv.Destroy())
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Destroy: %v", err)
	}
}

// runs reports whether a process has not ended. One that nobody has taken notice of yet, a zombie, has.
func runs(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	_, state, _ := strings.Cut(string(stat), ") ")
	return err == nil && !strings.HasPrefix(state, "Z")
}

// A server that another process has started, and that goes on when that ends.
func TestServerOfAnother(t *testing.T) {
	needsServer(t)
	if dir := os.Getenv("GOZK_START_SERVER"); dir != "" {
		srv, err := zookeeper.AttachServer(dir)
		must(t, err)
		must(t, srv.Start())
		return
	}
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "zk")
	srv, err := zookeeper.CreateServer(freePort(t), dir, "")
	must(t, err)
	t.Cleanup(func() { _ = srv.Destroy() })
	child := exec.Command(os.Args[0], "-test.run=^TestServerOfAnother$")
	child.Env = append(os.Environ(), "GOZK_START_SERVER="+dir)
	if out, err := child.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	addr, err := srv.Addr()
	must(t, err)
	dial(t, addr, sessionTimeout)
	must(t, srv.Stop())
	wantNotRunning(t, srv)
	must(t, srv.Start())
	must(t, srv.Destroy())
}

// The kernel gives the id of a process that has ended to another one. That one is not
// the server, and is not killed for it.
func TestServerAndAnotherProcess(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "zk")
	srv, err := zookeeper.CreateServer(2181, dir, "")
	must(t, err)
	other := exec.Command("sleep", "1000")
	must(t, other.Start())
	defer func() { _ = other.Wait() }()
	defer func() { _ = other.Process.Kill() }()
	must(t, os.WriteFile(filepath.Join(dir, "pid.txt"), []byte(strconv.Itoa(other.Process.Pid)), 0o666))
	wantNotRunning(t, srv)
	must(t, srv.Stop())
	if err := other.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("another process was killed: %v", err)
	}
	for _, bad := range []string{"", "x", "-1", "0"} {
		must(t, os.WriteFile(filepath.Join(dir, "pid.txt"), []byte(bad), 0o666))
		if _, err := srv.Process(); err == nil || errors.Is(err, zookeeper.ErrNotRunning) {
			t.Errorf("pid.txt holds %q: %v", bad, err)
		}
	}
}

func TestServerErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir() // empty: it is taken
	srv, err := zookeeper.CreateServer(8888, dir, "/no/such/release")
	must(t, err)
	if _, err := zookeeper.CreateServer(8888, dir, ""); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("in a directory with files: %v", err)
	}
	if _, err := zookeeper.CreateServer(8888, filepath.Join(dir, "a", "b"), ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a parent: %v", err)
	}
	if _, err := zookeeper.AttachServer(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("attached to nothing: %v", err)
	}
	if err := srv.Start(); err == nil || !strings.Contains(err.Error(), "/no/such/release") {
		t.Errorf("without jars: %v", err)
	}
	wantNotRunning(t, srv)
	for _, config := range []string{"", "clientPort=x\n", "clientPort=99999\n"} {
		must(t, os.WriteFile(filepath.Join(dir, "zoo.cfg"), []byte(config), 0o666))
		if addr, err := srv.Addr(); err == nil {
			t.Errorf("%q: %q", config, addr)
		}
	}
	must(t, srv.Destroy())
	if _, err := srv.Addr(); err == nil {
		t.Error("it has an address after Destroy")
	}
}

func wantNotRunning(t *testing.T, srv *zookeeper.Server) {
	t.Helper()
	if p, err := srv.Process(); !errors.Is(err, zookeeper.ErrNotRunning) {
		t.Errorf("it runs: %v, %v", p, err)
	}
}

// needsServer skips a test on a machine without Java or ZooKeeper. That is an error where
// CI is set.
func needsServer(t testing.TB) {
	t.Helper()
	if err := zktest.Installed(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

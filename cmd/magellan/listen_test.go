package main

import (
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestListenReplacesOnlyTheDead: the socket of a killed process is replaced. Any other
// socket stays, also one to which nobody can connect.
func TestListenReplacesOnlyTheDead(t *testing.T) {
	t.Chdir(t.TempDir()) // a socket's path is short
	const path = "api.sock"
	bind := func(kind, backlog int) {
		t.Helper()
		fd, err := syscall.Socket(syscall.AF_UNIX, kind|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { syscall.Close(fd) })
		_ = os.Remove(path)
		if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
			t.Fatal(err)
		}
		if backlog >= 0 {
			if err := syscall.Listen(fd, backlog); err != nil {
				t.Fatal(err)
			}
		}
	}
	stays := func(what, says string) {
		t.Helper()
		was, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		l, err := listen("--listen", unixPrefix+path)
		if err == nil {
			l.Close()
		}
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want an error that says %q", what, err, says)
		}
		if is, err := os.Lstat(path); err != nil || !os.SameFile(was, is) {
			t.Errorf("%s has gone: %v", what, err)
		}
	}
	bind(syscall.SOCK_DGRAM, -1)
	stays("a socket for datagrams, such as the system log's", "may be in use")
	bind(syscall.SOCK_STREAM, 1)
	stays("one that somebody listens on", "listens there already")
	bind(syscall.SOCK_STREAM, 0)
	for range 8 { // more than a backlog takes
		fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { syscall.Close(fd) })
		_ = syscall.Connect(fd, &syscall.SockaddrUnix{Name: path})
	}
	stays("one with a full backlog", "may be in use")

	bind(syscall.SOCK_STREAM, -1)
	l, err := listen("--listen", unixPrefix+path)
	if err != nil {
		t.Fatalf("a dead one: %v", err)
	}
	defer l.Close()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

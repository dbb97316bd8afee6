// Command host does to itself what can be hard for an agent inside of it. It reads
// commands from its standard input, a line each, and answers each with a line: "ok", "ok"
// and a Go string, or "error". It ends when its standard input is closed.
//
// With -hello it answers before the first command.
//
// With -report FILE it writes to the file which descriptors it has, and waits for a
// signal.
package main

// #cgo LDFLAGS: -ldl -lpthread
// #include <stdlib.h>
// #include "host.h"
import "C"

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"unsafe"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "-report" {
		if err := os.WriteFile(os.Args[2], []byte(descriptors()), 0o644); err != nil {
			os.Exit(1)
		}
		keep(100, 1000)
		select {}
	}
	if len(os.Args) == 2 && os.Args[1] == "-hello" {
		fmt.Println("ok")
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		answer, err := do(words[0], words[1:])
		switch {
		case err != nil:
			fmt.Println("error", strconv.Quote(err.Error()))
		case answer != "":
			fmt.Println("ok", strconv.Quote(answer))
		default:
			fmt.Println("ok")
		}
	}
}

func do(command string, args []string) (answer string, err error) {
	n := func(i int) int {
		if i >= len(args) {
			err = fmt.Errorf("%s has too few arguments", command)
			return 0
		}
		n, e := strconv.Atoi(args[i])
		err = errors.Join(err, e)
		return n
	}
	switch command {
	case "pid":
		return strconv.Itoa(os.Getpid()), nil
	case "pin": // all commands that follow run on one thread
		runtime.LockOSThread()
	case "keep": // N blocks of SIZE bytes
		keep(n(0), n(1))
	case "free":
		C.host_free()
	case "stacks":
		stacks(n(0))
	case "pass":
		C.host_pass(C.int(n(0)))
	case "panic":
		panic("as asked")
	case "crash":
		C.host_crash()
	case "exit":
		os.Exit(n(0))
	case "kill": // itself
		err = syscall.Kill(os.Getpid(), syscall.Signal(n(0)))
	case "threads":
		if e := C.host_threads(C.int(n(0)), C.size_t(n(1))); e != 0 {
			err = syscall.Errno(e)
		}
	case "fork":
		if bad := C.host_fork(C.int(n(0))); bad != 0 {
			err = fmt.Errorf("%d children failed", int(bad))
		}
	case "daemon":
		if status := C.host_daemon(); status != 0 {
			err = fmt.Errorf("the child's exit status is %#x", int(status))
		}
	case "forbid": // a system call
		if e := C.host_forbid(C.int(n(0))); e != 0 {
			err = syscall.Errno(e)
		}
	case "exhaust": // until ROOM bytes are full of blocks of SIZE bytes
		blocks := int(C.host_exhaust(C.size_t(n(0)), C.size_t(n(1))))
		if answer = strconv.Itoa(blocks); blocks < 0 {
			err = errors.New("an allocation has failed in a wrong way")
		}
	case "run": // a child
		var out []byte
		out, err = exec.Command(args[0], args[1:]...).CombinedOutput()
		answer = string(out)
	case "exec": // another program in place of this one
		var path string
		if path, err = exec.LookPath(args[0]); err == nil {
			err = syscall.Exec(path, args, os.Environ())
		}
	case "env":
		answer = os.Getenv(args[0])
	case "cenv": // as C has it
		name := C.CString(args[0])
		answer = C.GoString(C.getenv(name))
		C.free(unsafe.Pointer(name))
	case "descriptors":
		answer = descriptors()
	case "setuid":
		err = syscall.Setuid(n(0))
	case "chroot":
		err = syscall.Chroot(args[0])
	case "undumpable":
		if _, _, e := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_DUMPABLE, 0, 0); e != 0 {
			err = e
		}
	case "listen": // on a descriptor that was the agent's
		answer, err = listen()
	case "accept":
		err = accept()
	case "mlockall":
		err = syscall.Mlockall(syscall.MCL_CURRENT | syscall.MCL_FUTURE)
	case "open":
		path := C.CString(args[0])
		err = failed(C.host_open(path))
		C.free(unsafe.Pointer(path))
	case "call": // N blocks of SIZE bytes
		err = failed(callLibrary(n(0), n(1)))
	case "close":
		err = failed(C.host_close())
	default:
		err = fmt.Errorf("there is no command %q", command)
	}
	return answer, err
}

var listener int

// listen closes all sockets, which are not this program's, and listens. The new socket gets
// the number of one that was closed.
func listen() (string, error) {
	lowest := -1
	for fd := 3; fd < 1024; fd++ {
		target, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
		if err != nil || !strings.HasPrefix(target, "socket:") {
			continue
		}
		if lowest < 0 {
			lowest = fd
		}
		if err := syscall.Close(fd); err != nil {
			return "", err
		}
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err == nil && lowest >= 0 && fd != lowest {
		err = syscall.Dup2(fd, lowest)
		syscall.Close(fd)
		fd = lowest
	}
	if err == nil {
		err = syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	if err == nil {
		err = syscall.Listen(fd, 10)
	}
	listener = fd
	return fmt.Sprintf("%d was %d", fd, lowest), err
}

// accept connects to its own socket, and accepts.
func accept() error {
	address, err := syscall.Getsockname(listener)
	if err != nil {
		return err
	}
	client, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(client)
	if err := syscall.Connect(client, address); err != nil {
		return err
	}
	if err := syscall.SetsockoptTimeval(listener, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &syscall.Timeval{Sec: 10}); err != nil {
		return err
	}
	conn, _, err := syscall.Accept(listener)
	if err != nil {
		return fmt.Errorf("a client has connected, and somebody else has accepted it: %w", err)
	}
	return syscall.Close(conn)
}

func failed(text *C.char) error {
	if text == nil {
		return nil
	}
	return errors.New(C.GoString(text))
}

//go:noinline
func keep(n, size int) { C.host_keep(C.int(n), C.size_t(size)) }

//go:noinline
func stacks(bits int) { C.host_stacks(C.int(bits)) }

//go:noinline
func callLibrary(n, size int) *C.char { return C.host_call(C.int(n), C.size_t(size)) }

// descriptors lists the open files.
func descriptors() string {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err.Error()
	}
	var all []string
	for _, e := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			all = append(all, e.Name()+" "+target)
		}
	}
	sort.Strings(all)
	return strings.Join(all, "\n")
}

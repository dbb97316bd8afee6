package agent

import (
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// inNetwork calls f on a thread that is in the network namespace of the file path. The
// sockets that f makes belong to that namespace.
func inNetwork(path string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // a goroutine that ends without unlocking ends its thread too
		back, err := enter(path)
		if err != nil {
			runtime.UnlockOSThread() // the thread is where it was
			done <- err
			return
		}
		defer back.Close()
		err = f()
		if unix.Setns(int(back.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// enter moves the calling thread into a network namespace. It returns the one in which the
// thread was.
func enter(path string) (back *os.File, err error) {
	back, err = os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	to, err := os.Open(path)
	if err == nil {
		err = unix.Setns(int(to.Fd()), unix.CLONE_NEWNET)
		to.Close()
	}
	if err != nil {
		back.Close()
		if os.IsPermission(err) {
			return nil, fmt.Errorf("the process is in another network namespace, which only root (CAP_SYS_ADMIN) may enter: run this as root, or inside of the container: %w", fs.ErrPermission)
		}
		return nil, fmt.Errorf("enter the network namespace of the process: %w", err)
	}
	return back, nil
}

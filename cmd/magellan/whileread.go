package main

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// errUnread is why a context of whileRead ends.
var errUnread = errors.New("nobody reads the output any more")

// whileRead returns a context that ends when nobody reads a pipe any more, as in `magellan get --follow
// ... | head -1`. The next write would tell, but that may be a long way off. stop ends the watching.
func whileRead(ctx context.Context, out io.Writer) (reading context.Context, stop func()) {
	reading, end := context.WithCancelCause(ctx)
	file, ok := out.(*os.File)
	if !ok {
		return reading, func() { end(nil) }
	}
	go func() {
		for tick := time.NewTicker(200 * time.Millisecond); ; {
			select {
			case <-reading.Done():
				tick.Stop()
				return
			case <-tick.C:
			}
			// Of a pipe this is told without being asked for.
			fds := []unix.PollFd{{Fd: int32(file.Fd())}}
			if _, err := unix.Poll(fds, 0); err == nil && fds[0].Revents&unix.POLLERR != 0 {
				end(errUnread)
				return
			}
		}
	}()
	return reading, func() { end(nil) }
}

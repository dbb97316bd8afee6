package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
)

const (
	// unixPrefix begins the address of a socket in the file system.
	unixPrefix = "unix:"
	// maxSocketPath is how long the path of such a socket may be, in bytes: sun_path of
	// unix(7) without the zero at its end.
	maxSocketPath = len(syscall.RawSockaddrUnix{}.Path) - 1
)

// checkSocket says what is wrong with the path of a socket. An abstract one is refused,
// as no directory's permissions say who may connect to it.
func checkSocket(path string) error {
	switch {
	case path == "":
		return errors.New("unix: has no path: write unix:/run/magellan.sock")
	case path[0] == '@':
		return fmt.Errorf("unix:%s is an abstract socket, to which everybody on this machine could connect: write the path of a file, such as unix:/run/magellan.sock", path)
	case len(path) > maxSocketPath:
		return fmt.Errorf("the path of a unix socket has at most %d bytes, and this one %d: take a shorter one, such as unix:/run/magellan.sock", maxSocketPath, len(path))
	}
	return nil
}

// listen listens at HOST:PORT, or at unix:PATH. A socket that nobody listens on any
// more, as a killed process leaves it, is replaced. Who may connect to one is said by
// the permissions of its directory, and it goes with the listener.
func listen(flag, address string) (net.Listener, error) {
	path, isUnix := strings.CutPrefix(address, unixPrefix)
	if !isUnix {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return nil, listenFailed(flag, err)
		}
		return l, nil
	}
	if err := checkSocket(path); err != nil {
		return nil, fail(exitUsage, "%s: %w", flag, err)
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fail(exitUsage, "%s: %w", flag, err)
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fail(exitUsage, "%s: %s is there already and is no socket", flag, path)
	default:
		if err := removeDead(path); err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, listenFailed(flag, err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		l.Close()
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return l, nil
}

// removeDead removes a socket that nobody listens on any more. Only a connection that
// is refused says that of a socket: any other error may be a living one's, whose
// datagrams are no connections, whose queue is full, or whose owner keeps us out.
func removeDead(path string) error {
	conn, err := net.Dial("unix", path)
	switch {
	case err == nil:
		conn.Close()
		return fmt.Errorf("%s: somebody listens there already", path)
	case errors.Is(err, fs.ErrNotExist): // it has gone meanwhile
		return nil
	case !errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%s is there already, and may be in use (%w): take another path, or remove it if nobody uses it", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// addressOf is what a listener's address is on the command line.
func addressOf(l net.Listener) string {
	if l.Addr().Network() == "unix" {
		return unixPrefix + l.Addr().String()
	}
	return l.Addr().String()
}

// listenFailed says what is wrong with an address: that it is used, mostly.
func listenFailed(flag string, err error) error {
	var addr *net.AddrError
	var dns *net.DNSError
	if errors.As(err, &addr) || errors.As(err, &dns) {
		return fail(exitUsage, "%s: %w", flag, err)
	}
	return fmt.Errorf("%s: %w", flag, err)
}

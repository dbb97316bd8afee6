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
	// maxSocketPath is the greatest length of a socket's path, in bytes: that of sun_path
	// in unix(7), without the final zero.
	maxSocketPath = len(syscall.RawSockaddrUnix{}.Path) - 1
)

// checkSocket returns an error if the path of a socket cannot be used. It refuses an
// abstract socket, because no directory's permissions restrict who may connect to it.
func checkSocket(path string) error {
	switch {
	case path == "":
		return errors.New("unix: has no path: write unix:/run/magellan.sock")
	case path[0] == '@':
		return fmt.Errorf("unix:%s is an abstract socket, to which everybody on this machine could connect: write the path of a file, such as unix:/run/magellan.sock", path)
	case len(path) > maxSocketPath:
		return fmt.Errorf("the path of a unix socket has at most %d bytes, and this one %d: choose a shorter one, such as unix:/run/magellan.sock", maxSocketPath, len(path))
	}
	return nil
}

// listen listens on HOST:PORT, or on unix:PATH. It replaces a socket on which nobody
// listens any more, such as a killed process leaves behind. The permissions of the
// directory restrict who may connect. When the listener is closed, the socket is deleted.
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

// removeDead deletes a socket on which nobody listens any more. Only a refused
// connection proves that. A socket in use may give any other error: because it takes
// datagrams, because its queue is full, or because we have no permission.
func removeDead(path string) error {
	conn, err := net.Dial("unix", path)
	switch {
	case err == nil:
		conn.Close()
		return fmt.Errorf("%s: another process listens there already", path)
	case errors.Is(err, fs.ErrNotExist): // it has been deleted meanwhile
		return nil
	case !errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%s is there already, and may be in use (%w): choose another path, or delete the file if no process uses it", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// addressOf returns a listener's address in the form of the command line.
func addressOf(l net.Listener) string {
	if l.Addr().Network() == "unix" {
		return unixPrefix + l.Addr().String()
	}
	return l.Addr().String()
}

// listenFailed returns the error that an address cannot be used, mostly because it is in
// use.
func listenFailed(flag string, err error) error {
	var addr *net.AddrError
	var dns *net.DNSError
	if errors.As(err, &addr) || errors.As(err, &dns) {
		return fail(exitUsage, "%s: %w", flag, err)
	}
	return fmt.Errorf("%s: %w", flag, err)
}

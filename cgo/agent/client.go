package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"magellan/cgo/jemalloc/heapprof"
)

const (
	// DefaultTimeout bounds a call whose context has no deadline.
	DefaultTimeout = 30 * time.Second

	// maxDump and maxText bound answers. heapprof.Parse accepts dumps of up to the same
	// size.
	maxDump = 256 << 20
	maxText = 16 << 20

	// namesAtOnce is how many addresses one request has. A request has at most 64 KiB.
	namesAtOnce = 2000
)

// Client speaks to the agent of one process. It is made by Find and List.
type Client struct {
	pid     int
	socket  string // the abstract name, without the NUL
	network string // the network namespace to enter, if it is another than our own
}

// PID returns the process.
func (c *Client) PID() int { return c.pid }

// Status asks for the agent's state.
func (c *Client) Status(ctx context.Context) (Status, error) {
	text, err := c.text(ctx, "status")
	if err != nil {
		return Status{}, err
	}
	s, err := parseStatus(text)
	if err != nil {
		return Status{}, fmt.Errorf("process %d: %w", c.pid, err)
	}
	return s, nil
}

// Dump writes the profile in jemalloc's format heap_v2, with the memory map of the process
// at its end (heapprof.Parse reads it). If it fails, w may have got a part.
func (c *Client) Dump(ctx context.Context, w io.Writer) error {
	var end tail
	err := c.do(ctx, "dump", func(body io.Reader) error {
		_, err := io.Copy(io.MultiWriter(w, &end), &limited{body, maxDump})
		return err
	})
	// A program that has changed its root may have no /proc there.
	if err != nil || !strings.HasSuffix(string(end), mapHeading) {
		return err
	}
	maps, err := os.Open(procPath(c.pid, "maps"))
	if err != nil {
		return c.explain(ctx, err)
	}
	defer maps.Close()
	_, err = io.Copy(w, maps)
	return err
}

// mapHeading stands before the memory map of a dump.
const mapHeading = "\nMAPPED_LIBRARIES:\n"

// tail keeps the end of what is written to it.
type tail []byte

func (t *tail) Write(p []byte) (int, error) {
	all := append(*t, p...)
	*t = append([]byte(nil), all[max(0, len(all)-len(mapHeading)):]...)
	return len(p), nil
}

// Names returns the frames of return addresses in Go code, the innermost first. Several
// frames of one address are inlined calls. Other addresses are not in the result.
func (c *Client) Names(ctx context.Context, pcs []uint64) (map[uint64][]heapprof.Frame, error) {
	names := make(map[uint64][]heapprof.Frame, len(pcs))
	for len(pcs) > 0 {
		n := min(len(pcs), namesAtOnce)
		request := []byte("names")
		for _, pc := range pcs[:n] {
			request = append(request, " 0x"...)
			request = strconv.AppendUint(request, pc, 16)
		}
		pcs = pcs[n:]
		text, err := c.text(ctx, string(request))
		if err != nil {
			return nil, err
		}
		if err := parseNames(text, names); err != nil {
			return nil, fmt.Errorf("process %d: %w", c.pid, err)
		}
	}
	return names, nil
}

// parseNames parses for each address a line "0xPC", and for each frame of it a line with a
// tab, the function, a tab, the file, a tab and the line.
func parseNames(text string, names map[uint64][]heapprof.Frame) error {
	var pc uint64
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		frame, isFrame := strings.CutPrefix(line, "\t")
		if !isFrame {
			var err error
			if pc, err = strconv.ParseUint(line, 0, 64); err != nil {
				return fmt.Errorf("%w: %.40q is no address", ErrProtocol, line)
			}
			continue
		}
		function, place, _ := strings.Cut(frame, "\t")
		file, number, ok := strings.Cut(place, "\t")
		n, err := strconv.Atoi(number)
		if pc == 0 || function == "" || !ok || err != nil {
			return fmt.Errorf("%w: %.40q is no frame", ErrProtocol, line)
		}
		names[pc] = append(names[pc], heapprof.Frame{Function: printable(function), File: printable(file), Line: n})
	}
	return nil
}

// SetActive switches sampling on or off. Memory that is allocated while sampling is off is
// never in a profile.
func (c *Client) SetActive(ctx context.Context, on bool) error {
	request := "off"
	if on {
		request = "on"
	}
	_, err := c.text(ctx, request)
	return err
}

// SetSample sets the mean number of allocated bytes between two samples. The agent forgets
// all samples, because those of different rates cannot be in one profile.
func (c *Client) SetSample(ctx context.Context, bytes int64) error {
	_, err := c.text(ctx, fmt.Sprintf("sample %d", bytes))
	return err
}

// text returns the body of an answer.
func (c *Client) text(ctx context.Context, request string) (string, error) {
	var text bytes.Buffer
	err := c.do(ctx, request, func(body io.Reader) error {
		_, err := text.ReadFrom(&limited{body, maxText})
		return err
	})
	return text.String(), err
}

// do sends a request and gives the body of the answer to read, which must read it to its
// end.
func (c *Client) do(ctx context.Context, request string, read func(body io.Reader) error) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, DefaultTimeout)
		defer cancel()
	}
	conn, err := c.dial(ctx)
	if err != nil {
		return c.explain(ctx, err)
	}
	defer conn.Close()
	// This also ends a call whose context is cancelled.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	a := answer{in: conn}
	_, sent := io.WriteString(conn, request+"\n")
	// An agent that refuses the caller may close the connection before it reads. Its answer
	// is there nevertheless.
	if err = a.begin(c.pid); err == nil {
		err = read(&a)
	}
	if sent != nil && errors.Is(err, ErrCut) {
		err = sent
	}
	return c.explain(ctx, err)
}

// explain says why a call has failed, if that is known.
func (c *Client) explain(ctx context.Context, err error) error {
	var refused *Refused
	switch {
	case err == nil, errors.As(err, &refused):
		return err
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return &said{context.DeadlineExceeded, fmt.Sprintf("the agent of process %d does not answer in time: is the process stopped?", c.pid)}
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case !exists(c.pid):
		return &said{ErrNoProcess, fmt.Sprintf("process %d has ended", c.pid)}
	case errors.Is(err, syscall.ECONNREFUSED):
		return noAgent(c.pid)
	}
	return fmt.Errorf("process %d: %w", c.pid, err)
}

// dial connects to the agent.
func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	const pause = 10 * time.Millisecond
	for {
		conn, err := c.connect(ctx)
		if err == nil {
			if err = c.checkPeer(conn); err != nil {
				conn.Close()
				return nil, err
			}
			return conn, nil
		}
		// The queue of connections is full while the agent answers other requests.
		if !errors.Is(err, syscall.EAGAIN) {
			return nil, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (c *Client) connect(ctx context.Context) (conn net.Conn, err error) {
	var dialer net.Dialer
	dial := func() error {
		conn, err = dialer.DialContext(ctx, "unix", "@"+c.socket)
		return err
	}
	if c.network == "" {
		return conn, dial()
	}
	err = inNetwork(c.network, dial)
	return conn, err
}

// checkPeer fails if another process listens on the socket: the process may have ended
// since it was looked up. A process in another pid namespace that we do not see has the
// number 0.
func (c *Client) checkPeer(conn net.Conn) error {
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return err
	}
	var peer *syscall.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) {
		peer, failed = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if failed != nil {
		return os.NewSyscallError("getsockopt", failed)
	}
	if peer.Pid != 0 && int(peer.Pid) != c.pid {
		return noAgent(c.pid)
	}
	return nil
}

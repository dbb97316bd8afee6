package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// warmWatched has magellan read all shops that are to be watched, and proves that
// they are in memory.
func (r *run) warmWatched(ctx context.Context, s *server) error {
	for _, status := range []string{"MISS", "HIT"} {
		for first := 0; first < r.watched; first += lookupShops {
			body := appendLookup(nil, lookupShops, func(i int) string { return r.hotShop(first + i) })
			if err := lookup(ctx, s.url, body, status); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeC is a running write.c.
type writeC struct {
	*process
	in  io.Writer
	out *bufio.Reader
}

func (r *run) startWriteC() (*writeC, error) {
	cmd := exec.Command(r.cmd.WriteC, r.zookeeper.Addr())
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p, err := r.start("write", cmd)
	return &writeC{p, in, bufio.NewReader(out)}, err
}

// set sets a znode, create creates one, and remove deletes one. Each returns when that was
// acknowledged, as of monotonic.
func (w *writeC) set(path, value string) (at int64, err error)    { return w.write(path, value) }
func (w *writeC) create(path, value string) (at int64, err error) { return w.write("+"+path, value) }
func (w *writeC) remove(path string) (at int64, err error)        { return w.write("-"+path, "") }

func (w *writeC) write(path, value string) (at int64, err error) {
	if _, err = fmt.Fprintln(w.in, path, value); err == nil {
		var line string
		if line, err = w.out.ReadString('\n'); err == nil {
			at, err = strconv.ParseInt(strings.TrimSpace(line), 10, 64)
		}
	}
	if err != nil {
		err = fmt.Errorf("write.c: %w: %s", err, w.LastOutput())
	}
	return at, err
}

// watchC is a running watch.c.
type watchC struct {
	*process
	seen chan sighting
}

// startWatchC starts watch.c, which watches n znodes and tells of the first, and returns
// when it watches.
func (r *run) startWatchC(ctx context.Context, n int, znode func(i int) string) (*watchC, error) {
	znodes := filepath.Join(r.dir, "watched")
	err := writeLines(znodes, n, func(b []byte, i int) []byte { return append(b, znode(i)...) })
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(r.cmd.WatchC, r.zookeeper.Addr(), znodes, strconv.Itoa(fillInFlight))
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p, err := r.start("watch", cmd)
	if err != nil {
		return nil, err
	}
	w := &watchC{process: p, seen: make(chan sighting, 1)}
	ready := make(chan struct{})
	go w.read(out, ready)
	select {
	case <-ready:
		return w, nil
	case <-p.Done():
		return nil, p.Check()
	case <-time.After(startTimeout):
		return nil, fmt.Errorf("watch.c does not watch after %v: %s", startTimeout, p.LastOutput())
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// read passes on what watch.c writes: its first value, that it is ready, and each
// new value.
func (w *watchC) read(out io.Reader, ready chan<- struct{}) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() && lines.Text() != "all are watched" {
	}
	close(ready)
	for lines.Scan() {
		at, value, _ := strings.Cut(lines.Text(), " ")
		ns, err := strconv.ParseInt(at, 10, 64)
		w.seen <- sighting{value, ns, err}
	}
	<-w.Done()
	w.seen <- sighting{err: w.Check()}
}

// watch is a [contender]'s. The program goes on between turns.
func (w *watchC) watch(context.Context) (<-chan sighting, error) { return w.seen, nil }

// timedConn notes when bytes have come. Who reads it waits in the kernel, as a C
// program would, and not in Go's scheduler.
type timedConn struct {
	*os.File
	at int64 // of the last
}

func (c *timedConn) Read(b []byte) (int, error) {
	n, err := c.File.Read(b)
	c.at = monotonic()
	return n, err
}

// httpConn is a connection without all that [http.Client] does beside it, on
// goroutines of its own.
type httpConn struct {
	timedConn
	in *bufio.Reader
}

// dial connects to a server until ctx ends.
func dial(ctx context.Context, s *server) (*httpConn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		return nil, err
	}
	defer conn.Close() // file is another descriptor of it
	file, err := conn.(*net.TCPConn).File()
	if err != nil {
		return nil, err
	}
	fd := int(file.Fd()) // which makes it block
	context.AfterFunc(ctx, func() {
		_ = unix.Shutdown(fd, unix.SHUT_RDWR) // Close would not wake a thread that reads
		file.Close()
	})
	c := &httpConn{timedConn: timedConn{File: file}}
	c.in = bufio.NewReader(&c.timedConn)
	return c, nil
}

// get sends a request and reads the header of the answer, which must have the
// status.
func (c *httpConn) get(target string, header http.Header, status int) (*http.Response, error) {
	req, err := http.NewRequest(http.MethodGet, "http://magellan"+target, nil)
	if err != nil {
		return nil, err
	}
	req.Header = header
	if err := req.Write(c); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(c.in, req)
	if err == nil && resp.StatusCode != status {
		err = fmt.Errorf("GET %s: %s", target, resp.Status)
	}
	return resp, err
}

// pollClient waits for an answer to change by one long poll after the other.
type pollClient struct {
	server *server
	target string
}

// watch is a [contender]'s.
func (p pollClient) watch(ctx context.Context) (<-chan sighting, error) {
	conn, err := dial(ctx, p.server)
	if err != nil {
		return nil, err
	}
	ask := func(header http.Header) (etag string, s sighting) {
		resp, err := conn.get(p.target, header, http.StatusOK)
		if err != nil {
			return "", sighting{err: err}
		}
		body, err := io.ReadAll(resp.Body)
		return resp.Header.Get("ETag"), sighting{string(body), conn.at, err}
	}
	etag, s := ask(http.Header{})
	if s.err != nil {
		return nil, s.err
	}
	seen := make(chan sighting, 1)
	go func() {
		for s.err == nil {
			etag, s = ask(http.Header{"If-None-Match": {etag}, "Prefer": {"wait=120"}})
			if !tell(ctx, seen, s) {
				return
			}
		}
	}()
	return seen, nil
}

// streamClient reads the events of one thing, which the query of GET /v1/watch names.
type streamClient struct {
	server *server
	query  string
}

// watch is a [contender]'s.
func (c streamClient) watch(ctx context.Context) (<-chan sighting, error) {
	conn, err := dial(ctx, c.server)
	if err != nil {
		return nil, err
	}
	resp, err := conn.get("/v1/watch?"+c.query, http.Header{}, http.StatusOK)
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 16<<20) // an answer is one line
	// An event ends in an empty line.
	next := func() (event, data string, err error) {
		for lines.Scan() && (lines.Text() != "" || event == "") {
			switch field, value, _ := strings.Cut(lines.Text(), ": "); field {
			case "event":
				event = value
			case "data":
				data = value
			}
		}
		if err = lines.Err(); err == nil && event == "" {
			err = io.ErrUnexpectedEOF
		}
		return event, data, err
	}
	for event := ""; event != "synced"; {
		if event, _, err = next(); err != nil {
			return nil, err
		}
	}
	seen := make(chan sighting, 1)
	go func() {
		for {
			event, data, err := next()
			if err == nil && event == "age" {
				continue
			}
			if err == nil && event != "change" {
				err = fmt.Errorf("the stream has an event %q: %s", event, data)
			}
			if !tell(ctx, seen, sighting{data, conn.at, err}) || err != nil {
				return
			}
		}
	}()
	return seen, nil
}

// tell reports whether there is still somebody to tell.
func tell(ctx context.Context, seen chan<- sighting, s sighting) bool {
	select {
	case seen <- s:
		return true
	case <-ctx.Done():
		return false
	}
}

package pprof

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/google/pprof/profile"

	"magellan/cgo/jemalloc/heapprof"
)

// Native serves the memory that C holds as net/http/pprof serves Go's: a profile
// in protobuf format for go tool pprof, with the types alloc_objects,
// alloc_space, inuse_objects and inuse_space. Nothing is kept of it.
//
//   - seconds=N: what changed in the next N seconds. N is bounded by
//     Config.MaxDelta. The server's write timeout is put off by as much, as
//     net/http/pprof does; where that cannot be done, an N that would run into it
//     is refused.
//   - debug=1: text, functions and stacks.
//   - gc=1: Go's garbage collector runs first, for C memory that is freed by
//     finalizers and cleanups.
//
// Errors are plain text.
func (r *Recorder) Native() http.Handler {
	return only(map[string]http.HandlerFunc{http.MethodGet: r.serveNative, http.MethodPost: r.serveNative})
}

func (r *Recorder) serveNative(w http.ResponseWriter, q *http.Request) {
	p, err := r.native(w, q)
	if err != nil {
		r.failPlain(w, q, err)
		return
	}
	if debug, _ := strconv.Atoi(q.FormValue("debug")); debug != 0 {
		r.sendText(w, q, p)
		return
	}
	name := "native"
	if q.FormValue("seconds") != "" {
		name = "native-delta"
	}
	r.sendProfile(w, q, p, name)
}

// maxDeltas is how many requests may wait for their second profile, each with the
// first one in memory.
const maxDeltas = 16

// native makes the profile that a request asks for.
func (r *Recorder) native(w http.ResponseWriter, q *http.Request) (*profile.Profile, error) {
	gc, _ := strconv.Atoi(q.FormValue("gc"))
	seconds := q.FormValue("seconds")
	if seconds == "" {
		return r.now(q.Context(), gc > 0)
	}
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil || n <= 0 {
		return nil, badRequest{`invalid value for "seconds" - must be a positive integer`}
	}
	if limit := int64(r.cfg.MaxDelta / time.Second); n > limit {
		return nil, badRequest{fmt.Sprintf(`"seconds" is above the limit of %d`, limit)}
	}
	d := time.Duration(n) * time.Second
	if err := putOffDeadline(w, q, d); err != nil {
		return nil, err
	}
	if r.deltas.Add(1) > maxDeltas {
		r.deltas.Add(-1)
		return nil, errBusy
	}
	defer r.deltas.Add(-1)
	from, err := r.now(q.Context(), gc > 0)
	if err != nil {
		return nil, err
	}
	if err := r.sleep(q.Context(), d); err != nil {
		return nil, err
	}
	to, err := r.now(q.Context(), gc > 0)
	if err != nil {
		return nil, err
	}
	return heapprof.Delta(from, to)
}

// putOffDeadline gives an answer that takes longer by d as much more time.
func putOffDeadline(w http.ResponseWriter, q *http.Request, d time.Duration) error {
	srv, ok := q.Context().Value(http.ServerContextKey).(*http.Server)
	if !ok || srv.WriteTimeout <= 0 {
		return nil
	}
	err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(srv.WriteTimeout + d))
	if err != nil && d >= srv.WriteTimeout {
		return badRequest{"profile duration exceeds server's WriteTimeout"}
	}
	return nil
}

// sleep waits, but not for a client that is gone, nor while the process ends.
func (r *Recorder) sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
}

// sendProfile answers with a profile in protobuf format.
func (r *Recorder) sendProfile(w http.ResponseWriter, q *http.Request, p *profile.Profile, name string) {
	body, err := encode(p)
	if err != nil {
		r.failPlain(w, q, err)
		return
	}
	header(w, "application/octet-stream", name)
	w.Write(body) // an error means that the client is gone
}

// sendText answers with a profile as text: its functions, then its stacks.
func (r *Recorder) sendText(w http.ResponseWriter, q *http.Request, p *profile.Profile) {
	var body bytes.Buffer
	if err := writeText(&body, p); err != nil {
		r.failPlain(w, q, err)
		return
	}
	header(w, "text/plain; charset=utf-8", "")
	w.Write(body.Bytes()) // an error means that the client is gone
}

func writeText(w io.Writer, p *profile.Profile) error {
	for _, c := range p.Comments {
		fmt.Fprintf(w, "# %s\n", c)
	}
	fmt.Fprintln(w)
	if err := heapprof.WriteTop(w, p, heapprof.TopOptions{}); err != nil {
		return err
	}
	fmt.Fprintln(w)
	return heapprof.WriteStacks(w, p, heapprof.TopOptions{})
}

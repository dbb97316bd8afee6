package pprof

import (
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
	name, write := "native", writer(writeProfile)
	if q.FormValue("seconds") != "" {
		name = "native-delta"
	}
	if debug, _ := strconv.Atoi(q.FormValue("debug")); debug != 0 {
		name, write = "", writeText
	} else if !r.symbolServed(q) {
		write = writePlaces
	}
	body, err := r.native(w, q, write)
	if err != nil {
		r.failPlain(w, q, err)
		return
	}
	send(w, name, body)
}

// maxDeltas is how many requests may wait for their second profile, each with the
// first one in memory, compressed.
const maxDeltas = 16

// native gives what write makes of the profile that a request asks for.
func (r *Recorder) native(w http.ResponseWriter, q *http.Request, write writer) ([]byte, error) {
	gc, _ := strconv.Atoi(q.FormValue("gc"))
	seconds := q.FormValue("seconds")
	if seconds == "" {
		return r.now(q.Context(), gc > 0, write)
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
	first, err := r.now(q.Context(), gc > 0, writeProfile)
	if err != nil {
		return nil, err
	}
	if err := r.sleep(q.Context(), d); err != nil {
		return nil, err
	}
	return r.now(q.Context(), gc > 0, func(out io.Writer, to *profile.Profile) error {
		from, err := profile.ParseData(first)
		if err != nil {
			return fmt.Errorf("pprof: the first profile: %w", err)
		}
		delta, err := difference(from, to)
		if err != nil {
			return err
		}
		return write(out, delta)
	})
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

// wait waits for some time, but not for a client that is gone, nor while the process ends.
func (r *Recorder) wait(ctx context.Context, d time.Duration) error {
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

// writer writes a profile in one of the formats there are.
type writer func(io.Writer, *profile.Profile) error

// writeText writes a profile as text: its functions, then its stacks.
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

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

// Native serves the memory that C holds in the same way as net/http/pprof serves Go's: a
// profile in protobuf format for go tool pprof, with the types alloc_objects, alloc_space,
// inuse_objects and inuse_space. The profile is not kept.
//
//   - seconds=N: what changed in the next N seconds. Config.MaxDelta is the largest N. The
//     server's write timeout is extended by N seconds, as in net/http/pprof. If that is not
//     possible, an N that is not below the write timeout is refused.
//   - debug=1: the functions and the stacks as text.
//   - gc=1: Go's garbage collector runs first, because finalizers and cleanups may free C
//     memory.
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
		name, write = "", heapprof.WriteText
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

// maxDeltas is how many requests may wait for their second profile. Each of them has the
// first one in memory, compressed.
const maxDeltas = 16

// native returns what write has written of the profile that a request asks for.
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

// putOffDeadline extends the server's write timeout by d for this answer.
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

// wait waits for d. It returns early with an error if the client is gone or the Recorder is
// closed.
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

// writer writes a profile in some format.
type writer func(io.Writer, *profile.Profile) error

package pprof

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// jeprof's remote protocol, which is that of gperftools' pprof:
//
//	GET  .../pprof/heap     the dump, as jemalloc wrote it; 406 for go tool pprof
//	GET  .../pprof/symbol   num_symbols: 1
//	POST .../pprof/symbol   0xA+0xB gives a line "0xA name" for each
//	GET  .../pprof/cmdline  the command line
//
// Other tools speak it, too. Errors are plain text.

// serveRemoteHeap takes a dump that is not kept.
func (r *Recorder) serveRemoteHeap(w http.ResponseWriter, q *http.Request) {
	if err := r.gate.enter(q.Context()); err != nil {
		r.failPlain(w, q, err)
		return
	}
	text, _, err := r.takeNow(q.Context()) // parsed, for the addresses that will be asked for
	r.gate.leave()
	if err == nil && isGoTool(q) {
		err = wrongFormat{q.Host}
	}
	if err != nil {
		r.failPlain(w, q, err)
		return
	}
	header(w, "application/octet-stream", "heap")
	w.Write(text) // an error means that the client is gone
}

// isGoTool reports whether go tool pprof asks, or might. It sends nothing that is its
// own: a GET with the User-Agent of each Go program that sets none. jeprof asks through
// curl, people through curl, wget or a browser, and those say who they are.
func isGoTool(q *http.Request) bool {
	return strings.HasPrefix(q.UserAgent(), "Go-http-client/")
}

// wrongFormat is what go tool pprof gets where jeprof gets its dump: it would take the
// dump for a broken profile, and say "unrecognized profile format".
type wrongFormat struct{ host string }

func (e wrongFormat) Error() string {
	return fmt.Sprintf("this is jemalloc's own format, for jeprof; go tool pprof reads http://%s/debug/pprof/native (wherever the program mounts Recorder.Native). "+
		"A Go program that wants jemalloc's format has to set a User-Agent", e.host)
}

// maxAddresses bounds the body of a question: a dump of some 200,000 addresses.
const maxAddresses = 4 << 20

func (r *Recorder) serveRemoteSymbol(w http.ResponseWriter, q *http.Request) {
	list := q.URL.RawQuery
	if q.Method == http.MethodPost {
		body, err := io.ReadAll(http.MaxBytesReader(w, q.Body, maxAddresses))
		if err != nil {
			r.failPlain(w, q, badRequest{fmt.Sprintf("addresses: %v", err)})
			return
		}
		list = string(body)
	}
	var asked []uint64
	for word := range strings.SplitSeq(list, "+") {
		// What is no address is passed over: a query has other parameters.
		if pc, err := strconv.ParseUint(strings.TrimSpace(word), 0, 64); err == nil && pc != 0 {
			asked = append(asked, pc)
		}
	}
	var out bytes.Buffer
	if q.Method != http.MethodPost {
		fmt.Fprintln(&out, "num_symbols: 1")
	}
	if len(asked) > 0 {
		if err := r.nameRemote(q, &out, asked); err != nil {
			r.failPlain(w, q, err)
			return
		}
	}
	header(w, "text/plain; charset=utf-8", "")
	w.Write(out.Bytes()) // an error means that the client is gone
}

// nameRemote writes a line for each address: the function, and after it those that
// were inlined there, callers first. The allocator is called malloc, whatever the
// function: jeprof leaves out malloc and what it called, but knows few of the names
// that jemalloc's functions have, and would say that they hold all the memory.
func (r *Recorder) nameRemote(q *http.Request, out io.Writer, asked []uint64) error {
	if err := r.gate.enter(q.Context()); err != nil {
		return err
	}
	defer r.gate.leave()
	maps := r.mappings()
	if maps == nil { // asked before any dump was taken
		_, heap, err := r.takeNow(q.Context())
		if err != nil {
			return err
		}
		maps = heap.Mappings
	}
	// jeprof asks for the address of the call, Symbolize wants that after it.
	after := make([]uint64, len(asked))
	for i, pc := range asked {
		after[i] = pc + 1
	}
	slices.Sort(after)
	symbols := r.symbolize(maps, slices.Compact(after))
	for _, pc := range asked {
		var names []string
		for _, f := range slices.Backward(symbols.Frames(pc + 1)) {
			names = append(names, strings.ReplaceAll(f.Function, "--", "-"))
		}
		if symbols.Allocator(pc + 1) {
			names = []string{"malloc"}
		}
		if len(names) > 0 {
			fmt.Fprintf(out, "%#x %s\n", pc, strings.Join(names, "--"))
		}
	}
	return nil
}

func (r *Recorder) serveRemoteCmdline(w http.ResponseWriter, _ *http.Request) {
	header(w, "text/plain; charset=utf-8", "")
	fmt.Fprint(w, strings.Join(r.process.Args, "\x00"))
}

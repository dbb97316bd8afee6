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

// This file serves jeprof's remote protocol, which is that of gperftools' pprof:
//
//	GET  .../pprof/heap     the dump, as jemalloc wrote it; 406 for go tool pprof
//	GET  .../pprof/symbol   num_symbols: 1
//	POST .../pprof/symbol   for 0xA+0xB a line "0xA name" for each address
//	GET  .../pprof/cmdline  the command line
//
// Other tools use the protocol too. Errors are plain text.

// serveRemoteHeap takes a dump and answers with it. The dump is not kept.
func (r *Recorder) serveRemoteHeap(w http.ResponseWriter, q *http.Request) {
	if err := r.gate.enter(q.Context()); err != nil {
		r.failPlain(w, q, err)
		return
	}
	text, _, err := r.takeNow(q.Context()) // keeps the memory map, for the requests for names that follow
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

// isGoTool reports whether the request may be from go tool pprof. go tool pprof sends the
// same User-Agent as all Go programs that set none. jeprof uses curl, and people use curl,
// wget or a browser. All of these send a User-Agent of their own.
func isGoTool(q *http.Request) bool {
	return strings.HasPrefix(q.UserAgent(), "Go-http-client/")
}

// wrongFormat is the answer to go tool pprof at the path of jeprof's dump. With the dump go
// tool pprof would fail with "unrecognized profile format".
type wrongFormat struct{ host string }

func (e wrongFormat) Error() string {
	return fmt.Sprintf("this is jemalloc's own format, for jeprof; go tool pprof reads http://%s/debug/pprof/native (wherever the program mounts Recorder.Native). "+
		"A Go program that wants jemalloc's format has to set a User-Agent", e.host)
}

// maxAddresses bounds the body of a request for names, in bytes: about 200,000 addresses.
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
		// Words that are not an address are skipped, because a query may have other
		// parameters.
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

// nameRemote writes a line for each address: the function, and after it the functions that
// were inlined there, callers first. Each function of the allocator is named malloc. jeprof
// leaves out malloc and the functions that it called, but it knows only a few of the names
// of jemalloc's functions. It would report that the others hold all the memory.
func (r *Recorder) nameRemote(q *http.Request, out io.Writer, asked []uint64) error {
	if err := r.gate.enter(q.Context()); err != nil {
		return err
	}
	defer r.gate.leave()
	maps := r.mappings()
	if maps == nil { // no dump was taken yet
		_, heap, err := r.takeNow(q.Context())
		if err != nil {
			return err
		}
		maps = heap.Mappings
	}
	// jeprof sends the addresses of calls. Symbolize takes the addresses after them.
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

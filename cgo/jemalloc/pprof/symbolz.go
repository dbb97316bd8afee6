package pprof

import (
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"

	"github.com/google/pprof/profile"

	"magellan/cgo/jemalloc/heapprof"
)

// What go tool pprof does with a location without a name that it has from a URL: it
// asks the server, at an address beside that URL, and gives up the whole profile
// where nothing answers there. So a profile has such locations only where something
// does. Elsewhere they are named by where they are; pprof can still look them up in
// files, as their mappings say that they are not named.

// pprofAsks is the path at which pprof asks for names, for a profile from path.
func pprofAsks(profile string) string {
	if strings.Contains(profile, "/debug/pprof/") {
		return path.Join(path.Dir(profile), "symbol")
	}
	return path.Join(path.Dir(profile), "symbolz")
}

// symbolServed reports whether something is known to answer where pprof asks for names.
func (r *Recorder) symbolServed(q *http.Request) bool {
	if r.cfg.SymbolServed {
		return true
	}
	if r.cfg.Source != nil {
		return false // net/http/pprof would name addresses of another process by its own
	}
	srv, ok := q.Context().Value(http.ServerContextKey).(*http.Server)
	if !ok {
		return false
	}
	mux := http.DefaultServeMux
	if srv.Handler != nil {
		if mux, ok = srv.Handler.(*http.ServeMux); !ok {
			return false
		}
	}
	ask := q.Clone(q.Context())
	ask.Method, ask.URL.Path, ask.URL.RawPath = http.MethodPost, pprofAsks(q.URL.Path), ""
	_, pattern := mux.Handler(ask)
	// What answers for a whole tree of paths, as net/http/pprof.Index does, may know
	// nothing of this one.
	return strings.HasSuffix(pattern, ask.URL.Path)
}

// writePlaces is writeProfile for where nobody is asked for names.
func writePlaces(w io.Writer, p *profile.Profile) error {
	heapprof.NamePlaces(p)
	return writeProfile(w, p)
}

// serveSymbolz answers pprof for the profiles that are kept: they have all the names
// that there were, and their addresses may be those of a process that is gone.
func serveSymbolz(w http.ResponseWriter, _ *http.Request) {
	header(w, "text/plain; charset=utf-8", "")
	fmt.Fprintln(w, "num_symbols: 0") // an error means that the client is gone
}

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

// If go tool pprof reads a profile from a URL and a location has no name, it asks the same
// server for the name, at a path beside that URL. If nothing answers there, pprof refuses
// the whole profile. So a profile has such locations only if something answers. Otherwise
// they are named by their places. pprof can still look their names up in files, because
// their mappings are not marked as named.

// pprofAsks returns the path at which pprof asks for names, for a profile from the given
// path.
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
		return false // net/http/pprof has the names of this process only, and would give wrong ones
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
	// A handler for a whole tree of paths, such as net/http/pprof.Index, may not serve this
	// path.
	return strings.HasSuffix(pattern, ask.URL.Path)
}

// writePlaces writes a profile like writeProfile, but names locations by their places, for
// servers that do not answer pprof's requests for names.
func writePlaces(w io.Writer, p *profile.Profile) error {
	heapprof.NamePlaces(p)
	return writeProfile(w, p)
}

// serveSymbolz answers pprof's requests for names in kept profiles, and has no names. The
// profiles already have all names that were found, and their addresses may be those of a
// process that has ended.
func serveSymbolz(w http.ResponseWriter, _ *http.Request) {
	header(w, "text/plain; charset=utf-8", "")
	fmt.Fprintln(w, "num_symbols: 0") // an error means that the client is gone
}

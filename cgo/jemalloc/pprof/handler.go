package pprof

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/google/pprof/profile"

	"magellan/cgo/jemalloc/heapprof"
)

// Handler serves everything except Native and Memory. prefix is the path at which it is
// mounted, such as "/debug/jeprof". The package comment lists the paths below it.
func (r *Recorder) Handler(prefix string) http.Handler {
	prefix = "/" + strings.Trim(prefix, "/")
	if prefix == "/" {
		prefix = ""
	}
	routes := map[string]http.Handler{
		"":              http.RedirectHandler(prefix+"/ui/", http.StatusFound),
		"dump":          only(map[string]http.HandlerFunc{http.MethodPost: r.serveTake(prefix)}),
		"dumps":         get(r.serveDumps),
		"diff":          get(r.serveDiff),
		"leaks":         get(r.serveLeaks),
		"active":        only(map[string]http.HandlerFunc{http.MethodGet: r.serveActive, http.MethodPut: r.serveSetActive}),
		"pprof/heap":    get(r.serveRemoteHeap),
		"pprof/symbol":  only(map[string]http.HandlerFunc{http.MethodGet: r.serveRemoteSymbol, http.MethodPost: r.serveRemoteSymbol}),
		"pprof/cmdline": get(r.serveRemoteCmdline),
		"symbolz":       only(map[string]http.HandlerFunc{http.MethodGet: serveSymbolz, http.MethodPost: serveSymbolz}),
		"dumps/symbolz": only(map[string]http.HandlerFunc{http.MethodGet: serveSymbolz, http.MethodPost: serveSymbolz}),
		"ui":            http.RedirectHandler(prefix+"/ui/", http.StatusMovedPermanently),
	}
	ui := r.viewsHandler(prefix + "/ui/")
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		path, below := strings.CutPrefix(q.URL.Path, prefix)
		path = strings.TrimPrefix(path, "/")
		id, isDump := strings.CutPrefix(path, "dumps/")
		switch {
		case !below:
			problem(w, http.StatusNotFound, fmt.Sprintf("nothing is served at %s: this handler is mounted at %s", q.URL.Path, prefix))
		case routes[path] != nil:
			routes[path].ServeHTTP(w, q)
		case strings.HasPrefix(path, "ui/"):
			ui.ServeHTTP(w, q)
		case isDump && id != "":
			get(func(w http.ResponseWriter, q *http.Request) { r.serveDump(w, q, id) }).ServeHTTP(w, q)
		default:
			problem(w, http.StatusNotFound, fmt.Sprintf("nothing is served at %s", q.URL.Path))
		}
	})
}

// Memory serves the ledger as JSON.
func (r *Recorder) Memory() http.Handler {
	return get(func(w http.ResponseWriter, q *http.Request) {
		l, err := r.source.Ledger(q.Context())
		if err != nil {
			r.fail(w, q, err)
			return
		}
		writeJSON(w, http.StatusOK, l)
	})
}

// only calls the handler of a request's method, and answers all other methods with status
// 405. HEAD counts as GET.
func only(methods map[string]http.HandlerFunc) http.Handler {
	var allow []string
	for _, m := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut} {
		if methods[m] != nil || m == http.MethodHead && methods[http.MethodGet] != nil {
			allow = append(allow, m)
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		m := q.Method
		if m == http.MethodHead {
			m = http.MethodGet
		}
		if h := methods[m]; h != nil {
			h(w, q)
			return
		}
		w.Header().Set("Allow", strings.Join(allow, ", "))
		problem(w, http.StatusMethodNotAllowed, fmt.Sprintf("%s takes %s", q.URL.Path, strings.Join(allow, ", ")))
	})
}

func get(h http.HandlerFunc) http.Handler {
	return only(map[string]http.HandlerFunc{http.MethodGet: h})
}

func (r *Recorder) serveTake(prefix string) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		d, err := r.Take(q.Context())
		if err != nil {
			r.fail(w, q, err)
			return
		}
		if strings.Contains(q.Header.Get("Accept"), "text/html") { // the button on the page of all dumps
			http.Redirect(w, q, prefix+"/ui/", http.StatusSeeOther)
			return
		}
		w.Header().Set("Location", prefix+"/dumps/"+d.ID)
		writeJSON(w, http.StatusCreated, d)
	}
}

func (r *Recorder) serveDumps(w http.ResponseWriter, _ *http.Request) {
	dumps, fault := r.store.list()
	writeJSON(w, http.StatusOK, struct {
		Dumps []Dump `json:"dumps"` // the oldest first
		Dir   string `json:"dir,omitempty"`
		Note  string `json:"note,omitempty"`
	}{dumps, r.cfg.Dir, fault})
}

func (r *Recorder) serveDump(w http.ResponseWriter, q *http.Request, id string) {
	if err := r.sendDump(w, q, id); err != nil {
		r.fail(w, q, err)
	}
}

// sendDump answers with one dump. If it returns an error, it has not sent anything.
func (r *Recorder) sendDump(w http.ResponseWriter, q *http.Request, id string) error {
	format, err := formatParam(q, "json", "heap", "pprof", "collapsed", "text")
	if err != nil {
		return err
	}
	read := func() (*profile.Profile, error) { return r.kept(id) }
	switch format {
	case "json":
		d, err := r.store.get(id)
		if err != nil {
			return err
		}
		writeJSON(w, http.StatusOK, d)
	case "heap":
		f, err := r.store.heap(id)
		return sendFile(w, f, err, id+".heap")
	case "pprof":
		f, err := r.store.profile(id)
		return sendFile(w, f, err, id+".pb.gz")
	case "collapsed":
		valueType := q.URL.Query().Get("type")
		return r.sendKept(w, q, "", read, func(out io.Writer, p *profile.Profile) error {
			if _, err := p.SampleIndexByName(valueType); err != nil {
				return badRequest{err.Error()}
			}
			return heapprof.WriteCollapsed(out, p, valueType)
		})
	case "text":
		return r.sendKept(w, q, "", read, heapprof.WriteText)
	}
	return nil
}

// sendKept answers with what write has written of the profile that read returns. It is sent
// as text, or as a file if attachment is its name.
func (r *Recorder) sendKept(w http.ResponseWriter, q *http.Request, attachment string, read func() (*profile.Profile, error), write writer) error {
	body, err := r.rendered(q.Context(), read, write)
	if err == nil {
		send(w, attachment, body)
	}
	return err
}

// send answers with text, or with a file if attachment is its name.
func send(w http.ResponseWriter, attachment string, body []byte) {
	contentType := "text/plain; charset=utf-8"
	if attachment != "" {
		contentType = "application/octet-stream"
	}
	header(w, contentType, attachment)
	w.Write(body) // an error means that the client is gone
}

// sendFile answers with an open file, and closes it.
func sendFile(w http.ResponseWriter, f io.ReadCloser, err error, name string) error {
	if err != nil {
		return err
	}
	defer f.Close()
	header(w, "application/octet-stream", name)
	io.Copy(w, f) // an error means that the client is gone
	return nil
}

func (r *Recorder) serveDiff(w http.ResponseWriter, q *http.Request) {
	format, err := formatParam(q, "pprof", "text")
	if err != nil {
		r.fail(w, q, err)
		return
	}
	from, to := q.URL.Query().Get("from"), q.URL.Query().Get("to")
	if from == "" || to == "" {
		r.fail(w, q, badRequest{"want from=ID&to=ID, two of those that GET dumps lists"})
		return
	}
	name, write := from+"-"+to+".pb.gz", writer(writeProfile)
	if format == "text" {
		name, write = "", heapprof.WriteText
	}
	if err := r.sendKept(w, q, name, func() (*profile.Profile, error) { return r.diff(from, to) }, write); err != nil {
		r.fail(w, q, err)
	}
}

// diff returns what changed between two dumps that are kept.
func (r *Recorder) diff(from, to string) (*profile.Profile, error) {
	before, err := r.kept(from)
	if err != nil {
		return nil, err
	}
	after, err := r.kept(to)
	if err != nil {
		return nil, err
	}
	return difference(before, after)
}

// active is the JSON of GET and PUT active.
type active struct {
	Active *bool `json:"active"`
}

func (r *Recorder) serveActive(w http.ResponseWriter, q *http.Request) {
	stats, err := r.source.Stats(q.Context())
	if err != nil {
		r.fail(w, q, err)
		return
	}
	writeJSON(w, http.StatusOK, active{&stats.Active})
}

func (r *Recorder) serveSetActive(w http.ResponseWriter, q *http.Request) {
	var want active
	body := json.NewDecoder(http.MaxBytesReader(w, q.Body, 1<<10))
	body.DisallowUnknownFields()
	if err := body.Decode(&want); err != nil || want.Active == nil {
		r.fail(w, q, badRequest{`want {"active":true} or {"active":false}`})
		return
	}
	before, err := r.source.Stats(q.Context())
	if err == nil {
		err = r.source.SetActive(q.Context(), *want.Active)
	}
	if err != nil {
		r.fail(w, q, err)
		return
	}
	if before.Active != *want.Active {
		r.log.Warn("sampling of native memory was switched", "active", *want.Active)
	}
	r.serveActive(w, q)
}

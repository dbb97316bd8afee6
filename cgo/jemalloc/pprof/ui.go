package pprof

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/pprof/driver"
	"github.com/google/pprof/profile"

	"magellan/cgo/jemalloc/heapprof"
)

// The web user interface is that of google/pprof. It runs in this process and shows the
// profiles of kept dumps: ui/ID/ shows a dump, ui/ID..ID/ what grew between two dumps.

var errNoHome = errors.New("the web user interface needs HOME or XDG_CONFIG_HOME in the environment: set one, any path will do")

// views are the open profiles.
type views struct {
	max int

	mu   sync.Mutex
	open map[string]*list.Element // of *view
	used *list.List               // front: used last

	// drawing bounds the number of pages that are made at a time. Each page needs a copy
	// of its profile, and a graph also runs another process.
	drawing chan struct{}
}

type view struct {
	name    string
	profile *profile.Profile
	pages   map[string]http.Handler
}

func newViews(max int) *views {
	return &views{max: max, open: make(map[string]*list.Element), used: list.New(), drawing: make(chan struct{}, 2)}
}

// get returns the view of that name. If it is not open, get opens it and closes the view
// that was not used for longest, if there are too many.
func (v *views) get(name string, load func() (*profile.Profile, error)) (*view, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if e, ok := v.open[name]; ok {
		v.used.MoveToFront(e)
		return e.Value.(*view), nil
	}
	p, err := load()
	if err != nil {
		return nil, err
	}
	pages, err := openUI(p)
	if err != nil {
		return nil, err
	}
	one := &view{name, p, pages}
	v.open[name] = v.used.PushFront(one)
	for v.used.Len() > v.max {
		last := v.used.Remove(v.used.Back()).(*view)
		delete(v.open, last.name)
	}
	return one, nil
}

// viewsHandler serves the interface below prefix, which ends with a slash.
func (r *Recorder) viewsHandler(prefix string) http.Handler {
	return get(func(w http.ResponseWriter, q *http.Request) {
		path := strings.TrimPrefix(q.URL.Path, prefix)
		name, page, below := strings.Cut(path, "/")
		switch {
		case path == "":
			r.serveViews(w, q)
		case path == "diff": // the form on the page of all views
			from, to := q.URL.Query().Get("from"), q.URL.Query().Get("to")
			for _, id := range []string{from, to} {
				if _, err := r.store.get(id); err != nil {
					r.fail(w, q, err)
					return
				}
			}
			http.Redirect(w, q, prefix+from+".."+to+"/", http.StatusSeeOther)
		case !below:
			http.Redirect(w, q, prefix+name+"/", http.StatusMovedPermanently)
		default:
			r.serveView(w, q, name, "/"+page)
		}
	})
}

func (r *Recorder) serveView(w http.ResponseWriter, q *http.Request, name, page string) {
	select {
	case r.views.drawing <- struct{}{}:
		defer func() { <-r.views.drawing }()
	case <-q.Context().Done():
		r.fail(w, q, context.Cause(q.Context()))
		return
	}
	v, err := r.views.get(name, func() (*profile.Profile, error) {
		if from, to, isDiff := strings.Cut(name, ".."); isDiff {
			return r.diff(from, to)
		}
		return r.kept(name)
	})
	if err != nil {
		r.fail(w, q, err)
		return
	}
	h := v.pages[page]
	if h == nil {
		problem(w, http.StatusNotFound, fmt.Sprintf("nothing is served at %s", q.URL.Path))
		return
	}
	if page != "/download" && !slices.Contains(forbidden, page) && v.isBlank(q) {
		v.serveBlank(w, q)
		return
	}
	if page == "/graph" {
		q = smallGraph(q)
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	h.ServeHTTP(w, q)
}

// isBlank reports whether a page has nothing to draw, because all values of the requested
// type (?si=) are zero. The driver's pages would be white then, with NaN in them.
func (v *view) isBlank(q *http.Request) bool {
	index, err := v.profile.SampleIndexByName(q.URL.Query().Get("si"))
	return err == nil && lacksType(v.profile, index)
}

var blankPage = template.Must(template.New("blank").Parse(`<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>nothing to show</title>
<style>body{font-family:sans-serif}</style>
<h1>{{if .IsDiff}}Nothing changed{{else}}Nothing to show{{end}}</h1>
<p>{{if .IsDiff}}The two dumps have the same {{.Type}} on each stack.{{else}}All stacks have 0 {{.Type}}.{{end}}</p>
{{with .Others}}<p>There is something of {{range $i, $t := .}}{{if $i}}, {{end}}<a href="?si={{$t}}">{{$t}}</a>{{end}}.</p>
{{end}}<ul>
{{range .Comments}}<li>{{.}}</li>
{{end}}</ul>
<p><a href="../">all dumps</a></p>
</html>
`))

// serveBlank answers with a page that has the reason why there is nothing to draw, and
// links to the types that have values.
func (v *view) serveBlank(w http.ResponseWriter, q *http.Request) {
	page := struct {
		IsDiff   bool
		Type     string
		Others   []string
		Comments []string
	}{IsDiff: strings.Contains(v.name, ".."), Comments: v.profile.Comments}
	asked, _ := v.profile.SampleIndexByName(q.URL.Query().Get("si")) // isBlank has checked it
	for i, t := range v.profile.SampleType {
		if i == asked {
			page.Type = t.Type
		} else if !lacksType(v.profile, i) {
			page.Others = append(page.Others, t.Type)
		}
	}
	header(w, "text/html; charset=utf-8", "")
	// An error means that the client is gone.
	_ = blankPage.Execute(w, page)
}

// smallGraph bounds the number of nodes of a requested graph. graphviz draws the graph. It
// takes minutes for thousands of nodes and cannot be stopped.
func smallGraph(q *http.Request) *http.Request {
	const most = 500
	values := q.URL.Query()
	values.Del("trim") // trim=f requests all nodes
	if n, err := strconv.Atoi(values.Get("n")); err == nil && n != -1 && (n < 1 || n > most) {
		values.Set("n", strconv.Itoa(most))
	}
	q = q.Clone(q.Context())
	q.URL.RawQuery = values.Encode()
	return q
}

// forbidden are pages of the driver that are not served. The first two write to the home
// directory of the user that runs the process. The third one runs a disassembler, which
// has to be installed.
var forbidden = []string{"/saveconfig", "/deleteconfig", "/disasm"}

// opening allows one call of the driver at a time, because the driver sets variables of
// its package from its command line. Here the settings are the same in each call.
var opening sync.Mutex

// openUI returns the pages of google/pprof's interface for a profile, by path.
func openUI(p *profile.Profile) (map[string]http.Handler, error) {
	if _, err := os.UserConfigDir(); err != nil {
		return nil, errNoHome
	}
	heapprof.NamePlaces(p)
	opening.Lock()
	defer opening.Unlock()
	var pages map[string]http.Handler
	err := driver.PProf(&driver.Options{
		Flagset:       flags{},
		Fetch:         fetcher{p},
		Sym:           noSymbolizer{},
		Obj:           noObjects{},
		UI:            silent{},
		HTTPTransport: noNetwork{},
		HTTPServer: func(args *driver.HTTPServerArgs) error {
			pages = args.Handlers
			return nil
		},
	})
	if err != nil {
		return nil, fmt.Errorf("pprof: open the web user interface: %w", err)
	}
	for _, page := range forbidden {
		pages[page] = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			problem(w, http.StatusForbidden, "not here: use go tool pprof -http on a downloaded profile")
		})
	}
	return pages, nil
}

// flags is the driver's command line. Only -http, -no_browser and -tools are not defaults.
type flags struct{}

func (flags) Bool(name string, def bool, _ string) *bool {
	def = def || name == "no_browser"
	return &def
}
func (flags) Int(_ string, def int, _ string) *int             { return &def }
func (flags) Float64(_ string, def float64, _ string) *float64 { return &def }
func (flags) String(name, def, _ string) *string {
	switch name {
	case "http":
		def = "localhost:0" // nothing listens there, because HTTPServer only returns the pages
	case "tools":
		def = ""
	}
	return &def
}
func (flags) StringList(_, _, _ string) *[]*string { return new([]*string) }
func (flags) ExtraUsage() string                   { return "" }
func (flags) AddExtraUsage(string)                 {}
func (flags) Parse(func()) []string                { return []string{"native"} }

// fetcher returns its profile to the driver, whatever the driver asks for.
type fetcher struct{ p *profile.Profile }

func (f fetcher) Fetch(string, time.Duration, time.Duration) (*profile.Profile, string, error) {
	return f.p, "", nil
}

// noSymbolizer does nothing, because the profiles already have names.
type noSymbolizer struct{}

func (noSymbolizer) Symbolize(string, driver.MappingSources, *profile.Profile) error { return nil }

// noObjects refuses to open or to disassemble files.
type noObjects struct{}

var errNoObjects = errors.New("object files are not read here")

func (noObjects) Open(string, uint64, uint64, uint64, string) (driver.ObjFile, error) {
	return nil, errNoObjects
}

func (noObjects) Disasm(string, uint64, uint64, bool) ([]driver.Inst, error) {
	return nil, errNoObjects
}

// noNetwork refuses all requests of the driver.
type noNetwork struct{}

func (noNetwork) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("the network is not used here")
}

// silent is the driver's terminal. It drops messages, because the pages show those that
// are for the user.
type silent struct{}

func (silent) ReadLine(string) (string, error)     { return "", errors.New("there is no terminal") }
func (silent) Print(...any)                        {}
func (silent) PrintErr(...any)                     {}
func (silent) IsTerminal() bool                    { return false }
func (silent) WantBrowser() bool                   { return false }
func (silent) SetAutoComplete(func(string) string) {}

var viewsPage = template.Must(template.New("views").Funcs(template.FuncMap{
	"size": func(n int64) string { return heapprof.Amount(float64(n), "bytes") },
}).Parse(`<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>native heap dumps</title>
<style>body{font-family:sans-serif} td,th{padding:.2em .6em;text-align:left;vertical-align:top} td.n{text-align:right} pre{margin:0}</style>
<h1>Native heap dumps</h1>
<p>stacks: {{.Unwinder}}{{with .Fault}}; kept in memory: {{.}}{{end}}</p>
{{with .Paused}}<p>Growth is not followed: {{.}}</p>
{{end}}{{with .Off}}<p>{{.}}</p>
{{end}}<form method="post" action="../dump"><button>Take a dump now</button></form>
<form method="get" action="diff">
<table>
<tr><th>from</th><th>to</th><th>dump</th><th>why</th><th>live, estimated</th><th>RSS</th><th>grew most, estimated</th></tr>
{{range .Dumps}}<tr><td><input type="radio" name="from" value="{{.ID}}" required></td><td><input type="radio" name="to" value="{{.ID}}" required></td>
<td>{{if .ProfileBytes}}<a href="{{.ID}}/">{{.ID}}</a>{{else}}{{.ID}}{{end}}</td><td>{{.Reason}}</td><td class="n">~{{size .LiveBytes}}</td><td class="n">{{size .RSS}}</td>
<td>{{if .Grown}}~{{size .Grown.Bytes}}: {{.Grown}}{{else if .Since}}no stack grew{{else}}nothing to compare with{{with .HoldsMost}}; holds most: ~{{size .Bytes}}: {{.String}}{{end}}{{end}}</td></tr>
{{end}}</table>
<button>Show what grew</button>
</form>
<p><a href="../leaks?format=text&amp;all=1">stacks ranked by growth</a></p>
</html>
`))

// serveViews answers with the list of all dumps, with links to their views.
func (r *Recorder) serveViews(w http.ResponseWriter, q *http.Request) {
	dumps, fault := r.store.list()
	header(w, "text/html; charset=utf-8", "")
	// An error means that the client is gone.
	off := ""
	if !r.sampled(q.Context()) {
		off = samplingOff
	}
	_ = viewsPage.Execute(w, struct {
		Dumps                []Dump
		Unwinder, Fault, Off string
		Paused               *Paused
	}{dumps, r.process.stacks(), fault, off, r.paused(time.Now())})
}

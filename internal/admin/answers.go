package admin

import (
	"encoding/json"
	"errors"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
)

// Problem is a znode that does not parse, may not be read, or has lost too much
// at once.
type Problem struct {
	// Path is the znode's path.
	Path string `json:"path"`
	// Error says what is wrong with it.
	Error string `json:"error"`
	// Since is when this process first saw it so.
	Since time.Time `json:"since"`
	// Zxid is the transaction that wrote the unreadable bytes.
	Zxid int64 `json:"zxid"`
	// ServedZxid is the transaction of the last good value, which goes on being
	// served; 0 where there is none.
	ServedZxid int64 `json:"served_zxid"`
}

// ProblemLister lists what is wrong with the data, in the order in which it is
// to be shown. It is called by any number of goroutines at once.
type ProblemLister interface {
	Problems() []Problem
}

// Entry is what the cache knows of one znode.
type Entry struct {
	// Path is the znode's path, Kind what it holds.
	Path string `json:"path"`
	Kind string `json:"kind"`
	// Held: the cache has it, or that there is none. Value is what is served,
	// in words, Zxid the transaction that wrote it, 0 for an absent znode.
	Held  bool   `json:"held"`
	Value string `json:"value,omitempty"`
	Zxid  int64  `json:"zxid"`
	// Cache is HIT, UPDATING or STALE, as the header X-Cache of an answer would be now.
	Cache string `json:"cache,omitempty"`
	// AgeSeconds is the time since the value was last known to be true.
	AgeSeconds float64 `json:"age_seconds"`
	// Watched: a watch on the server vouches for the value. Reading: a read is
	// under way.
	Watched bool `json:"watched"`
	Reading bool `json:"reading"`
	// Session is the number of the cache's session that carries the watch,
	// SessionID ZooKeeper's name for it, in hexadecimal as its logs have it.
	Session   int    `json:"session"`
	SessionID string `json:"session_id"`
	// Restored: the value is a snapshot's, and ZooKeeper has not been read since.
	Restored bool `json:"restored"`
	// HeldBack: the shrink guard serves the value in place of what ZooKeeper
	// holds, until that is accepted.
	HeldBack bool `json:"held_back"`
	// Heat is in how many different seconds the znode was asked for.
	Heat uint32 `json:"heat"`
	// Problem is what is wrong with it, nil if nothing is.
	Problem *Problem `json:"problem,omitempty"`
}

// Explainer tells what the cache knows of a znode. It is called by any number
// of goroutines at once, and reads nothing from ZooKeeper.
type Explainer interface {
	// Explain returns false for a path under which the cache never holds
	// anything. path is absolute, and whatever the request had.
	Explain(path string) (Entry, bool)
}

// Accepter lets through what is held back because too much was lost at once, or
// has answers go on without a znode that cannot be read. It is called by any number
// of goroutines at once.
type Accepter interface {
	// Accept reports whether there was anything to accept at a znode's path.
	Accept(path string) bool
}

func acceptHandler(a Accepter) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		path := znodePath(r, "/admin/accept")
		if !a.Accept(path) {
			writeProblem(w, http.StatusNotFound, "there is nothing to accept at "+path+": /admin/problems lists what is held back or cannot be read")
			return
		}
		writeJSON(w, http.StatusOK, "application/json", map[string]string{"accepted": path})
	}
}

func problemsHandler(p ProblemLister) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		problems := p.Problems()
		if problems == nil {
			problems = []Problem{} // [] and not null
		}
		writeJSON(w, http.StatusOK, "application/json", map[string][]Problem{"problems": problems})
	}
}

func explainHandler(e Explainer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		path := znodePath(r, "/admin/cache")
		entry, ok := e.Explain(path)
		if !ok {
			writeProblem(w, http.StatusNotFound, "no znode that the cache holds has the path "+path+
				": a shop's is made of --root, its bucket and its name")
			return
		}
		writeJSON(w, http.StatusOK, "application/json", entry)
	}
}

var indexPage = template.Must(template.New("index").Parse(`<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>magellan admin</title>
<h1>magellan: for operators</h1>
<table>
{{range .}}<tr><td>{{.Methods}}</td><td>{{if .Link}}<a href="{{.Link}}">{{.Path}}</a>{{else}}{{.Path}}{{end}}</td><td>{{.About}}</td></tr>
{{end}}</table>
</html>
`))

// indexHandler lists the routes that have something to say about themselves.
func indexHandler(routes []Route) http.HandlerFunc {
	type row struct{ Methods, Path, Link, About string }
	var rows []row
	for _, r := range routes {
		if r.About == "" {
			continue
		}
		one := row{Methods: strings.Join(r.Methods, ", "), Path: r.Path, About: r.About}
		if r.Methods[0] == http.MethodGet && !strings.Contains(r.Path, ":") {
			one.Link = strings.TrimSuffix(r.Path, "*")
		}
		rows = append(rows, one)
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		// An error means that the client is gone.
		_ = indexPage.Execute(w, rows)
	}
}

// writeProblem answers with the problem document of RFC 9457 that an error
// stands for.
func (s *Server) writeProblem(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	status, detail := http.StatusInternalServerError, err.Error()
	var he *echo.HTTPError
	if errors.As(err, &he) {
		status = he.Code
		detail, _ = he.Message.(string)
	}
	if status >= http.StatusInternalServerError {
		s.log.Warn("admin request failed", "path", c.Request().URL.Path, "error", err)
	}
	if status == http.StatusNotFound {
		detail = "nothing is served at " + c.Request().URL.Path + "; / lists what is"
	}
	writeProblem(c.Response(), status, detail)
}

func writeProblem(w http.ResponseWriter, status int, detail string) {
	writeJSON(w, status, "application/problem+json", struct {
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail,omitempty"`
	}{http.StatusText(status), status, detail})
}

func writeJSON(w http.ResponseWriter, status int, contentType string, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		// Only a value that an Explainer returns can be at fault.
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // an error means that the client is gone
}

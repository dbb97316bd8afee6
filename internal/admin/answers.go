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

// Problem is a znode that does not parse, or may not be read.
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

// Explainer tells what the cache knows of a znode. It is called by any number
// of goroutines at once, and reads nothing from ZooKeeper.
type Explainer interface {
	// Explain returns a value to be written as JSON; ok is false where nothing
	// is known of the znode. path is absolute, and whatever the request had.
	Explain(path string) (v any, ok bool)
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
		v, ok := e.Explain(path)
		if !ok {
			writeProblem(w, http.StatusNotFound, "the cache holds nothing of the znode "+path+
				": nobody has asked for it, it was evicted, or there is none of this path")
			return
		}
		writeJSON(w, http.StatusOK, "application/json", v)
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

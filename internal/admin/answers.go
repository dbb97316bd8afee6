package admin

import (
	"encoding/json"
	"errors"
	"html/template"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
)

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

// indexHandler lists the routes whose About is not empty.
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

// writeProblem answers a request that failed with err by a problem document (RFC 9457).
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
	WriteProblem(c.Response(), status, detail)
}

// WriteProblem answers with a problem document, in the form that the server itself uses.
func WriteProblem(w http.ResponseWriter, status int, detail string) {
	writeJSON(w, status, "application/problem+json", struct {
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail,omitempty"`
	}{http.StatusText(status), status, detail})
}

// WriteJSON answers with v as indented JSON.
func WriteJSON(w http.ResponseWriter, status int, v any) { writeJSON(w, status, "application/json", v) }

func writeJSON(w http.ResponseWriter, status int, contentType string, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		// The handler of a Route has passed a value that cannot be JSON.
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // an error means that the client is gone
}

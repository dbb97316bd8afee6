package httpapi

import (
	"context"
	"net/http"
	"strings"
	"time"
)

// ConnContext gives tests the context of a connection to a Server; other
// handlers' is ctx.
func ConnContext(ctx context.Context, h http.Handler) context.Context {
	if s, ok := h.(*Server); ok {
		return s.http.ConnContext(ctx, nil)
	}
	return ctx
}

// Routes returns the methods and paths that Echo has, as openapi.json writes
// them.
func Routes(s *Server) []string {
	var routes []string
	for _, r := range s.echo.Routes() {
		if strings.HasSuffix(r.Path, "/") {
			continue // the empty name of another route
		}
		elements := strings.Split(r.Path, "/")
		for i, e := range elements {
			if name, ok := strings.CutPrefix(e, ":"); ok {
				elements[i] = "{" + name + "}"
			}
		}
		routes = append(routes, r.Method+" "+strings.ReplaceAll(strings.Join(elements, "/"), `\:`, ":"))
	}
	return routes
}

// ProblemTypes returns the types of all problems.
func ProblemTypes() []string {
	var types []string
	for _, kind := range allKinds {
		types = append(types, problemTypePrefix+kind.name)
	}
	return types
}

// SlowReaderPause is slowReaderPause.
var SlowReaderPause = slowReaderPause

// SetGoodbyeTime sets how long a client of HTTP/2 may go on writing, before s serves.
func SetGoodbyeTime(s *Server, d time.Duration) { s.goodbyeTime = d }

// SetAccessLast sets how long the last lines of the access log may take, before
// Shutdown.
func SetAccessLast(s *Server, d time.Duration) { s.accessLast = d }

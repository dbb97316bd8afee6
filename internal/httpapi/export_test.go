package httpapi

import (
	"context"
	"net/http"
	"strings"
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
		elements := strings.Split(r.Path, "/")
		for i, e := range elements {
			if name, ok := strings.CutPrefix(e, ":"); ok {
				elements[i] = "{" + name + "}"
			}
		}
		routes = append(routes, r.Method+" "+strings.Join(elements, "/"))
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

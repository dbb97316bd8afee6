package httpapi

import (
	_ "embed"
	"sync"
)

//go:embed openapi.json
var openAPI []byte

var openAPIRendering = newRendering(openAPI, new(sync.Mutex))

var (
	healthy = []byte(`{"status":"ok"}` + "\n")
	ready   = []byte(`{"status":"ready"}` + "\n")
	noStore = []string{"no-store"}
)

// getHealth answers GET /healthz: the process answers at all.
func (s *Server) getHealth(x *exchange) error {
	x.w.Header()["Cache-Control"] = noStore
	return x.send(contentJSON, healthy)
}

// getReadiness answers GET /readyz: whether to send requests here.
func (s *Server) getReadiness(x *exchange) error {
	x.w.Header()["Cache-Control"] = noStore
	if s.drain.begun() {
		return &requestError{kindNotReady, "shutting down"}
	}
	if err := s.cfg.Ready(); err != nil {
		return &requestError{kindNotReady, err.Error()}
	}
	return x.send(contentJSON, ready)
}

// getOpenAPI answers GET /openapi.json.
func (s *Server) getOpenAPI(x *exchange) error {
	return x.sendKept(contentJSON, openAPIRendering)
}

package httpapi

import (
	_ "embed"
	"sync"
)

//go:embed openapi.json
var openAPI []byte

// Answers that never change. Each is compressed under its own lock.
var (
	openAPIBody = newRendering(openAPI, new(sync.Mutex))
	healthyBody = newRendering([]byte(`{"status":"ok"}`+"\n"), new(sync.Mutex))
	readyBody   = newRendering([]byte(`{"status":"ready"}`+"\n"), new(sync.Mutex))
)

// getHealth answers GET /healthz: the process answers at all.
func (s *Server) getHealth(_ *question, a *answer) error {
	a.noStore = true
	a.share(contentJSON, healthyBody.hash, healthyBody)
	return nil
}

// getReadiness answers GET /readyz: whether to send requests here.
func (s *Server) getReadiness(_ *question, a *answer) error {
	a.noStore = true
	if s.drain.begun() {
		return &requestError{kindNotReady, "shutting down"}
	}
	if err := s.cfg.Ready(); err != nil {
		return &requestError{kindNotReady, err.Error()}
	}
	a.share(contentJSON, readyBody.hash, readyBody)
	return nil
}

// getOpenAPI answers GET /openapi.json.
func (s *Server) getOpenAPI(_ *question, a *answer) error {
	a.share(contentJSON, openAPIBody.hash, openAPIBody)
	return nil
}

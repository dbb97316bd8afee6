package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"magellan/test/magellan"
)

// target is a magellan that runs.
type target struct {
	*fixture
	*magellan.Process
}

// stopTimeout is how long a magellan may take until it has ended.
const stopTimeout = 20 * time.Second

// start starts the fixture's binary and waits until it is ready. sample is what
// lg_prof_sample is to be, if not what it is by default.
func (f *fixture) start(ctx context.Context, binary, zookeeper, dir string, sample int) (*target, error) {
	serve := magellan.Serve{Binary: binary, Dir: dir, Name: f.name, Args: []string{
		"--servers", zookeeper, "--cache-bytes", fmt.Sprint(cacheBytes), "--log-level", "warn",
	}}
	if sample > 0 {
		serve.Env = []string{fmt.Sprintf("MALLOC_CONF=lg_prof_sample:%d", sample)}
	}
	p, err := serve.Start(ctx)
	if err != nil {
		return nil, err
	}
	return &target{f, p}, nil
}

// ask gets an operators' page.
func (t *target) ask(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.Admin+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %.200s", req.URL, resp.Status, body)
	}
	return body, err
}

// ledger is the part of GET /admin/memory that is looked at, in bytes.
type ledger struct {
	RSS    int64 `json:"rss_bytes"`
	GoHeap int64 `json:"go_heap_bytes"`
	Native int64 `json:"native_live_bytes"`
}

// look asks for the ledger and for the suspects.
func (t *target) look(ctx context.Context) (m ledger, l leaks, err error) {
	for path, into := range map[string]any{"/admin/memory": &m, "/admin/jeprof/leaks": &l} {
		body, err := t.ask(ctx, path)
		if err == nil {
			err = json.Unmarshal(body, into)
		}
		if err != nil {
			return m, l, fmt.Errorf("%s: %w", t.name, err)
		}
	}
	return m, l, nil
}

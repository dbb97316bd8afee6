package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"magellan/internal/childproc"
)

// target is a magellan that runs.
type target struct {
	*fixture
	*childproc.Process
	stderr bytes.Buffer // read once it has ended
	url    string
	admin  string
}

// startTimeout and stopTimeout are how long a magellan may take until it is ready
// and until it has ended.
const startTimeout, stopTimeout = 60 * time.Second, 20 * time.Second

// start starts the fixture's binary and waits until it is ready. sample is what
// lg_prof_sample is to be, if not what it is by default.
func (f *fixture) start(ctx context.Context, binary, zookeeper, dir string, sample int) (_ *target, err error) {
	ready := filepath.Join(dir, f.name+".ready")
	t := &target{fixture: f}
	cmd := exec.Command(binary, "serve", "--servers", zookeeper, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
		"--cache-bytes", fmt.Sprint(cacheBytes), "--drain-delay", "0", "--ready-file", ready, "--start-timeout", startTimeout.String(), "--log-level", "warn")
	cmd.Stderr = &t.stderr
	if sample > 0 {
		cmd.Env = append(os.Environ(), fmt.Sprintf("MALLOC_CONF=lg_prof_sample:%d", sample))
	}
	if t.Process, err = childproc.Start(cmd); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.stop())
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var addrs struct{ Listen, Admin string }
	for {
		text, err := os.ReadFile(ready)
		if err == nil {
			err = json.Unmarshal(text, &addrs)
		}
		if err == nil {
			t.url, t.admin = "http://"+addrs.Listen, "http://"+addrs.Admin
			return t, nil
		}
		select {
		case <-t.Done():
			return nil, fmt.Errorf("%s has ended: %v", f.name, t.Ended())
		case <-ctx.Done():
			return nil, fmt.Errorf("%s does not get ready: %w", f.name, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stop ends it; what it said is in the error if it did not end well.
func (t *target) stop() error {
	err := t.Stop(syscall.SIGTERM, stopTimeout)
	if err != nil || !t.Ended().Success() {
		return errors.Join(err, fmt.Errorf("%s: %v: %s", t.name, t.Ended(), t.stderr.String()))
	}
	return nil
}

// ask gets an operators' page.
func (t *target) ask(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.admin+path, nil)
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

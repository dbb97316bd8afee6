package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"magellan/test/magellan"
)

// startMagellan starts the real binary, with further arguments.
func (r *run) startMagellan(ctx context.Context, args ...string) (*server, error) {
	return r.startMagellanAs(ctx, "magellan", nil, args...)
}

// startMagellanAs starts one of several, with more in its environment.
func (r *run) startMagellanAs(ctx context.Context, name string, env []string, args ...string) (*server, error) {
	m, err := magellan.Serve{Binary: r.cmd.Magellan, Dir: r.dir, Name: name, Env: env, Args: append([]string{
		"--servers", r.zookeeper.Addr(), "--root", layout.Root, "--cache-bytes", fmt.Sprint(cacheBytes(2 * r.hot)), "--log-level", "warn",
	}, args...)}.Start(ctx)
	if err != nil {
		return nil, err
	}
	return &server{process: r.started(name, m.Process), url: m.URL, admin: m.Admin}, nil
}

// warmMagellan has all hot shops read, and proves that they are in memory. It
// leaves the answer all other servers are to give in bodyFile.
func (r *run) warmMagellan(ctx context.Context, s *server) error {
	if err := r.fillMagellan(ctx, s, r.hot); err != nil {
		return err
	}
	body, _, err := get(ctx, s.url+"/v1/shops/"+r.hotShop(0))
	if err != nil {
		return err
	}
	return os.WriteFile(r.bodyFile(), body, 0o644)
}

// fillMagellan has it read n shops of each kind of name, and sees that they are in
// memory.
func (r *run) fillMagellan(ctx context.Context, s *server, n int) error {
	for _, status := range []string{"MISS", "HIT"} {
		for first := 0; first < n; first += lookupShops {
			for _, name := range []func(int) string{r.hotShop, r.numberedShop} {
				body := appendLookup(nil, lookupShops, func(i int) string { return name(first + i) })
				if err := lookup(ctx, s.url, body, status); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (r *run) bodyFile() string { return filepath.Join(r.dir, "body.json") }

// profile takes a CPU profile of magellan under a load, where --profiles wants
// one.
func (r *run) profile(ctx context.Context, s *server, name string, l load) error {
	if r.cmd.Profiles == "" {
		return nil
	}
	if err := os.MkdirAll(r.cmd.Profiles, 0o755); err != nil {
		return err
	}
	type result struct {
		profile []byte
		err     error
	}
	taken := make(chan result, 1)
	go func() {
		profile, _, err := get(ctx, fmt.Sprintf("%s/debug/pprof/profile?seconds=%.0f", s.admin, l.duration.Seconds()))
		taken <- result{profile, err}
	}()
	_, err := r.wrk(ctx, s, l)
	got := <-taken
	if err = errors.Join(err, got.err); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.cmd.Profiles, name+".pb.gz"), got.profile, 0o644)
}

// lookup asks for many shops, all of which must be found, in memory or not.
func lookup(ctx context.Context, url string, body []byte, wantStatus string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+lookupPath, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	answer, header, err := do(req)
	if err != nil {
		return err
	}
	if got := header.Get("X-Cache"); got != wantStatus {
		return fmt.Errorf("a lookup has X-Cache: %s, not %s", got, wantStatus)
	}
	if n := bytes.Count(answer, []byte(`{"status":"found"`)); n != lookupShops {
		return fmt.Errorf("a lookup of %d shops has found %d: %.300s", lookupShops, n, answer)
	}
	return nil
}

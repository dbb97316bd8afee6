package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"magellan/internal/zk"
)

// rearmCmd keeps services in memory and watched, in one process, restarts their server, and
// reports a rearmResult. What the server says of its watches is the proof.
type rearmCmd struct {
	Data string `required:"" help:"Where ZooKeeper keeps its data." placeholder:"DIR"`
	fleet
}

// rearmResult is what rearmCmd has found.
type rearmResult struct {
	Sessions, Watches      int
	FullestSession, Budget float64
	FillSeconds            float64
	Memory                 holdResult // what the services have added
	rearmed
	// KnownSeconds is the time from when the server's process was started to when all instances
	// were answered as known to be true.
	KnownSeconds float64
}

// Run measures.
func (c *rearmCmd) Run(ctx context.Context) (err error) {
	server, err := startScaleServer(c.Data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	if err := c.load(ctx, server.Addr()); err != nil {
		return err
	}
	before, err := memory()
	if err != nil {
		return err
	}
	began := time.Now()
	s, err := openServices(ctx, server.Addr(), c.fleet)
	if err != nil {
		return err
	}
	defer s.Close()
	r := rearmResult{FillSeconds: time.Since(began).Seconds()}
	if err := s.waitKnown(ctx, c.fleet); err != nil {
		return err
	}
	after, err := memory()
	if err != nil {
		return err
	}
	r.Memory = after.minus(before)
	if r.Sessions, r.FullestSession, r.Budget, err = budgetOf(s.metrics); err != nil {
		return err
	}
	if r.Watches, err = allWatchesOf(server); err != nil {
		return err
	}
	if r.Watches < c.watches() {
		return fmt.Errorf("the server holds %d watches, fewer than the %d that %v need", r.Watches, c.watches(), c.fleet)
	}
	if r.rearmed, err = restartServer(ctx, server, s.metrics, allWatchesOf, r.Watches, r.Sessions); err != nil {
		return err
	}
	began = time.Now()
	if err := s.waitKnown(ctx, c.fleet); err != nil {
		return err
	}
	r.KnownSeconds = r.RestartSeconds + time.Since(began).Seconds()
	if err := c.rebuild(ctx, server.Addr(), s); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// rebuild proves that the watches tell: instances all over the sessions have another record.
func (c *rearmCmd) rebuild(ctx context.Context, addr string, s *serviceCache) error {
	client, err := openClient(ctx, addr)
	if err != nil {
		return err
	}
	defer client.Close()
	const build = 1_000_000
	changed := min(500, c.all())
	nth := func(i int) int { return i * (c.all() / changed) }
	for i := range changed {
		if _, err := client.Set(ctx, c.znode(nth(i)), []byte(c.record(nth(i), build)), zk.AnyVersion); err != nil {
			return err
		}
	}
	return until(ctx, "hear of all changes", func() error {
		for i := range changed {
			if err := s.has(ctx, c.serviceOf(nth(i)), c.id(nth(i)), build); err != nil {
				return err
			}
		}
		return nil
	})
}

// measureServiceRearm has each fleet in a process and on a server of its own.
func (r *run) measureServiceRearm(ctx context.Context, many, one fleet) error {
	t := &table{head: []string{"services", "sessions", "fullest session, of its budget", "watches", "fill s", "bytes/instance, RSS", "Go", "native",
		"restart s", "of it re-arm s", "connections for it", "all known again s"}}
	for _, f := range []fleet{many, one} {
		data := filepath.Join(r.dir, "rearm")
		var a rearmResult
		if err := runJSON(ctx, exec.Command(r.self, append([]string{"rearm", "--data", data}, f.flags()...)...), &a); err != nil {
			return err
		}
		if err := os.RemoveAll(data); err != nil {
			return err
		}
		r.progress("re-arm: %v, %d watches in %.2f s", f, a.Watches, a.RearmSeconds)
		n := float64(f.all())
		t.add(f.String(), fmt.Sprint(a.Sessions), number(100*a.FullestSession/a.Budget, 1)+" %", number(float64(a.Watches), 0), number(a.FillSeconds, 1),
			number(float64(a.Memory.RSS)/n, 0), number(float64(a.Memory.GoHeap)/n, 0), number(float64(a.Memory.Native)/n, 0),
			number(a.RestartSeconds, 2), number(a.RearmSeconds, 2), number(a.Reconnects, 0), number(a.KnownSeconds, 2))
	}
	r.report.section("Services: re-arming", "One process keeps all instances in memory, each under a watch; their server is killed and started again. Each row has a server of its own. "+
		"The budget is what the watches of a session may take in the one request that sets them again. "+
		"The restart is the time from when the server's process is started to when it holds all watches by its own count (mntr), those on children among them, and the re-arm is what passes of it after the server was seen to take sessions. All are known again when each answer is a HIT. "+
		"Then 500 instances get other records, and all of it is heard of.", t)
	return nil
}

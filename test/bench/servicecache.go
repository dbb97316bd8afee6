package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"magellan/internal/cache"
	"magellan/internal/discovery"
	"magellan/internal/services"
	"magellan/internal/zk"
	"magellan/internal/zk/zkmetrics"
)

// serviceCache is magellan's cache of one mount, with what answers from it.
type serviceCache struct {
	*cache.Cache
	*services.Registry
	metrics *prometheus.Registry
}

// openServices starts a cache as magellan serve has it without shops, and returns once all that is
// below the mount is in memory.
func openServices(ctx context.Context, addr string, f fleet) (*serviceCache, error) {
	s := &serviceCache{metrics: prometheus.NewRegistry()}
	observer, err := zkmetrics.New(s.metrics)
	if err != nil {
		return nil, err
	}
	s.Cache, err = cache.New(cache.Config{
		ZooKeeper:   zk.Config{Servers: []string{addr}, SessionTimeout: scaleSessionTimeout, Observer: observer},
		Root:        "/",
		MaxBytes:    1, // shops have none of it
		ShrinkGuard: cache.DefaultShrinkGuard,
		Logger:      slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
		Registerer:  s.metrics,
	})
	if err != nil {
		return nil, err
	}
	m, err := services.ParseMount(f.mount())
	if err != nil {
		return nil, err
	}
	mounted := services.Mounted{Mount: m, Reader: cache.AddTree(s.Cache, m.Tree())}
	if s.Registry, err = services.New(services.Config{Mounts: []services.Mounted{mounted}, Watcher: s.Cache}); err != nil {
		return nil, err
	}
	if err := s.Cache.Start(); err != nil {
		return nil, err
	}
	if err = s.WaitReady(ctx); err == nil {
		_, err = s.count(ctx, f)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// count returns how many instances are in memory and known to be true. That all are there is checked.
func (s *serviceCache) count(ctx context.Context, f fleet) (hits int, err error) {
	all := 0
	for i := range f.Services {
		a, basis, err := s.Service(ctx, f.service(i), "", discovery.ReadOptions{})
		if err != nil {
			return 0, err
		}
		all += a.Len()
		if basis.Cache == discovery.Hit {
			hits += a.Len()
		}
	}
	if all != f.all() {
		return 0, fmt.Errorf("%d instances are in memory of %d", all, f.all())
	}
	return hits, nil
}

// waitKnown waits until all instances are in memory and known to be true.
func (s *serviceCache) waitKnown(ctx context.Context, f fleet) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return until(ctx, "know all instances", func() error {
		hits, err := s.count(ctx, f)
		if err == nil && hits != f.all() {
			err = errors.New("only " + fmt.Sprint(hits) + " are")
		}
		return err
	})
}

// has returns nil if an instance is in memory with that build, and known to be true.
func (s *serviceCache) has(ctx context.Context, service, id string, build int) error {
	a, basis, err := s.Service(ctx, service, "", discovery.ReadOptions{})
	if err != nil {
		return err
	}
	for one := range a.All {
		for _, m := range one.Members {
			version, _ := m.Meta("version")
			if m.ID == id && toldBuild(build) == fmt.Sprintf(`"version":%q`, version) && basis.Cache == discovery.Hit {
				return nil
			}
		}
	}
	return fmt.Errorf("%s of %s has no build %d (%v)", id, service, build, basis.Cache)
}

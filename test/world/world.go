package world

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"magellan/internal/cache"
	"magellan/internal/httpapi"
	"magellan/internal/services"
	"magellan/internal/zk"
	"magellan/internal/zk/zktest"
)

// Patience bounds each wait for what must happen. It is long because machines that run tests stand
// still for seconds.
const Patience = 2 * time.Minute

// World is a ZooKeeper, and a magellan that serves mounts of it.
type World struct {
	testing.TB
	ZooKeeper *zktest.Server
	Registry  *services.Registry
	// Handler is magellan's HTTP API.
	Handler http.Handler

	mounts []string
	api    *httpapi.Server
	writer *zk.Client // nil until a test writes a znode
}

// New starts a ZooKeeper, and a magellan that serves the given mounts, LAYOUT:PATH each. Without
// ZooKeeper on the machine the test is skipped, or fails if CI=true.
func New(t testing.TB, mounts ...string) *World {
	t.Helper()
	return start(t, zktest.Start(t), mounts)
}

// Replica starts a second magellan on the same ZooKeeper. It serves the same mounts.
func (w *World) Replica() *World {
	w.Helper()
	return start(w.TB, w.ZooKeeper, w.mounts)
}

func start(t testing.TB, server *zktest.Server, mounts []string) *World {
	t.Helper()
	w := &World{TB: t, ZooKeeper: server, mounts: mounts}
	quiet := slog.New(slog.DiscardHandler)
	c, err := cache.New(cache.Config{
		ZooKeeper: zk.Config{Servers: []string{server.Addr()}, SessionTimeout: time.Minute, Logger: quiet},
		Root:      "/", Logger: quiet, ShrinkGuard: cache.DefaultShrinkGuard,
	})
	w.Must(err)
	cfg := services.Config{Watcher: c}
	for _, text := range mounts {
		m, err := services.ParseMount(text)
		w.Must(err)
		cfg.Mounts = append(cfg.Mounts, services.Mounted{Mount: m, Reader: cache.AddTree(c, m.Tree())})
	}
	w.Must(c.Start())
	t.Cleanup(func() { c.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	w.Must(c.WaitReady(ctx))
	w.Registry, err = services.New(cfg)
	w.Must(err)
	w.api, err = httpapi.New(httpapi.Config{Services: w.Registry, Logger: quiet})
	w.Must(err)
	w.Handler = w.api
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), Patience)
		defer cancel()
		w.api.Shutdown(ctx) // what is still open then is cut off
	})
	return w
}

// Serve has magellan serve its API on a loopback address, HOST:PORT, which it returns.
func (w *World) Serve() string {
	w.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	w.Must(err)
	served := make(chan error, 1)
	go func() { served <- w.api.Serve(l) }()
	w.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), Patience)
		defer cancel()
		w.api.Shutdown(ctx) // Serve returns in any case
		if err := <-served; err != nil {
			w.Error(err)
		}
	})
	return l.Addr().String()
}

// Must ends the test if there is an error.
func (w *World) Must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// Eventually waits until check returns nil. If it does not, the test ends with check's last error.
func (w *World) Eventually(what string, check func() error) {
	w.Helper()
	for deadline := time.Now().Add(Patience); ; time.Sleep(10 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			w.Fatalf("%s: still after %v: %v", what, Patience, err)
		}
	}
}

// Missing skips the test because of a tool that is not installed, and fails it with CI=true. install
// says what installs the tool.
func (w *World) Missing(what, install string) {
	w.Helper()
	if os.Getenv("CI") == "true" {
		w.Fatalf("%s is missing: %s installs it", what, install)
	}
	w.Skipf("%s is missing: %s installs it", what, install)
}

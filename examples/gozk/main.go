// Command gozk is a REST wrapper over the ZooKeeper client github.com/Shopify/gozk, as
// many a service has one, with the profiler of C's memory mounted. It is the example of
// docs/finding-a-leak.md: built with the original client of before 2019 it leaks, and
// built as it is here it does not.
//
//	gozk --servers localhost:2181 --listen localhost:8090
//	curl localhost:8090/v1/nodes/zookeeper
//	go tool pprof http://localhost:8090/debug/pprof/native
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	gopprof "net/http/pprof"
	"os"
	"os/signal"
	"syscall"
	"time"

	zookeeper "github.com/Shopify/gozk"

	"magellan/cgo/jemalloc/pprof"
)

func main() {
	servers := flag.String("servers", "localhost:2181", "ZooKeeper's servers, as HOST:PORT,HOST:PORT/CHROOT")
	listen := flag.String("listen", "localhost:8090", "address to serve on; whoever reaches it may read all nodes and all profiles")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "gozk: unexpected %q: there are only flags, see gozk --help\n", flag.Arg(0))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *servers, *listen); err != nil {
		fmt.Fprintln(os.Stderr, "gozk:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, servers, listen string) error {
	zookeeper.SetLogLevel(zookeeper.LOG_ERROR)
	conn, session, err := zookeeper.Dial(servers, 10*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	mux := http.NewServeMux()
	mux.Handle("GET /v1/nodes/{path...}", nodes{conn})
	if err := mountProfiles(mux); err != nil {
		return err
	}
	ended := make(chan error, 2)
	server := &http.Server{Addr: listen, Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { ended <- server.ListenAndServe() }()
	go func() { ended <- follow(session) }()
	slog.Info("serving", slog.String("at", "http://"+listen+"/v1/nodes/"))
	select {
	case err = <-ended:
	case <-ctx.Done():
	}
	closing, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return errors.Join(err, server.Shutdown(closing))
}

// mountProfiles mounts the profiles of C's memory beside those of Go.
func mountProfiles(mux *http.ServeMux) error {
	rec, err := pprof.New(pprof.Config{})
	if err != nil {
		return err
	}
	mux.Handle("GET /debug/pprof/native", rec.Native())
	mux.Handle("/debug/jeprof/", rec.Handler("/debug/jeprof"))
	mux.HandleFunc("GET /debug/pprof/", gopprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", gopprof.Profile)
	mux.HandleFunc("POST /debug/pprof/symbol", gopprof.Symbol)
	return nil
}

// follow logs what happens to the session, and returns when it has ended.
func follow(session <-chan zookeeper.Event) error {
	for event := range session {
		slog.Info(event.String())
		switch event.State {
		case zookeeper.STATE_EXPIRED_SESSION, zookeeper.STATE_AUTH_FAILED:
			return fmt.Errorf("%v; start again", event)
		}
	}
	return nil
}

// nodes answers with one node, which it reads for each request.
type nodes struct{ conn *zookeeper.Conn }

// node is the answer.
type node struct {
	Path     string   `json:"path"`
	Data     string   `json:"data"`
	Children []string `json:"children"`
	Version  int      `json:"version"`
}

// ServeHTTP answers GET /v1/nodes/{path...}.
func (n nodes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := node{Path: "/" + r.PathValue("path"), Children: []string{}}
	data, stat, err := n.conn.Get(answer.Path)
	if err != nil {
		refuse(w, err)
		return
	}
	children, _, err := n.conn.Children(answer.Path)
	if err != nil {
		refuse(w, err)
		return
	}
	answer.Data, answer.Version = data, stat.Version()
	answer.Children = append(answer.Children, children...)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // an error means that the client is gone
}

// refuse says why there is no answer.
func refuse(w http.ResponseWriter, err error) {
	status := http.StatusServiceUnavailable // try again
	switch {
	case zookeeper.IsError(err, zookeeper.ZNONODE):
		status = http.StatusNotFound
	case zookeeper.IsError(err, zookeeper.ZBADARGUMENTS):
		status = http.StatusBadRequest
	case zookeeper.IsError(err, zookeeper.ZNOAUTH):
		status = http.StatusForbidden
	}
	http.Error(w, err.Error(), status)
}

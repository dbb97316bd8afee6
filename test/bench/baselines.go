package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	gozk "github.com/go-zookeeper/zk"
	"github.com/labstack/echo/v4"
)

// serveCmd is one of the Go servers to compare with. It serves on file
// descriptor 3 until it is told to end.
type serveCmd struct {
	Kind      string `arg:"" enum:"echo,nethttp,malloc,naive" help:"echo: a prebuilt body behind a path parameter. nethttp: a prebuilt body. malloc: the same, after many mallocs. naive: one ZooKeeper read per request."`
	Body      string `help:"File with the body to answer with."`
	Zookeeper string `help:"host:port for naive."`
}

// Run serves.
func (s *serveCmd) Run(ctx context.Context) error {
	listener, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		return err
	}
	var handler http.Handler
	switch s.Kind {
	case "naive":
		conn, _, err := gozk.Connect([]string{s.Zookeeper}, 30*time.Second, gozk.WithLogger(log.New(io.Discard, "", 0)))
		if err != nil {
			return err
		}
		defer conn.Close()
		handler = naive(conn)
	default:
		body, err := os.ReadFile(s.Body)
		if err != nil {
			return err
		}
		switch s.Kind {
		case "echo":
			handler = echoPrebuilt(body)
		case "malloc":
			handler = mallocs(body)
		default:
			handler = prebuilt(body)
		}
	}
	server := &http.Server{Handler: handler}
	context.AfterFunc(ctx, func() { server.Close() })
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// echoPrebuilt answers on the route of a shop, the name of which it takes out of
// the path as any handler would.
func echoPrebuilt(body []byte) http.Handler {
	e := echo.New()
	e.GET("/v1/shops/:shop", func(c echo.Context) error {
		if c.Param("shop") == "" {
			return echo.ErrNotFound
		}
		return c.JSONBlob(http.StatusOK, body)
	})
	return e
}

// prebuilt answers everything.
func prebuilt(body []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body) // an error means that the client is gone
	})
}

// naive is the REST wrapper one would write first: each request reads its znode.
// The regions of datacenters, which a real one would have to read too, it knows.
func naive(conn *gozk.Conn) http.Handler {
	regions := map[string]string{}
	for i := range datacenterCount {
		regions[datacenterName(i)] = regionName(i % regionCount)
	}
	type answer struct {
		Shop       string `json:"shop"`
		Datacenter string `json:"datacenter"`
		Region     string `json:"region"`
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/shops/{shop}", func(w http.ResponseWriter, r *http.Request) {
		a := answer{Shop: r.PathValue("shop")}
		data, _, err := conn.Get(layout.Shop(a.Shop))
		if err != nil {
			status := http.StatusServiceUnavailable
			if errors.Is(err, gozk.ErrNoNode) {
				status = http.StatusNotFound
			}
			http.Error(w, err.Error(), status)
			return
		}
		if err := json.Unmarshal(data, &a); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		a.Region = regions[a.Datacenter]
		body, err := json.Marshal(a)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body) // an error means that the client is gone
	})
	return mux
}

package main

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"os"
	"time"

	gozookeeper "github.com/go-zookeeper/zk"
	"github.com/labstack/echo/v4"

	"magellan/test/bench/client"
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
	var handler http.Handler
	switch s.Kind {
	case "naive":
		conn, _, err := gozookeeper.Connect([]string{s.Zookeeper}, 30*time.Second, gozookeeper.WithLogger(log.New(io.Discard, "", 0)))
		if err != nil {
			return err
		}
		defer conn.Close()
		handler = client.REST(layout, regions(), func(path string) ([]byte, error) {
			data, _, err := conn.Get(path)
			if errors.Is(err, gozookeeper.ErrNoNode) {
				err = client.ErrNoNode
			}
			return data, err
		})
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
	return client.Serve(ctx, handler)
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

// regions are those of the datacenters.
func regions() map[string]string {
	all := map[string]string{}
	for i := range datacenterCount {
		all[datacenterName(i)] = regionName(i % regionCount)
	}
	return all
}

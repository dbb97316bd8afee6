// Command gozk is what the bench measures of the ZooKeeper client
// github.com/Shopify/gozk: that of this repository, or the original, with which
// test/bench/run.sh --original builds it again. It is a program of its own because the
// client and magellan's own do not fit into one.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	zookeeper "github.com/Shopify/gozk"
	"github.com/alecthomas/kong"

	"magellan/internal/shops"
	"magellan/test/bench/client"
)

func main() {
	var cli struct {
		Fill  fillCmd  `cmd:"" help:"Read and watch znodes once, by 64 goroutines, and report the time."`
		Serve serveCmd `cmd:"" help:"Serve shops on file descriptor 3, one read per request."`
	}
	k := kong.Parse(&cli, kong.Name("gozk"), kong.UsageOnError())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	k.BindTo(ctx, (*context.Context)(nil))
	if err := k.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "gozk:", err)
		stop()
		os.Exit(1)
	}
}

// dial returns a connection that can be used.
func dial(addr string) (*zookeeper.Conn, error) {
	zookeeper.SetLogLevel(0)
	conn, session, err := zookeeper.Dial(addr, 30*time.Second)
	if err != nil {
		return nil, err
	}
	if event := <-session; !event.Ok() {
		return nil, errors.Join(errors.New(event.String()), conn.Close())
	}
	return conn, nil
}

type fillCmd struct {
	Zookeeper string `required:"" help:"host:port."`
	Znodes    string `required:"" help:"File with a path in each line."`
}

// Run fills.
func (f *fillCmd) Run() error {
	paths, err := client.Paths(f.Znodes)
	if err != nil {
		return err
	}
	conn, err := dial(f.Zookeeper)
	if err != nil {
		return err
	}
	defer conn.Close()
	result, err := client.Fill(paths, func(path string) (int, error) {
		data, _, _, err := conn.GetW(path)
		return len(data), err
	})
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

type serveCmd struct {
	Zookeeper string `required:"" help:"host:port."`
	Layout    string `required:"" help:"JSON of the shops' layout."`
	Regions   string `required:"" help:"JSON of the datacenters' regions."`
}

// Run serves.
func (s *serveCmd) Run(ctx context.Context) error {
	var layout shops.Layout
	var regions map[string]string
	if err := errors.Join(json.Unmarshal([]byte(s.Layout), &layout), json.Unmarshal([]byte(s.Regions), &regions)); err != nil {
		return err
	}
	conn, err := dial(s.Zookeeper)
	if err != nil {
		return err
	}
	defer conn.Close()
	return client.Serve(ctx, client.REST(layout, regions, func(path string) ([]byte, error) {
		data, _, err := conn.Get(path)
		if zookeeper.IsError(err, zookeeper.ZNONODE) {
			err = client.ErrNoNode
		}
		return []byte(data), err
	}))
}

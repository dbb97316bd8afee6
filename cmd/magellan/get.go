package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"magellan/client"
)

type getCommand struct {
	Shop        getShop        `cmd:"" help:"The datacenters and regions of shops."`
	Placement   getPlacement   `cmd:"" help:"Where a new shop should go, and why."`
	BadCitizens getBadCitizens `cmd:"" help:"All bad citizens, or whether the given addresses are among them."`
	Regions     getRegions     `cmd:"" help:"All regions."`
	Datacenters getDatacenters `cmd:"" help:"All datacenters."`
	Service     getService     `cmd:"" help:"The instances of a service."`
	Services    getServices    `cmd:"" help:"All services, and how many instances they have."`
	Znode       getZnode       `cmd:"" help:"What a znode holds."`

	Server  []string      `env:"MAGELLAN_URL" placeholder:"URL" default:"http://127.0.0.1:8080" help:"The server's address. Of several, another one is asked if one has no answer."`
	Follow  bool          `env:"MAGELLAN_GET_FOLLOW" help:"Go on, and print the answer again whenever it has changed."`
	JSON    bool          `env:"MAGELLAN_GET_JSON" help:"Print the server's answer unchanged."`
	Timeout time.Duration `env:"MAGELLAN_GET_TIMEOUT" placeholder:"DURATION" default:"10s" help:"How long to wait for an answer."`
}

// connect returns a client of the servers. The caller closes it.
func (c *getCommand) connect(con *console) (*client.Client, error) {
	cfg := client.Config{Timeout: c.Timeout}
	for _, url := range c.Server {
		cfg.Servers = append(cfg.Servers, strings.TrimSpace(url))
	}
	if c.Follow {
		cfg.Logger = slog.New(slog.NewTextHandler(con.err, nil))
	}
	cl, err := client.New(cfg)
	if err != nil {
		return nil, fail(exitUsage, "--server: %w", err)
	}
	return cl, nil
}

// ask asks a question once. With --json it prints the answer as it came.
func ask[T any](ctx context.Context, c *getCommand, con *console, question func(*client.Client) client.Question[T]) (v T, err error) {
	cl, err := c.connect(con)
	if err != nil {
		return v, err
	}
	defer cl.Close()
	answer, err := question(cl).Get(ctx)
	if err != nil {
		warn(con, answer.Meta)
		return v, c.failed(ctx, err)
	}
	return answer.Value, c.came(con, answer.Meta)
}

// warn says of an answer that it is only the last known one.
func warn(con *console, m client.Meta) {
	if m.Cache == client.Stale {
		fmt.Fprintf(con.err, "magellan: this was true %.0f seconds ago: the server cannot reach ZooKeeper, or cannot serve what ZooKeeper holds (see /admin/problems)\n", m.Age().Seconds())
	}
}

// came says how well an answer is known, and prints it if it is to be printed as it came.
func (c *getCommand) came(con *console, m client.Meta) (err error) {
	warn(con, m)
	if c.JSON {
		_, err = con.out.Write(append(bytes.TrimSuffix(m.Body, []byte{'\n'}), '\n'))
	}
	return err
}

// show asks a question and prints the answer. With --follow it goes on until it is interrupted.
func show[T any](ctx context.Context, c *getCommand, con *console, question func(*client.Client) client.Question[T], print func(io.Writer, T) error) error {
	if !c.Follow {
		v, err := ask(ctx, c, con, question)
		if err != nil || c.JSON {
			return err
		}
		return print(con.out, v)
	}
	cl, err := c.connect(con)
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, stop := whileRead(ctx, con.out)
	defer stop()
	f := question(cl).Follow()
	defer f.Close()
	for answer, err := range f.Changes(ctx) {
		if errors.Is(err, client.ErrNotFound) {
			fmt.Fprintf(con.err, "magellan: %v\n", err)
			continue
		}
		if err != nil {
			return c.failed(ctx, err)
		}
		if err := c.came(con, answer.Meta); err != nil {
			return err
		}
		if c.JSON {
			continue
		}
		if err := print(con.out, answer.Value); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(con.out); err != nil { // between two tables
			return err
		}
	}
	return &codedError{code: exitInterrupted}
}

// failed gives an error of the client its exit code.
func (c *getCommand) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return &codedError{code: exitInterrupted}
	}
	code := exitFailed
	var problem *client.Problem
	switch {
	case errors.Is(err, client.ErrNotFound):
		code = exitNotFound
	case errors.Is(err, client.ErrUnreachable):
		code = exitUnreachable
	case errors.As(err, &problem) && (problem.Status == http.StatusServiceUnavailable || problem.Status == http.StatusGatewayTimeout):
		code = exitUnreachable
	}
	return &codedError{code, err}
}

// only refuses --follow where a command sends several requests.
func (c *getCommand) only(one bool) error {
	if c.Follow && !one {
		return fail(exitUsage, "--follow: give one name")
	}
	return nil
}

// table prints rows in columns; cells are separated by tabs.
func table(w io.Writer, header string, rows func(row func(cells ...any))) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, header)
	rows(func(cells ...any) {
		for i, cell := range cells {
			if i > 0 {
				fmt.Fprint(t, "\t")
			}
			fmt.Fprint(t, cell)
		}
		fmt.Fprintln(t)
	})
	return t.Flush()
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

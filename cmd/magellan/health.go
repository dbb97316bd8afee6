package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// healthCommand is for images that contain only this binary: a health check there has
// no curl.
type healthCommand struct {
	Ready   bool          `env:"MAGELLAN_HEALTH_READY" help:"Check whether the server is ready for requests, not only alive."`
	Listen  string        `env:"MAGELLAN_LISTEN" placeholder:"HOST:PORT" default:":8080" help:"Address on which the server on this machine listens."`
	Server  string        `env:"MAGELLAN_URL" placeholder:"URL" help:"The server's address, if it is not the one of --listen."`
	Timeout time.Duration `env:"MAGELLAN_HEALTH_TIMEOUT" placeholder:"DURATION" default:"2s" help:"How long to wait for an answer."`
}

// Run sends the request. The exit code tells whether the answer was good.
func (c *healthCommand) Run(ctx context.Context, con *console) error {
	server := remote{flag: "--server", url: c.Server, timeout: c.Timeout}
	if path, ok := strings.CutPrefix(c.Listen, unixPrefix); ok && c.Server == "" {
		if err := checkSocket(path); err != nil {
			return fail(exitUsage, "--listen: %w", err)
		}
		server.flag, server.url, server.socket = "--listen", "http://localhost", path
	} else if c.Server == "" {
		host, port, err := net.SplitHostPort(c.Listen)
		if err != nil {
			return fail(exitUsage, "--listen: %w", err)
		}
		if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
			host = "localhost"
		}
		server.flag, server.url = "--listen", "http://"+net.JoinHostPort(host, port)
	}
	path := "/healthz"
	if c.Ready {
		path = "/readyz"
	}
	resp, answer, err := server.ask(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return refusal(server.url, resp, answer)
	}
	_, err = fmt.Fprintf(con.out, "%s", answer)
	return err
}

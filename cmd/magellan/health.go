package main

import (
	"context"
	"encoding/json"
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

// problem is a problem document (RFC 9457), which the server sends with an error.
type problem struct {
	Type, Title, Detail string
}

// refusal turns an answer other than 200 into an error.
func refusal(server string, resp *http.Response, answer []byte) error {
	var p problem
	if json.Unmarshal(answer, &p) != nil || !strings.HasPrefix(p.Type, "urn:magellan:problem:") {
		return fmt.Errorf("%s answered %s, not as magellan does: check --server", server, resp.Status)
	}
	code := exitFailed
	if resp.StatusCode == http.StatusServiceUnavailable || resp.StatusCode == http.StatusGatewayTimeout {
		code = exitUnreachable
	}
	text := p.Detail
	if text == "" {
		text = p.Title
	}
	return fail(code, "%s", text)
}

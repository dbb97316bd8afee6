package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxAnswer is the greatest size of an answer, in bytes.
const maxAnswer = 256 << 20

// remote is a running server, to which a command sends requests.
type remote struct {
	flag    string // the flag that names it
	url     string
	socket  string        // in the file system, to connect to instead of the URL's host
	token   string        // sent as a bearer token if not empty
	timeout time.Duration // of one request
}

// ask sends a request, with body as JSON unless it is nil, and returns the whole
// answer, whatever its status. An error names its cause.
func (r remote) ask(ctx context.Context, method, path string, query url.Values, body any) (*http.Response, []byte, error) {
	base, err := url.Parse(r.url)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, nil, fail(exitUsage, "%s: %q is no URL such as http://HOST:PORT", r.flag, r.url)
	}
	asking, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, nil, err
		}
		content = bytes.NewReader(b)
	}
	target := strings.TrimSuffix(r.url, "/") + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(asking, method, target, content)
	if err != nil {
		return nil, nil, &codedError{exitUsage, err}
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	client := http.DefaultClient
	if r.socket != "" {
		client = &http.Client{Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", r.socket)
			},
		}}
	}
	resp, err := client.Do(req)
	if ctx.Err() != nil {
		return nil, nil, &codedError{code: exitInterrupted}
	}
	if err != nil {
		var why *url.Error
		if errors.As(err, &why) {
			err = why.Err // without the URL, which the message already has
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("no answer within %v", r.timeout)
		}
		return nil, nil, fail(exitUnreachable, "the server %s cannot be reached: %w", base.Redacted(), err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if ctx.Err() != nil {
		return nil, nil, &codedError{code: exitInterrupted}
	}
	if err != nil {
		return nil, nil, fail(exitUnreachable, "the answer of %s is incomplete: %w", base.Redacted(), err)
	}
	return resp, answer, nil
}

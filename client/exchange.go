package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxBody bounds an answer, in bytes.
const maxBody = 256 << 20

// request is what is sent to a server, whichever it is.
type request struct {
	method string // GET if empty
	path   string // escaped
	query  url.Values
	header http.Header
	body   []byte // JSON; nil for none
}

// with returns the request with one header more.
func (r request) with(name, value string) request {
	header := r.header.Clone()
	if header == nil {
		header = http.Header{}
	}
	header.Set(name, value)
	r.header = header
	return r
}

// ask asks the servers in turn, until one knows the answer. A problem that is an answer about the
// data, or about the request, is a reply; an error says that no server could answer.
//
// A STALE answer is the last known one of a server that may be the only one that is cut off. So the
// others are asked then, and the youngest answer counts. They are asked as well if a server does not
// take the request.
func (c *Client) ask(ctx context.Context, r request) (reply, error) {
	var failed failures
	var stale, refusal reply
	stays := false // a server that could not answer this question is still the one to ask
	for _, s := range c.servers.inTurn() {
		got, err := c.askOne(ctx, s, r, c.cfg.Timeout)
		switch {
		case err == nil && got.doubtful():
			if failed = append(failed, got.problem); !got.blames() {
				stays = true
				continue
			}
		case err == nil && got.refused():
			if refusal.Server == "" {
				refusal = got
			}
			continue // as below
		case err == nil && got.Cache != Stale:
			if !stays {
				c.servers.prefer(s)
			}
			return got, nil
		case err == nil:
			if stale.Server == "" || got.Known.After(stale.Known) {
				stale = got
			}
			continue // it is no failure of the server, and another question may succeed there
		case ctx.Err() != nil:
			return reply{}, context.Cause(ctx)
		default:
			failed = append(failed, err)
		}
		c.servers.failed(s)
	}
	switch {
	case stale.Server != "":
		return stale, nil
	case refusal.Server != "" && failed == nil:
		return refusal, nil
	case refusal.Server != "":
		failed = append(failed, refusal.problem) // one of those that have failed may know
	case len(failed) == 1:
		return reply{}, failed[0]
	}
	return reply{}, failed
}

// askOne asks one server, which has so long for its answer. The reply may be a problem; an error
// says that there is none.
func (c *Client) askOne(ctx context.Context, s server, r request, timeout time.Duration) (got reply, err error) {
	asking, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	resp, err := c.send(asking, s, r)
	if err != nil {
		return reply{}, s.cannotBeReached(ctx, asking, timeout, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err == nil && len(body) > maxBody {
		err = fmt.Errorf("it has more than %d bytes", maxBody)
	}
	if err != nil {
		if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("it has not come within %v", timeout)
		}
		return reply{}, &unreachable{"the answer of " + s.name + " is incomplete", err}
	}
	got.Meta = readMeta(s, resp.Header, time.Now())
	switch resp.StatusCode {
	case http.StatusOK:
		got.Body = body
	case http.StatusNotModified:
		got.same = true
	default:
		problem, ok := parseProblem(s, body)
		if !ok {
			return reply{}, &foreign{s.name, resp.Status}
		}
		got.problem = problem
		return got, nil
	}
	if got.Cache == "" {
		return reply{}, &foreign{s.name, resp.Status}
	}
	return got, nil
}

// send sends a request to a server.
func (c *Client) send(ctx context.Context, s server, r request) (*http.Response, error) {
	target := s.url + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	var content io.Reader
	if r.body != nil {
		content = bytes.NewReader(r.body)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, content)
	if err != nil {
		return nil, err
	}
	if r.header != nil {
		req.Header = r.header
	}
	return c.http.Do(req)
}

// cannotBeReached says why a server has not answered. ctx is the caller's context, and asking the
// one with the timeout.
func (s server) cannotBeReached(ctx, asking context.Context, timeout time.Duration, err error) error {
	var why *url.Error
	if errors.As(err, &why) {
		err = why.Err // without the URL, which the message already has
	}
	if ctx.Err() == nil && asking.Err() != nil {
		err = fmt.Errorf("no answer within %v", timeout)
	}
	return &unreachable{"the server " + s.name + " cannot be reached", err}
}

// readMeta reads how well an answer is known from its header. It came at the time now.
func readMeta(s server, header http.Header, now time.Time) Meta {
	m := Meta{Server: s.name, Cache: Cache(header.Get("X-Cache"))}
	// The ETag of a compressed answer has another end, or is weak if a proxy has compressed it. It
	// names the same answer.
	m.ETag = strings.TrimPrefix(strings.Replace(header.Get("ETag"), `-gzip"`, `"`, 1), "W/")
	m.Zxid, _ = ParseZxid(header.Get("X-Zxid")) // there is none if ZooKeeper has nothing of it
	if m.Cache != "" {
		age, _ := strconv.Atoi(header.Get("Age"))
		m.Known = now.Add(-time.Duration(age) * time.Second)
	}
	return m
}

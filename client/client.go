package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// What a [Config] is if it says nothing.
const (
	// DefaultTimeout bounds the answer of one server.
	DefaultTimeout = 10 * time.Second
	// DefaultWait is how long a long poll waits. A server that has died is noticed after it.
	DefaultWait = 25 * time.Second
)

// defaultSilence is how long a stream may be silent. Servers send a sign of life each 15 seconds.
const defaultSilence = 35 * time.Second

// Config says which servers a [Client] asks, and how.
type Config struct {
	// Servers are the URLs of magellan servers, such as http://m1:8080, at least one. All of
	// them must serve the same ZooKeeper. A client begins with any of them.
	Servers []string
	// Transport sends the requests. Nil is a transport of the client's own, which is like
	// [http.DefaultTransport].
	Transport http.RoundTripper
	// Timeout is how long one server has for an answer, or for the beginning of a stream. 0 is
	// [DefaultTimeout].
	Timeout time.Duration
	// Wait is how long a long poll waits for a change. 0 is [DefaultWait]. Servers have a bound
	// of their own.
	Wait time.Duration
	// LongPolls has everything followed by long polls, for networks that do not let streams
	// through. Each follower has a connection then.
	LongPolls bool
	// Logger gets what goes wrong while followers follow. Nil discards it.
	Logger *slog.Logger
}

// Client asks magellan servers. Its methods may be called at the same time.
type Client struct {
	cfg     Config
	http    *http.Client
	servers servers
	silence time.Duration

	// ctx ends with the client.
	ctx   context.Context
	close context.CancelFunc
	// running are the goroutines of followers and streams.
	running sync.WaitGroup
	// confirming bounds how many followers have answers confirmed at the same time: all of them may
	// have a reason to, when a server has lost its newest state.
	confirming chan struct{}

	mu     sync.Mutex
	closed bool
	feeds  []*feed // those that gather keys, and those that are open
}

// New returns a client. It sends nothing by itself. The caller must close the client.
func New(cfg Config) (*Client, error) {
	if len(cfg.Servers) == 0 {
		return nil, errors.New("client: no server is given")
	}
	if cfg.Timeout < 0 || cfg.Wait < 0 {
		return nil, errors.New("client: a duration is negative")
	}
	c := &Client{cfg: cfg, silence: defaultSilence, confirming: make(chan struct{}, maxConfirming)}
	for _, text := range cfg.Servers {
		base, err := url.Parse(text)
		if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" || base.RawQuery != "" || base.Fragment != "" {
			if secret := strings.LastIndex(text, "@"); secret >= 0 {
				text = "..." + text[secret:] // errors are logged
			}
			return nil, fmt.Errorf("%q is no URL such as http://HOST:PORT", text)
		}
		c.servers.all = append(c.servers.all, server{url: strings.TrimSuffix(text, "/"), name: base.Redacted()})
	}
	c.servers.first = rand.N(len(c.servers.all))
	if c.cfg.Timeout == 0 {
		c.cfg.Timeout = DefaultTimeout
	}
	if c.cfg.Wait == 0 {
		c.cfg.Wait = DefaultWait
	}
	if c.cfg.Logger == nil {
		c.cfg.Logger = slog.New(slog.DiscardHandler)
	}
	transport := cfg.Transport
	if transport == nil {
		own := http.DefaultTransport.(*http.Transport).Clone()
		own.MaxIdleConnsPerHost = own.MaxIdleConns
		// Without it a connection of HTTP/2 to nobody is used for ever (golang/go#36026).
		own.HTTP2 = &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second}
		transport = own
	}
	c.http = &http.Client{Transport: transport}
	c.ctx, c.close = context.WithCancel(context.Background())
	return c, nil
}

// Close ends all followers, and returns when nothing of them runs any more. What they know can
// still be asked.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.close()
	c.running.Wait()
	c.http.CloseIdleConnections()
}

// start runs f in a goroutine that Close waits for; it does not if the client is closed.
func (c *Client) start(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.running.Go(f)
}

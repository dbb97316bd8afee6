package client

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"time"
)

// watchKey is an answer in GET /v1/watch.
type watchKey struct {
	// group: a stream has the keys of one group. A server that has none of the shops, say,
	// refuses a stream of shops, and must not refuse one of services with it.
	group string
	// parameter and name are the query parameter and its value; an answer without a name has
	// the parameter only.
	parameter, name string
}

// String is the key as it stands in events.
func (k watchKey) String() string {
	if k.name == "" {
		return k.parameter
	}
	return k.parameter + "=" + k.name
}

// query is the key as it stands in a query.
func (k watchKey) query() string {
	if k.name == "" {
		return k.parameter
	}
	return k.parameter + "=" + url.QueryEscape(k.name)
}

// A stream has at most so many keys, in a query of so many bytes: servers take 500 keys, and 16,384
// bytes of request line and header; but nginx and Apache take no request line of more than 8 KiB,
// unless they are told to.
const (
	maxFeedKeys  = 500
	maxFeedQuery = 7 << 10
)

// steady is how long a stream must last to be none of the failures that pauses grow with.
const steady = 5 * time.Second

// gatherFor is how long a new feed waits for more keys.
const gatherFor = 5 * time.Millisecond

// feed is a stream that tails share, or will be once its keys have come together.
//
// A stream cannot take further keys. So keys that come later make a feed of their own; and a feed
// takes the keys of a former one that has not more keys than itself. That way there are few streams,
// and each key moves few times, however the keys come.
type feed struct {
	client *Client
	group  string
	ctx    context.Context
	stop   context.CancelFunc
	// began is when the stream had the answers; zero if it has not come so far. It is run's own.
	began time.Time

	// The rest is under client.mu.

	tails map[watchKey][]*tail
	bytes int // of the query
	// open: the stream has begun, so that no key can be added.
	open bool
	// alone: the feed is part of one that the servers have refused, and may be refused as well.
	// Until it is not, no other feed takes its keys.
	alone bool
}

func (c *Client) newFeed(group string) *feed {
	f := &feed{client: c, group: group, tails: map[watchKey][]*tail{}}
	f.ctx, f.stop = context.WithCancel(c.ctx)
	c.feeds = append(c.feeds, f)
	return f
}

// fits reports whether the keys of another feed can be added.
func (f *feed) fits(keys, bytes int) bool {
	return len(f.tails)+keys <= maxFeedKeys && f.bytes+bytes <= maxFeedQuery
}

// add adds a tail. The caller holds client.mu.
func (f *feed) add(t *tail) {
	if f.tails[t.key] == nil {
		f.bytes += len(t.key.query()) + 1
	}
	f.tails[t.key] = append(f.tails[t.key], t)
	t.feed = f
}

// drop removes the feed from the client. The caller holds client.mu.
func (f *feed) drop() {
	f.stop()
	f.client.feeds = slices.DeleteFunc(f.client.feeds, func(other *feed) bool { return other == f })
}

// follow adds a tail to the feed that gathers keys.
func (c *Client) follow(t *tail) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	for _, f := range c.feeds {
		if !f.open && f.group == t.key.group && f.fits(1, len(t.key.query())+1) {
			f.add(t)
			return
		}
	}
	f := c.newFeed(t.key.group)
	f.add(t)
	c.running.Go(func() {
		if sleep(f.ctx, gatherFor) {
			f.gathered()
			f.run()
		}
	})
}

// unfollow takes a tail out of its feed. The stream goes on with the others.
func (c *Client) unfollow(t *tail) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := t.feed
	if f == nil {
		return
	}
	t.feed = nil
	f.tails[t.key] = slices.DeleteFunc(f.tails[t.key], func(other *tail) bool { return other == t })
	if len(f.tails[t.key]) == 0 {
		delete(f.tails, t.key)
		f.bytes -= len(t.key.query()) + 1
	}
	if len(f.tails) == 0 {
		f.drop()
	}
}

// gathered ends the gathering of keys: it takes those of smaller feeds.
func (f *feed) gathered() {
	c := f.client
	c.mu.Lock()
	defer c.mu.Unlock()
	f.open = true
	smallestFirst := slices.SortedStableFunc(slices.Values(c.feeds), func(a, b *feed) int { return len(a.tails) - len(b.tails) })
	for _, other := range smallestFirst {
		if other == f || !other.open || other.alone || other.group != f.group || len(other.tails) > len(f.tails) || !f.fits(len(other.tails), other.bytes) {
			continue
		}
		for _, tails := range other.tails {
			for _, t := range tails {
				f.add(t)
			}
		}
		other.drop()
	}
}

// run keeps the stream open until the feed ends.
func (f *feed) run() {
	var failed backoff
	var has resume
	refusals := 0 // in a row
	lookout := &lookout{client: f.client}
	for f.ctx.Err() == nil {
		query, all := f.keys()
		s := f.client.servers.preferred()
		f.began = time.Time{}
		status, err := f.stream(s, query, all, &has, lookout)
		if f.ctx.Err() != nil {
			return
		}
		f.each(func(t *tail) { t.doubt(err) })
		f.client.cfg.Logger.Warn("a stream has ended", slog.String("server", s.name), slog.Int("keys", len(all)), slog.Any("err", err))
		f.client.servers.failed(s)
		if !refused(status) {
			refusals = 0
		} else if refusals++; refusals == len(f.client.servers.all) {
			f.split()
			return
		}
		if !f.began.IsZero() && time.Since(f.began) > steady {
			failed = backoff{}
		}
		if orderly := (*ended)(nil); errors.As(err, &orderly) {
			// All streams of that server end now, and need not begin at another one at once.
			sleep(f.ctx, rand.N(mostOrderly))
		}
		failed.pause(f.ctx, len(f.client.servers.all))
	}
}

// mostOrderly is how long a stream may wait that its server has ended in order, as at a restart.
const mostOrderly = time.Second

// accepted notes that a server has this stream, so that its keys may be in one with others.
func (f *feed) accepted() {
	f.began = time.Now()
	f.client.mu.Lock()
	defer f.client.mu.Unlock()
	f.alone = false
}

// refused reports whether a status says that a server will not have this stream, whenever it is
// asked.
func refused(status int) bool {
	return status >= 400 && status < 500 && !passing[status] || status == statusNotServed
}

// keys returns the query of the stream, and its keys as they stand in events.
func (f *feed) keys() (query string, all map[string]watchKey) {
	f.client.mu.Lock()
	defer f.client.mu.Unlock()
	all = make(map[string]watchKey, len(f.tails))
	parts := make([]string, 0, len(f.tails))
	for k := range f.tails {
		all[k.String()] = k
		parts = append(parts, k.query())
	}
	slices.Sort(parts) // the ids of events hold for one order of the keys
	return strings.Join(parts, "&"), all
}

// of returns the tails of a key.
func (f *feed) of(k watchKey) []*tail {
	f.client.mu.Lock()
	defer f.client.mu.Unlock()
	return slices.Clone(f.tails[k])
}

// each calls do with each tail.
func (f *feed) each(do func(*tail)) {
	f.client.mu.Lock()
	all := slices.Concat(slices.Collect(maps.Values(f.tails))...)
	f.client.mu.Unlock()
	for _, t := range all {
		do(t)
	}
}

// split follows the keys of a feed that was refused in two feeds, until the key is alone that no
// stream may have. That one is followed by long polls, which say what is wrong with it.
func (f *feed) split() {
	c := f.client
	c.mu.Lock()
	defer c.mu.Unlock()
	defer f.drop()
	keys := slices.Collect(maps.Keys(f.tails))
	if c.closed {
		return
	}
	if len(keys) == 1 {
		for _, t := range f.tails[keys[0]] {
			t.feed = nil
			c.running.Go(t.poll)
		}
		return
	}
	for half := range slices.Chunk(keys, (len(keys)+1)/2) {
		part := c.newFeed(f.group)
		part.open, part.alone = true, true
		for _, k := range half {
			for _, t := range f.tails[k] {
				part.add(t)
			}
		}
		c.running.Go(part.run)
	}
}

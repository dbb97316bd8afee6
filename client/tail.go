package client

import (
	"context"
	"sync"
	"time"
)

// patience is how long a follower keeps an answer although servers have an older state.
const patience = time.Minute

// maxConfirming is how many followers of a client may ask for a confirmation at the same time.
const maxConfirming = 16

// tail is a follower without the type of its value: the last answer, and whether it may be
// replaced. Who fetches the answers is a feed, which many tails share, or the tail's own poll.
type tail struct {
	client *Client
	ask    request
	key    watchKey
	decode func([]byte) (any, error)

	ctx  context.Context
	stop context.CancelFunc

	mu    sync.Mutex
	known bool
	// answer is the last one, and value what it says unless it is a problem.
	answer  reply
	value   any
	changed chan struct{} // closed when there is another answer
	// newest is the newest transaction of all answers so far.
	newest Zxid
	// heard is the state of the last reply of the stream or long poll, which may be one that was too
	// old to count. What confirms is another reply, and maybe of another server.
	heard string
	// confirming: a reply of an older state is being confirmed. again: another has come since.
	confirming, again bool
	olderSince        time.Time
	othersAsked       time.Time

	feed *feed // under client.mu
}

func newTail(c *Client, ask request, key watchKey, decode func([]byte) (any, error)) *tail {
	t := &tail{client: c, ask: ask, key: key, decode: decode, changed: make(chan struct{})}
	t.ctx, t.stop = context.WithCancel(c.ctx)
	return t
}

// begin has the answers fetched.
func (t *tail) begin() {
	if t.key.group == "" || t.client.cfg.LongPolls {
		t.client.start(t.poll)
		return
	}
	t.client.follow(t)
}

func (t *tail) close() {
	t.stop()
	t.client.unfollow(t)
}

// until waits for a change. It returns why there will be none.
func (t *tail) until(ctx context.Context, changed <-chan struct{}) error {
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.ctx.Done():
		return ErrClosed
	}
}

// take takes a reply of a server. It returns false if the reply is of an older state than the last
// answer, so that it does not count yet.
func (t *tail) take(r reply) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.doubtful() {
		t.answer.Doubt = r.problem
		if !r.blames() && len(t.client.servers.all) > 1 && time.Since(t.othersAsked) > staleAfter {
			t.othersAsked = time.Now()
			t.client.start(t.askOthers)
		}
		return true
	}
	t.heard = r.state()
	return t.consider(r)
}

// consider makes a reply the last answer unless it is of an older state: that is confirmed. t.mu is
// held.
func (t *tail) consider(r reply) bool {
	if t.older(r) {
		t.confirm()
		return false
	}
	t.install(r)
	return true
}

// askOthers asks all servers what one of them could not read, and which another one may have read
// before it could not be read any more.
func (t *tail) askOthers() {
	if got, err := t.client.ask(t.ctx, t.ask); err == nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.consider(got) // it is another server's: heard stays
	}
}

// older reports whether a reply may be of an older state than the last answer.
//
// What has been deleted has no transaction that tells of it: the answer without it has an older one
// than the answer with it, or none. Once such an answer counts, the newest transaction is no proof
// any more.
func (t *tail) older(r reply) bool {
	return t.known && !t.says(r) && (r.Zxid < t.newest || r.Zxid == t.newest && t.deleted())
}

// deleted reports whether the last answer lacks what the newest transaction has made.
func (t *tail) deleted() bool { return t.answer.Zxid < t.newest }

// says reports whether the last answer says what a reply says.
func (t *tail) says(r reply) bool {
	return t.known && (r.same && r.ETag == "" || r.state() == t.answer.state())
}

// install makes a reply the last answer. t.mu is held.
func (t *tail) install(r reply) {
	t.newest = max(t.newest, r.Zxid)
	if t.says(r) {
		if r.Known.After(t.answer.Known) {
			t.answer.Known, t.answer.Cache, t.answer.Server = r.Known, r.Cache, r.Server
		}
		t.answer.Zxid, t.answer.Doubt = max(t.answer.Zxid, r.Zxid), stale(r.Server, r.Cache, r.Age())
		return
	}
	if r.same {
		return // what it names was never an answer here
	}
	var value any
	if r.problem == nil {
		var err error
		if value, err = t.decode(r.Body); err != nil {
			t.answer.Doubt = err
			return
		}
	}
	t.known, t.answer, t.value = true, r, value
	t.answer.Doubt = stale(r.Server, r.Cache, r.Age())
	close(t.changed)
	t.changed = make(chan struct{})
}

// vouched notes that a server knew its last reply to be true at this time.
func (t *tail) vouched(server string, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case !t.known:
	case t.heard != t.answer.state():
		// The server still says something else. What counts has been asked for only once.
		t.confirm()
	case at.After(t.answer.Known.Add(time.Second)):
		t.answer.Known = at
		if t.answer.Cache == Stale {
			t.answer.Cache = Hit
		}
		fallthrough
	case t.answer.Cache != Stale: // otherwise this is the age that the reply had, and no news
		t.answer.Doubt = stale(server, "", time.Since(at))
	}
}

// doubt notes why nobody vouches for the answer now.
func (t *tail) doubt(why error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answer.Doubt = why
}

// confirm asks for an answer that has the newest transaction in it. t.mu is held.
func (t *tail) confirm() {
	if t.again = t.confirming; t.again {
		return
	}
	t.confirming = true
	if t.olderSince.IsZero() {
		t.olderSince = time.Now()
	}
	t.client.start(t.confirmed)
}

// confirmed asks until a server has an answer that counts. That is one of a state that has the
// newest transaction in it, or one that was just read if that transaction proves nothing; or any, if
// servers have had only older ones for longer than patience.
func (t *tail) confirmed() {
	var failed backoff
	for {
		select {
		case t.client.confirming <- struct{}{}:
		case <-t.ctx.Done():
			return
		}
		t.mu.Lock()
		newest, deleted, undone := t.newest, t.deleted(), time.Since(t.olderSince) > patience
		t.again = false
		t.mu.Unlock()
		ask := t.ask
		if !undone {
			ask = ask.with("X-Min-Zxid", newest.String())
			if deleted {
				ask = ask.with("Cache-Control", "no-cache")
			}
		}
		got, err := t.client.ask(t.ctx, ask)
		<-t.client.confirming
		if t.ctx.Err() != nil {
			return
		}
		t.mu.Lock()
		newer := t.newest != newest // it has come meanwhile, so that nothing is to be confirmed
		switch {
		case newer:
		case err != nil:
			t.answer.Doubt = err
		default:
			if undone {
				t.newest = got.Zxid
			}
			t.install(got)
		}
		if (newer || err == nil) && !t.again {
			t.confirming, t.olderSince = false, time.Time{}
			t.mu.Unlock()
			return
		}
		t.mu.Unlock()
		failed.pause(t.ctx, 1)
	}
}

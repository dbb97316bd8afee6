package zk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

// A server refuses a session that has seen a transaction which the server has not,
// by closing the connection before it has answered anything. Of a follower that lags
// behind that is right, and libzookeeper goes to the next server. But where ZooKeeper
// has lost transactions, as by a restore from a backup or by an empty data directory,
// every server does so, and libzookeeper tries for ever.
//
// To tell the one from the other the client opens a second session, the probe. It has
// seen nothing, so no server refuses it, and after a sync it knows how far ZooKeeper
// has come: at least as far as the refused session where a follower lags, and less far
// where transactions are lost. A leader that is cut off from the others may say the
// latter, too, until it gives up. So the refused session is given up only after
// Config.LostAfter of such answers, one after the other; or when a server takes it
// back after all, because so many transactions have been written since: watches that
// were set before the loss are good for nothing.

// DefaultLostAfter is longer than a leader that is cut off goes on, which is syncLimit
// ticks: 10 to 20 s as most have it.
const DefaultLostAfter = time.Minute

// Refusal says that no server takes the session any more, because ZooKeeper has lost
// transactions that the session has seen.
type Refusal struct {
	// Since is when that became known.
	Since time.Time
	// Seen is the newest transaction that the session has seen, Has the newest one
	// that ZooKeeper has. They are 0 where libzookeeper does not tell, see Zxid.
	Seen, Has int64
	// LostAfter is Config.LostAfter.
	LostAfter time.Duration
}

// Error says what has happened and what will be.
func (r *Refusal) Error() string {
	var how string
	if r.Seen != 0 {
		how = fmt.Sprintf(" (it has come to %#x, the session had seen %#x)", r.Has, r.Seen)
	}
	return fmt.Sprintf("ZooKeeper has lost transactions, as by a restore from a backup or an empty data directory%s, "+
		"and so refuses the session; unless they come back, another session is opened %v after that became known",
		how, r.LostAfter)
}

// Refused returns why no server takes the session; nil if that is not so, or not
// known to be so: then the client is connected, or no server can be reached, or those
// that can be lag behind the others.
func (c *client) Refused() *Refusal {
	if d := c.doubt.Load(); d != nil {
		return d.proved.Load()
	}
	return nil
}

// doubt is the time from a session's first refusal until a server takes it back, or
// it ends.
type doubt struct {
	handle uint64        // the number of the session's handle
	seen   atomic.Int64  // see Refusal
	over   chan struct{} // closed at the end
	// proved is set once ZooKeeper is known to have lost transactions, and stays.
	proved atomic.Pointer[Refusal]
}

// onRefused notes that a server has closed a connection before it has answered
// whether the session goes on, on the dispatcher. seen is the newest transaction that
// the handle has seen.
func (c *client) onRefused(number uint64, seen int64) {
	c.observer.Add(SessionsRefused, 1)
	if d := c.doubt.Load(); d != nil && d.handle == number {
		d.seen.Store(max(seen, d.seen.Load()))
		return
	}
	// Who has no session yet has seen nothing.
	if number != c.progress.handle || c.cfg.LostAfter < 0 {
		return
	}
	d := &doubt{handle: number, over: make(chan struct{})}
	d.seen.Store(seen)
	c.mu.RLock() // Close waits for background once it has had mu
	defer c.mu.RUnlock()
	if c.closing || c.handle == nil || c.handle.number != number {
		return
	}
	c.doubt.Store(d)
	c.background.Add(1)
	go c.investigate(d)
}

// endDoubt ends the doubt, if there is one. It returns whether ZooKeeper is known to
// have lost transactions.
func (c *client) endDoubt() (lost bool) {
	d := c.doubt.Swap(nil)
	if d == nil {
		return false
	}
	close(d.over)
	return d.proved.Load() != nil
}

// giveUp ends a session although a server may know it still: ZooKeeper has lost what
// it has seen. On the dispatcher.
func (c *client) giveUp(h *handle, because string) {
	c.log.Warn("zookeeper: the session is given up and another one is opened, because transactions are lost", slog.String("because", because),
		slog.String("session_id", hexID(c.SessionID())))
	c.observer.Add(SessionsReopened, 1)
	c.setState(Expired)
	c.dropHandle(h, ErrSessionExpired, 0)
}

// onLost gives the session of a handle up that was refused for long enough.
func (c *client) onLost(number uint64) {
	c.mu.RLock()
	h := c.handle
	c.mu.RUnlock()
	if d := c.doubt.Load(); h != nil && h.number == number && d != nil && d.handle == number {
		c.giveUp(h, fmt.Sprintf("no server takes it for %v", c.cfg.LostAfter))
	}
}

// errAtEnd ends what the investigation waits for.
var errAtEnd = errors.New("the session is not in doubt any more")

// investigate asks, until the doubt is over, how far ZooKeeper has come.
func (c *client) investigate(d *doubt) {
	defer c.background.Done()
	defer func() {
		if d.proved.Load() != nil {
			c.observer.Add(SessionsInDoubt, -1)
		}
	}()
	ctx, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	go func() {
		select {
		case <-d.over:
		case <-c.quit:
		case <-ctx.Done():
		}
		stop(errAtEnd)
	}()
	pause := min(c.cfg.LostAfter/12, 5*time.Second)
	var p probe
	defer p.close()
	// behind is for how long all answers have said that transactions are lost. A step
	// counts twice the pause at most: what passes while this process stands still
	// says nothing.
	var behind time.Duration
	var last time.Time
	for {
		// The pause comes first: a server that is being started refuses sessions, too,
		// and mostly takes them before it is over.
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		at, err := p.ask(ctx, c)
		now := time.Now()
		switch {
		case err != nil:
			// Nobody serves.
			last, behind = time.Time{}, 0
		case at != 0 && at >= d.seen.Load():
			// Nothing is lost: those who refuse the session lag behind.
			last, behind = time.Time{}, 0
		case last.IsZero():
			// The leader may be about to apply what its followers have already.
			last = now
		default:
			behind += min(now.Sub(last), 2*pause)
			last = now
			c.prove(d, at)
		}
		if behind >= c.cfg.LostAfter {
			c.wakeDispatcher(wakeLost, int32(d.handle))
		}
	}
}

// prove notes that ZooKeeper has lost transactions.
func (c *client) prove(d *doubt, at int64) {
	r := &Refusal{Since: time.Now(), Seen: d.seen.Load(), Has: at, LostAfter: c.cfg.LostAfter}
	if was := d.proved.Load(); was != nil {
		r.Since = was.Since
		d.proved.Store(r)
		return
	}
	c.observer.Add(SessionsInDoubt, 1)
	d.proved.Store(r)
	c.log.Warn("zookeeper: "+r.Error(), slog.String("session_id", hexID(c.SessionID())))
}

// probe is a client of its own that tells how far ZooKeeper has come.
type probe struct{ client *Client }

// ask returns the newest transaction of ZooKeeper, after a sync; 0 where libzookeeper
// does not tell. A probe that does not come to an answer may have been refused itself,
// by another restore: the next question has another one.
func (p *probe) ask(ctx context.Context, c *client) (zxid int64, err error) {
	if p.client == nil {
		cfg := Config{Servers: c.Servers(), SessionTimeout: c.cfg.SessionTimeout, TLS: c.cfg.TLS, Heartbeat: -1, LostAfter: -1}
		if p.client, err = Open(cfg); err != nil {
			return 0, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.LostAfter)
	defer cancel()
	if err = p.client.WaitReady(ctx); err == nil {
		err = p.client.Sync(ctx, "/")
	}
	if err != nil {
		p.close()
		return 0, err
	}
	return p.client.Zxid(), nil
}

func (p *probe) close() {
	if p.client != nil {
		_ = p.client.Close() // what is left of it ends by itself
		p.client = nil
	}
}

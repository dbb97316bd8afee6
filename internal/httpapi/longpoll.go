package httpapi

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// poll is a long poll: a request with If-None-Match and "Prefer: wait", or with Consul's index,
// whose answer the client has already. The question is asked again whenever something that the answer depends
// on has changed. The first answer with another hash is written. If there is none until the
// end of the wait, the client gets 304, or what it has once more if it named an index.
type poll struct {
	dependencies
	wait  time.Duration
	woken chan struct{}
	// drained is closed when the poll has to end because the server is being stopped.
	drained <-chan struct{}
	// learnt is when the cache learnt of the first change since the last look, in nanoseconds
	// of Unix time; 0 if that is unknown.
	learnt atomic.Int64
	waited time.Duration
	// over: the wait has ended. If the client has the next answer already, it gets 304.
	over bool
}

// Changed implements discovery.Observer.
func (p *poll) Changed(at time.Time) {
	if !at.IsZero() {
		p.learnt.CompareAndSwap(0, at.UnixNano())
	}
	select {
	case p.woken <- struct{}{}:
	default:
	}
}

// mayWait returns how long the client prefers to wait if it has the answer already, instead of
// getting 304; 0 if it does not. A request with a body does not wait, for two reasons. Until the body has come
// net/http does not notice that the client has left. And after the answer net/http reads the
// rest of the body with the deadline from before the wait.
func (x *exchange) mayWait() (wait time.Duration) {
	prefer := x.r.Header["Prefer"]
	switch {
	case x.r.ContentLength != 0:
	case x.answer.index != 0:
		return x.answer.wait
	case prefer != nil && x.route.waits:
		wait, _ = preferredWait(prefer)
	}
	return wait
}

// longPoll goes on after a first answer that the client has already. It waits as long as the client
// wants.
func (x *exchange) longPoll(wait time.Duration) error {
	s, q, a := x.server, &x.question, &x.answer
	if s.drain.begun() {
		return errDraining
	}
	if s.waiting.polls.Add(1) > int64(s.cfg.MaxPolls) {
		s.waiting.polls.Add(-1)
		return &requestError{kindOverloaded, fmt.Sprintf("%d requests wait for a change already; ask without Prefer: wait, or elsewhere", s.cfg.MaxPolls)}
	}
	defer s.waiting.polls.Add(-1)

	wait = min(wait, s.cfg.MaxWait)
	p := &poll{wait: wait, woken: make(chan struct{}, 1), drained: s.drain.group()}
	p.watcher, p.observer = s.watcher(x.route.of), p
	defer func() {
		p.stop()
		x.waited = p.waited
	}()
	header := x.w.Header()
	if a.index == 0 {
		header["Preference-Applied"] = []string{"wait=" + strconv.FormatInt(int64(wait/time.Second), 10)}
	}
	control := http.NewResponseController(x.w)
	// A client that has this index has this body. A greater index under which nothing else is said
	// is no reason to answer: a service's index grows with the list of the directory above, for one.
	indexed, has := a.index != 0 && a.known == a.index, a.hash

	// Clients that began together need not come back together.
	end := x.start.Add(wait - rand.N(wait/10+1))
	for {
		p.begun = false
		learnt := p.learnt.Swap(0)
		// net/http's bound on writing counts from the request. The answer gets its full time.
		_ = control.SetWriteDeadline(time.Now().Add(s.cfg.WriteTimeout))
		if s.drain.begun() {
			header["Connection"] = closeConnection
		}
		x.ctx = x.ctx.renewed(x.r.Context(), time.Now().Add(s.cfg.RequestTimeout))
		q.ctx = x.ctx
		a.reset(maxKeptBody)
		err := x.route.handle(q, a)
		p.follow(a)
		pause := time.Until(end)
		switch unchanged := err == nil && (x.unchanged() || indexed && a.hash == has); {
		case unchanged && !p.over && !p.nothing():
			p.answered()
			if p.begun {
				continue // what changed before it was watched shows now
			}
			if in, ok := p.expiresIn(); ok {
				pause = min(pause, in)
			}
		case err != nil && passing(err) && !p.over:
			pause = min(pause, p.retryIn())
		case err != nil:
			return err
		default:
			if learnt != 0 {
				s.metrics.propagation.poll.Observe(time.Since(time.Unix(0, learnt)).Seconds())
			}
			return x.writeAnswer()
		}
		if err := p.pause(x, pause, end); err != nil {
			return err
		}
	}
}

// pause waits until something changes, d is over, the whole wait has ended, or the server is
// being stopped. In the last two cases it sets p.over. It returns an error if the client has
// left.
func (p *poll) pause(x *exchange, d time.Duration, end time.Time) error {
	began := time.Now()
	defer func() { p.waited += time.Since(began) }()
	next := func() time.Duration { return max(min(d-time.Since(began), x.server.cfg.Heartbeat), 0) }
	timer := time.NewTimer(next())
	defer timer.Stop()
	for {
		select {
		case <-p.woken:
		case <-timer.C:
			if hungUp(x.conn) {
				return errHungUp
			}
			if time.Since(began) < d {
				timer.Reset(next())
				continue
			}
			p.over = !time.Now().Before(end)
		case <-p.drained:
			p.over = true
		case <-x.r.Context().Done():
			return context.Cause(x.r.Context())
		}
		return nil
	}
}

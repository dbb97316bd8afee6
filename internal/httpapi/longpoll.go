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

// poll is a long poll: a request with If-None-Match and "Prefer: wait" whose
// answer the client has. The handler is run again whenever something the answer
// depends on has changed, and the first run that gives other bytes answers. At
// the end of the wait there is 304.
type poll struct {
	dependencies
	wait  time.Duration
	woken chan struct{}
	// drained is closed when the server, which is being stopped, lets the poll go.
	drained <-chan struct{}
	// learnt is when the first change was learnt of since the last look, in
	// nanoseconds of Unix time; 0 where that is unknown.
	learnt atomic.Int64
	waited time.Duration
	// over: nobody waits any longer; an answer that the client has is a 304.
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

// mayWait reports whether an answer the client has is to be waited out rather
// than to be a 304. A request with a body is not: while that is to come, net/http
// looks for nothing else on the connection, so not for its end, and afterwards
// reads what is left of it with the time that a wait has taken off.
func (x *exchange) mayWait() bool {
	prefer := x.r.Header["Prefer"]
	if prefer == nil || !x.route.waits || x.r.ContentLength != 0 {
		return false
	}
	wait, ok := preferredWait(prefer)
	return ok && wait > 0
}

// longPoll goes on after a first answer that the client has already.
func (x *exchange) longPoll() error {
	s, q, a := x.server, &x.question, &x.answer
	if s.drain.begun() {
		return errDraining
	}
	if s.waiting.polls.Add(1) > int64(s.cfg.MaxPolls) {
		s.waiting.polls.Add(-1)
		return &requestError{kindOverloaded, fmt.Sprintf("%d requests wait for a change already; ask without Prefer: wait, or elsewhere", s.cfg.MaxPolls)}
	}
	defer s.waiting.polls.Add(-1)

	wait, _ := preferredWait(x.r.Header["Prefer"])
	wait = min(wait, s.cfg.MaxWait)
	p := &poll{wait: wait, woken: make(chan struct{}, 1), drained: s.drain.group()}
	p.service, p.observer = s.service, p
	defer func() {
		p.stop()
		x.waited = p.waited
	}()
	header := x.w.Header()
	header["Preference-Applied"] = []string{"wait=" + strconv.FormatInt(int64(wait/time.Second), 10)}
	control := http.NewResponseController(x.w)

	// Clients that began together need not come back together.
	end := x.start.Add(wait - rand.N(wait/10+1))
	for {
		p.begun = false
		learnt := p.learnt.Swap(0)
		// net/http's bound on writing counts from the request; an answer has its own.
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
		switch unchanged := err == nil && x.unchanged(); {
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

// pause waits for a change, for d, for the end of the whole wait, and for the
// server's: the last two are the last look's cue.
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

package httpapi

import (
	"errors"
	"math/rand/v2"
	"time"

	"magellan/internal/discovery"
	"magellan/internal/shops"
)

// errUnchanged is what a handler ends in when the client has its answer already
// and is content to wait for another. Nothing has been written then.
var errUnchanged = errors.New("the client has this answer already")

// dependencies are what an answer is made of that somebody waits for another of.
// A handler names them each time it is run; it may name others in each run, as a
// shop that moves depends on another datacenter.
type dependencies struct {
	service  *shops.Service
	observer discovery.Observer
	watches  [2]*discovery.Watch
	// until is when the answer changes by itself, zero if it does not; now is
	// the time at which that was found out. Both are of the Service's clock.
	until, now time.Time
	// begun: a watch was begun since the answer was looked at, so that it must be
	// looked at again.
	begun bool
	// over: nobody waits any longer; an answer the client has is a 304.
	over bool
	// retry is the last pause of retryIn, 0 if ZooKeeper could be asked last.
	retry time.Duration
}

// After ZooKeeper could not be asked, who waits looks again after firstRetry, then
// twice as long each time up to lastRetry, with up to as much added at random: with
// 50,000 waiting, looks are work. A change that is told of is looked at at once in
// any case.
const (
	firstRetry = 500 * time.Millisecond
	lastRetry  = 16 * time.Second
)

// retryIn is how long to wait after a look that ZooKeeper was away for.
func (d *dependencies) retryIn() time.Duration {
	d.retry = min(max(2*d.retry, firstRetry), lastRetry)
	return d.retry + rand.N(d.retry)
}

// answered notes that ZooKeeper was not away.
func (d *dependencies) answered() { d.retry = 0 }

// on names what the answer depends on: at most two topics.
func (d *dependencies) on(topics ...discovery.Topic) {
	d.until = time.Time{}
	for i := range d.watches {
		w := d.watches[i]
		if i < len(topics) && w != nil && w.Topic() == topics[i] {
			continue
		}
		if w != nil {
			w.Stop()
			d.watches[i] = nil
		}
		if i < len(topics) {
			d.watches[i] = d.service.Watch(topics[i], d.observer)
			d.begun = true
		}
	}
}

// expires says when the answer changes by itself, as seen at now.
func (d *dependencies) expires(at, now time.Time) { d.until, d.now = at, now }

// maxExpiry bounds how long a wait for the clock goes on: clocks are set.
const maxExpiry = time.Minute

// expiresIn is how long it takes until the answer changes by itself; false if it
// never does.
func (d *dependencies) expiresIn() (time.Duration, bool) {
	if d.until.IsZero() {
		return 0, false
	}
	return min(max(d.until.Sub(d.now), time.Millisecond), maxExpiry), true
}

// nothing reports whether the answer depends on nothing that can change.
func (d *dependencies) nothing() bool { return d.watches == [2]*discovery.Watch{} && d.until.IsZero() }

func (d *dependencies) stop() {
	for i, w := range d.watches {
		if w != nil {
			w.Stop()
			d.watches[i] = nil
		}
	}
}

// passing reports whether an error says nothing about the data, so that who
// waits for a change goes on waiting.
func passing(err error) bool {
	switch kindOf(err) {
	case kindUnavailable, kindUnread, kindOverloaded, kindTimeout:
		return true
	}
	return false
}

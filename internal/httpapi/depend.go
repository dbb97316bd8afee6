package httpapi

import (
	"math/rand/v2"
	"time"

	"magellan/internal/discovery"
)

// dependencies watches what the last answer to a question depends on, for an asker that
// waits for another answer. Each answer brings its dependencies anew: a shop that moves
// depends on another datacenter.
type dependencies struct {
	watcher  discovery.Watcher
	observer discovery.Observer
	is       discovery.Depends
	watches  [len(discovery.Depends{}.Topics)]*discovery.Watch
	// begun: a watch has been started after the answer was made. A change in between was
	// not notified, so the question must be asked again.
	begun bool
	// retry is the last pause of retryIn; 0 if ZooKeeper could be asked the last time.
	retry time.Duration
}

// If ZooKeeper could not be asked, the asker asks again after firstRetry, and then after
// twice as long each time, up to lastRetry. A random time of up to the same length is added
// to each pause. Pauses grow because 50,000 may wait, and each look takes processor time. A
// notified change is looked at at once in any case.
const (
	firstRetry = 500 * time.Millisecond
	lastRetry  = 16 * time.Second
)

// retryIn is how long to wait after a look during which ZooKeeper was away.
func (d *dependencies) retryIn() time.Duration {
	d.retry = min(max(2*d.retry, firstRetry), lastRetry)
	return d.retry + rand.N(d.retry)
}

// answered notes that ZooKeeper was not away.
func (d *dependencies) answered() { d.retry = 0 }

// follow watches what an answer rests on, or the error in its place.
func (d *dependencies) follow(a *answer) {
	if a.rests {
		d.on(a.basis.Depends)
	}
}

// on watches what the answer depends on.
func (d *dependencies) on(is discovery.Depends) {
	for i, topic := range is.Topics {
		if topic == d.is.Topics[i] {
			continue
		}
		if w := d.watches[i]; w != nil {
			w.Stop()
			d.watches[i] = nil
		}
		if topic != (discovery.Topic{}) {
			d.watches[i] = d.watcher.Watch(topic, d.observer)
			d.begun = true
		}
	}
	d.is = is
}

// maxExpiry is how long to wait at most until the clock is looked at again. Clocks are set,
// so a long wait might end late.
const maxExpiry = time.Minute

// expiresIn is how long it takes until the answer changes by itself; false if it never
// does.
func (d *dependencies) expiresIn() (time.Duration, bool) {
	if d.is.Until.IsZero() {
		return 0, false
	}
	return min(max(d.is.Until.Sub(d.is.Now), time.Millisecond), maxExpiry), true
}

// nothing reports whether the answer depends on nothing that can change.
func (d *dependencies) nothing() bool { return d.is == discovery.Depends{} }

// stop ends all watches.
func (d *dependencies) stop() { d.on(discovery.Depends{}) }

// passing reports whether an error says nothing about the data. Whoever waits for a change
// goes on waiting then.
func passing(err error) bool {
	switch kindOf(err) {
	case kindUnavailable, kindUnread, kindOverloaded, kindTimeout:
		return true
	}
	return false
}

package httpapi

import (
	"context"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"
)

// drainGroups is how many groups those who wait for changes are let go in. Of
// 100,000 long polls some 400 then end at the same moment, 4 ms after those before
// them if the delay is a second.
const drainGroups = 256

// errDraining refuses those who would begin to wait for a change at a server that
// is being stopped. They would be sent away at once, with an answer that they have
// already, and come back at once: for as long as the delay lasts.
var errDraining = &requestError{kindDraining, "this replica is shutting down, and nobody can begin to wait here; another one can be asked at once"}

// drain is how a Server that is being stopped lets those go who wait for changes.
// If they all went at the same moment they would all come to the other replicas at
// the same moment. So each of them belongs to a group, drawn at random when the
// wait begins, and the groups are let go one after the other, over the whole delay.
type drain struct {
	groups [drainGroups]chan struct{}
	// until is when the delay ends, in nanoseconds of Unix time; 0 before it begins.
	until atomic.Int64
}

func (d *drain) init() {
	for i := range d.groups {
		d.groups[i] = make(chan struct{})
	}
}

// begun reports whether the server is being stopped.
func (d *drain) begun() bool { return d.until.Load() != 0 }

// group returns a channel that is closed when the caller is to stop waiting.
func (d *drain) group() <-chan struct{} { return d.groups[rand.N(drainGroups)] }

// retryAfter is the number of seconds, 1 at least, after which this replica accepts
// no connection any more: whoever asks again then meets another one.
func (d *drain) retryAfter() string {
	left := time.Until(time.Unix(0, d.until.Load()))
	return strconv.Itoa(max(1, int((left+time.Second-1)/time.Second)))
}

// run lets all groups go within the delay, and returns at its end, or when ctx ends.
// It is called once.
func (d *drain) run(ctx context.Context, delay time.Duration) {
	began := time.Now()
	d.until.Store(began.Add(delay).UnixNano())
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := range d.groups {
		d.pause(ctx, timer, began.Add(delay*time.Duration(i)/drainGroups))
		close(d.groups[i])
	}
	d.pause(ctx, timer, began.Add(delay))
}

// pause waits until a time has come, or ctx has ended.
func (d *drain) pause(ctx context.Context, timer *time.Timer, until time.Time) {
	timer.Reset(time.Until(until))
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

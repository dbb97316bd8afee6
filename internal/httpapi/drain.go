package httpapi

import (
	"context"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"
)

// drainGroups is the number of groups that waiting clients are divided into. With 256
// groups, about 400 of 100,000 long polls end at the same moment. If the delay is a second,
// one group ends 4 ms after the one before.
const drainGroups = 256

// errDraining refuses clients that would begin to wait for a change at a server that is
// being stopped. Otherwise each of them would be sent away at once with an answer that it
// has already, and would come back at once, for as long as the delay lasts.
var errDraining = &requestError{kindDraining, "this replica is shutting down, and nobody can begin to wait here; another one can be asked at once"}

// drain ends the waits for changes while a Server is being stopped. If all of them ended at
// the same moment, all the clients would come to the other replicas at the same moment. So
// each wait belongs to a group, which is drawn at random when the wait begins. The groups
// end one after the other, over the whole delay.
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

// group returns a channel that is closed when the caller has to stop waiting.
func (d *drain) group() <-chan struct{} { return d.groups[rand.N(drainGroups)] }

// retryAfter is the number of seconds, at least 1, after which this replica accepts no
// connections any more. A client that asks again after that time reaches another replica.
func (d *drain) retryAfter() string {
	left := time.Until(time.Unix(0, d.until.Load()))
	return strconv.Itoa(max(1, int((left+time.Second-1)/time.Second)))
}

// run ends the waits of all groups within the delay. It returns at the end of the delay, or
// when ctx ends. It is called once.
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

package proof

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

const (
	// blindFor is how long a newcomer has no link at first, and newcomerTimeout its
	// --request-timeout, so that it answers many requests meanwhile.
	blindFor        = 2 * time.Second
	newcomerTimeout = 200 * time.Millisecond
	// newcomerPort is below the range of outgoing connections, as linkPort is: the newcomer is
	// asked before it can tell on which port it listens.
	newcomerPort = 21840
	// newcomerRest is the pause of each of the newcomer's readers. It has to start on a busy
	// machine.
	newcomerRest = 10 * time.Millisecond
)

// newcomer returns a replica that is to start in the middle of a round's faults, and without a
// link to any server. It is asked from its first moment on: what it does not know yet must not
// be told as absent.
func (r *run) newcomer() (*replica, error) {
	one, err := newReplica(replicas[1], r.ensemble.Servers, r.now)
	if err == nil {
		one.links.cut(0, 1, 2)
	}
	return one, err
}

// newcome starts the newcomer, and mends its links after a while. begin is called with each of its
// readers once there is somebody to ask.
func (r *run) newcome(ctx context.Context, one *replica, round int, begin func(*reader)) error {
	addr := fmt.Sprint(loopback(), ":", newcomerPort)
	ready, cancel := context.WithCancelCause(ctx)
	started := make(chan error, 1)
	go func() {
		err := one.start(ctx, r.Magellan, r.Dir, fmt.Sprint("newcomer-", round), "--listen", addr, "--request-timeout", newcomerTimeout.String())
		cancel(err)
		started <- err
	}()
	for !answers(ready, "http://"+addr+"/healthz") {
		if pause(ready, 20*time.Millisecond) != nil {
			return <-started
		}
	}
	for i := range r.Readers {
		reader := r.newReader(r.roundSeed(round), len(r.replicas), "http://"+addr, i)
		reader.rest = newcomerRest
		begin(reader)
	}
	_ = pause(ctx, blindFor)
	one.blind = r.now()
	r.say("the newcomer gets its links")
	err := one.links.mend(0, 1, 2)
	if failed := <-started; failed != nil {
		return failed
	}
	return err
}

func answers(ctx context.Context, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	res.Body.Close()
	return res.StatusCode == http.StatusOK
}

package cache

import (
	"context"
	"errors"
	"testing"
)

// noticing is a context that says once that somebody waits for its end.
type noticing struct {
	context.Context
	asked chan struct{}
	told  bool
}

func (n *noticing) Done() <-chan struct{} {
	if !n.told {
		n.told = true
		close(n.asked)
	}
	return n.Context.Done()
}

// TestFailureReachesAllWhoWait: that somebody else has come to wait meanwhile is no
// reason to go on waiting.
func TestFailureReachesAllWhoWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.open(Config{})
	v := c.topology
	failure := errors.New("a read has failed")
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	failed := 0
	for range 1000 {
		v.outdate(func() {}) // which nobody makes a snapshot of
		waiting, got := make(chan struct{}), make(chan error, 1)
		ctx := &noticing{Context: w.soon(), asked: waiting}
		go func() { got <- v.wait(ctx, true) }()
		select {
		case <-waiting:
		case err := <-got: // a read that was under way has ended just now
			got <- err
		}
		v.fail(failure)
		_ = v.wait(gone, true) // who comes then
		switch err := <-got; {
		case errors.Is(err, context.DeadlineExceeded):
			t.Fatal("the failure was not told of")
		case errors.Is(err, failure):
			failed++
		}
	}
	if failed < 900 {
		t.Errorf("%d of 1000 were told of a failure", failed)
	}
	// Who comes after it is not told of it.
	if err := v.wait(gone, true); errors.Is(err, failure) {
		t.Errorf("what failed before: %v", err)
	}
}

package httpapi

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestLazyContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		parent, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
		deadline := time.Now().Add(time.Second)

		c := &lazyContext{parent: parent, deadline: deadline}
		if got, ok := c.Deadline(); !ok || got != deadline || c.Value(key{}) != "value" || c.Err() != nil {
			t.Errorf("deadline %v, %v, value %v, err %v", got, ok, c.Value(key{}), c.Err())
		}
		if c.end() {
			t.Error("nobody waited, and it cannot be used again")
		}

		c = &lazyContext{parent: parent, deadline: deadline}
		<-c.Done()
		if time.Now() != deadline || c.Err() != context.DeadlineExceeded {
			t.Errorf("at %v: %v", time.Now(), c.Err())
		}
		if !c.end() {
			t.Error("somebody waited, and it can be used again")
		}

		c = &lazyContext{parent: parent, deadline: time.Now().Add(time.Hour)}
		child, stop := context.WithTimeout(c, time.Minute)
		defer stop()
		cancel()
		<-child.Done()
		if c.Err() != context.Canceled || child.Err() != context.Canceled {
			t.Errorf("%v, %v", c.Err(), child.Err())
		}
		c.end()
		synctest.Wait() // whoever the child set to watch c has gone
	})
}

package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
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

// TestContextIsNotUsedAgain: on one connection a request whose context was
// waited for, and is over, leaves nothing of it to the next.
func TestContextIsNotUsedAgain(t *testing.T) {
	m, err := newMetrics(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{cfg: Config{RequestTimeout: time.Hour, Logger: slog.New(slog.DiscardHandler)}, metrics: m}
	s.elsewhere = &route{metrics: m.route("other")}
	x := newExchange(s, nil)
	for i, wait := range []bool{false, true, false, true} {
		x.begin(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
		ctx := x.ctx
		if ctx.Err() != nil {
			t.Errorf("request %d begins with %v", i, ctx.Err())
		}
		if wait {
			ctx.Done()
		}
		x.WriteHeader(http.StatusOK)
		x.end()
		if again := x.ctx == ctx; again == wait {
			t.Errorf("request %d waited: %v, its context is used again: %v", i, wait, again)
		}
	}
}

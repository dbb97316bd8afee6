package client

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"time"
)

// poll follows by long polls: each request names the last answer and waits until there is another.
// What does not exist has no ETag to wait with, so it is asked for about once a second.
func (t *tail) poll() {
	var failed backoff
	lookout := &lookout{client: t.client}
	refusals := 0 // in a row
	for t.ctx.Err() == nil {
		s, began := t.client.servers.preferred(), time.Now()
		ask, timeout := t.ask, t.client.cfg.Timeout
		etag := t.etag()
		if etag != "" {
			ask = ask.with("If-None-Match", etag).with("Prefer", "wait="+strconv.Itoa(max(1, int(t.client.cfg.Wait/time.Second))))
			timeout += t.client.cfg.Wait
		}
		got, err := t.client.askOne(t.ctx, s, ask, timeout)
		if t.ctx.Err() != nil {
			return
		}
		switch {
		case err != nil:
			t.doubt(err)
			t.client.servers.failed(s)
		case got.doubtful():
			t.take(got)
			if err = got.problem; got.blames() {
				t.client.servers.failed(s)
			}
		}
		if err != nil {
			refusals = 0
			t.client.cfg.Logger.Warn("a long poll has failed", slog.String("server", s.name), slog.String("path", t.ask.path), slog.Any("err", err))
			failed.pause(t.ctx, len(t.client.servers.all))
			continue
		}
		if !got.refused() {
			refusals = 0
		} else if refusals++; refusals%len(t.client.servers.all) != 0 {
			t.client.servers.failed(s)
			failed.pause(t.ctx, len(t.client.servers.all))
			continue
		}
		failed = backoff{}
		counts := t.take(got)
		if age := got.Age(); lookout.due(age) {
			lookout.elsewhere(t.ctx, s, t.ask, age)
		}
		switch {
		case got.problem != nil && !errors.Is(got.problem, ErrNotFound):
			sleep(t.ctx, staleAfter/2+rand.N(staleAfter/2)) // this does not change so fast
		case got.problem != nil, !counts, time.Since(began) < time.Second && t.etag() == etag:
			// Nothing has been waited for, so the next request may not follow at once. A proxy
			// may be to blame that drops what asks for a wait.
			sleep(t.ctx, time.Second+rand.N(time.Second))
		}
	}
}

// etag returns the ETag of the last answer; empty if there is none to wait for a change of.
func (t *tail) etag() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.known || t.answer.problem != nil {
		return ""
	}
	return t.answer.ETag
}

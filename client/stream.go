package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/tmaxmax/go-sse"
)

// resume is what a stream needs to go on where one has ended, at whichever server.
type resume struct{ query, id string }

// event is the data of the events snapshot, change and unavailable.
type event struct {
	Key    string
	Status int
	Time   int64 // of the server, in milliseconds of Unix time
	ETag   string
	Zxid   *Zxid
	Cache  Cache
	Age    int64 // seconds
	Value  json.RawMessage
	// Problem is there if the status is not 200.
	Problem json.RawMessage
}

// ages is the data of the event age, in seconds. Others has the keys for which Age does not hold;
// nil is an age that is not known.
type ages struct {
	Time   int64 // as in event
	Age    *int64
	Others map[string]*int64
}

// stream opens a stream at a server and hands its events to the tails, until it ends. It returns
// why, and the status if that was not 200.
func (f *feed) stream(s server, query string, all map[string]watchKey, has *resume, lookout *lookout) (status int, err error) {
	// Nothing but the end of the context ends a read.
	ctx, cancel := context.WithCancelCause(f.ctx)
	defer cancel(nil)
	patience := time.AfterFunc(f.client.cfg.Timeout, func() {
		cancel(fmt.Errorf("no answer within %v", f.client.cfg.Timeout))
	})
	defer patience.Stop()
	h := hearing{feed: f, server: s, all: all, clock: serverClock{began: time.Now()}, end: cancel, lookout: lookout}
	r := request{path: "/v1/watch?" + query}.with("Accept", "text/event-stream")
	if has.query != query {
		*has = resume{query: query}
	}
	if has.id != "" {
		r = r.with("Last-Event-ID", has.id)
	}
	resp, err := f.client.send(ctx, s, r)
	if err != nil {
		return 0, s.cannotBeReached(f.ctx, ctx, f.client.cfg.Timeout, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, maxBody))
		if problem, ok := parseProblem(s, body); ok {
			return resp.StatusCode, problem
		}
		if resp.StatusCode == http.StatusRequestURITooLong || resp.StatusCode == http.StatusRequestHeaderFieldsTooLarge {
			return resp.StatusCode, &foreign{s.name, resp.Status} // of a proxy, for which half of it may be short enough
		}
		return 0, &foreign{s.name, resp.Status}
	}
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind != "text/event-stream" {
		return 0, &foreign{s.name, resp.Status + " and no events"}
	}
	patience.Stop()
	patience = time.AfterFunc(f.client.silence, func() {
		cancel(fmt.Errorf("no sign of life for %v", f.client.silence))
	})
	defer patience.Stop()
	body := reader(func(b []byte) (int, error) {
		n, err := resp.Body.Read(b)
		patience.Reset(f.client.silence)
		return n, err
	})
	for e, err := range sse.Read(body, &sse.ReadConfig{MaxEventSize: maxBody}) {
		if err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return 0, &unreachable{"the stream of " + s.name + " has broken off", err}
		}
		if err := h.hear(e); err != nil {
			return 0, err
		}
		has.id = e.LastEventID
	}
	return 0, &unreachable{"the stream of " + s.name + " has broken off", io.ErrUnexpectedEOF}
}

type reader func([]byte) (int, error)

func (r reader) Read(b []byte) (int, error) { return r(b) }

// hearing is what the events of one stream are heard with.
type hearing struct {
	feed    *feed
	server  server
	all     map[string]watchKey // the keys as they stand in events
	clock   serverClock
	end     context.CancelCauseFunc // ends the stream
	lookout *lookout
}

// hear handles an event. An error ends the stream.
func (h *hearing) hear(e sse.Event) error {
	switch e.Type {
	case "snapshot", "change", "unavailable":
		var got event
		if err := h.decode(e, &got); err != nil {
			return err
		}
		r, err := got.reply(h.server, h.clock.written(got.Time))
		if err != nil {
			return err
		}
		for _, t := range h.feed.of(h.all[got.Key]) {
			t.take(r)
		}
	case "synced":
		h.feed.accepted()
	case "age":
		var got ages
		if err := h.decode(e, &got); err != nil {
			return err
		}
		h.aged(got)
	case "end":
		var got struct{ Reason, Detail string }
		_ = json.Unmarshal([]byte(e.Data), &got) // the stream has ended in any case
		return &ended{h.server.name, got.Reason, got.Detail}
	}
	return nil
}

func (h *hearing) decode(e sse.Event, to any) error {
	if err := json.Unmarshal([]byte(e.Data), to); err != nil {
		return fmt.Errorf("%s has sent an event that is not one of magellan: %w", h.server.name, err)
	}
	return nil
}

// aged handles an event age. If the ages are great it looks for another server in the background, and
// goes there if that has younger answers.
func (h *hearing) aged(got ages) {
	written := h.clock.written(got.Time)
	var oldest int64
	var which *tail
	for text, k := range h.all {
		seconds, other := got.Others[text]
		if !other {
			seconds = got.Age
		}
		if seconds == nil {
			continue
		}
		for _, t := range h.feed.of(k) {
			t.vouched(h.server.name, written.Add(-time.Duration(*seconds)*time.Second))
			if *seconds > oldest {
				oldest, which = *seconds, t
			}
		}
	}
	age := time.Duration(oldest) * time.Second
	if !h.lookout.due(age) {
		return
	}
	h.feed.client.start(func() {
		if h.lookout.elsewhere(h.feed.ctx, h.server, which.ask, age) {
			h.end(errors.New("another server has younger answers"))
		}
	})
}

// reply is what the event says, which was written at that time.
func (e *event) reply(s server, written time.Time) (r reply, err error) {
	r.Meta = Meta{Server: s.name, Cache: e.Cache, ETag: e.ETag, Known: written.Add(-time.Duration(e.Age) * time.Second)}
	if e.Zxid != nil {
		r.Zxid = *e.Zxid
	}
	if e.Status == http.StatusOK {
		r.Body = e.Value
		return r, nil
	}
	problem, ok := parseProblem(s, e.Problem)
	if !ok {
		return reply{}, fmt.Errorf("%s has sent an event with neither a value nor a problem", s.name)
	}
	r.problem = problem
	return r, nil
}

package httpapi

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"magellan/internal/discovery"
	"magellan/internal/shops"
)

const (
	// streamPiece is how much of a stream is written at once, in bytes. Config.SlowReader
	// bounds the time for each piece.
	streamPiece = 32 << 10
	// slowReaderLook is the shortest time after which a full connection is looked at again.
	slowReaderLook = 20 * time.Millisecond
	// Clients come back after a random time between leastRetry and mostRetry. So the clients of
	// a replica that has ended do not all come to another one at the same moment.
	leastRetry, mostRetry = time.Second, 5 * time.Second
)

// The reasons why a stream ends, as they stand in its last event and in the metric.
const (
	endShutdown    = "shutting-down"
	endSlowReader  = "slow-reader"
	endUnavailable = "unavailable"
	endClientGone  = "client-gone"
)

// stream is one GET /v1/watch: server-sent events (the WHATWG's HTML standard) with the
// answers to the questions of many keys.
//
// Nothing is queued for a client. A change marks its key, and the key's question is asked when
// the answer can be written. If changes come faster than the client reads, it gets the last
// one. So a stream takes the same memory however slow its client is.
type stream struct {
	x     *exchange
	keys  []*streamKey
	hash  uint64
	woken chan struct{}

	// question and answer are those of the key that is looked at.
	question question
	answer   answer
	ctx      *lazyContext

	queue *outQueue
	out   bytes.Buffer
	open  bool // the last event in out lacks its empty line
	// resumed: the client has come with answers that it had from another stream.
	resumed bool

	mu      sync.Mutex
	pending []*streamKey
}

// changed marks a key that has to be looked at, and wakes the stream.
func (s *stream) changed(k *streamKey) {
	s.mu.Lock()
	if !k.pending {
		k.pending = true
		s.pending = append(s.pending, k)
	}
	s.mu.Unlock()
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

// take returns a key that has to be looked at, nil if there is none.
func (s *stream) take() *streamKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pending) == 0 {
		return nil
	}
	k := s.pending[0]
	s.pending = slices.Delete(s.pending, 0, 1)
	k.pending = false
	return k
}

// watch answers GET /v1/watch.
func (s *Server) watch(x *exchange) error {
	if s.drain.begun() {
		return errDraining // the stream would end at once: it need not begin
	}
	if x.r.ContentLength != 0 {
		// Until the body has come net/http does not notice that the client has left.
		x.w.Header()["Connection"] = closeConnection
		return badRequest("a stream takes no body: what is to be watched stands in the query")
	}
	keys, err := s.streamKeys(x.ctx, x.r.URL.RawQuery)
	if err != nil {
		return err
	}
	// If nothing can be answered, the client gets a problem document and no stream.
	if err := s.available(x.ctx, keys); err != nil {
		return err
	}
	if s.waiting.streams.Add(1) > int64(s.cfg.MaxStreams) {
		s.waiting.streams.Add(-1)
		return &requestError{kindOverloaded, fmt.Sprintf("%d streams are open already; try another replica", s.cfg.MaxStreams)}
	}
	defer s.waiting.streams.Add(-1)
	defer s.waiting.keys.Add(-int64(len(keys)))
	if s.waiting.keys.Add(int64(len(keys))) > int64(s.cfg.MaxWatchedKeys) {
		return &requestError{kindOverloaded, fmt.Sprintf("with these %d keys the streams would watch more than %d; try another replica", len(keys), s.cfg.MaxWatchedKeys)}
	}

	header := x.w.Header()
	header["Content-Type"] = []string{"text/event-stream"}
	header["Cache-Control"] = noStore
	header["X-Accel-Buffering"] = []string{"no"} // nginx would hold events back
	header["Connection"] = closeConnection       // newOutQueue makes its send buffer small for good
	x.WriteHeader(http.StatusOK)
	if x.r.Method == http.MethodHead {
		return nil
	}
	st := newStream(x, keys)
	s.shared.join(keys)
	defer func() {
		s.shared.leave(keys)
		for _, k := range keys {
			k.stop()
		}
		x.waited = time.Since(x.start)
	}()
	reason := st.run()
	s.metrics.streamEnds.WithLabelValues(reason).Inc()
	s.cfg.Logger.LogAttrs(context.Background(), slog.LevelDebug, "stream ended", x.logID(), slog.String("reason", reason))
	if reason == endClientGone {
		x.gone = true
	}
	return nil
}

func newStream(x *exchange, keys []*streamKey) *stream {
	st := &stream{
		x: x, keys: keys, hash: keysHash(keys), woken: make(chan struct{}, 1),
		pending: make([]*streamKey, 0, len(keys)), queue: newOutQueue(x.conn),
	}
	for _, k := range keys {
		k.stream, k.watcher, k.observer = st, x.server.watcher(k.what.of), k
	}
	return st
}

// run sends events until the stream ends, and returns why.
func (s *stream) run() string {
	cfg := &s.x.server.cfg
	control := http.NewResponseController(s.x.w)
	_ = control.SetReadDeadline(time.Time{})
	retry := leastRetry + rand.N(mostRetry-leastRetry)
	fmt.Fprintf(&s.out, "retry: %d\n\n", retry.Milliseconds())
	if err := s.begin(); err != nil {
		return s.cutOff(err)
	}
	heartbeat := time.NewTicker(cfg.Heartbeat)
	defer heartbeat.Stop()
	again := time.NewTimer(time.Hour)
	defer again.Stop()
	drained := s.x.server.drain.group()
	var fullSince time.Time
	for {
		pause, full := s.untilDue(), s.queue.full()
		if full {
			if fullSince.IsZero() {
				fullSince = time.Now()
			}
			pause = min(pause, slowReaderPause(time.Since(fullSince), cfg.SlowReader))
		}
		again.Reset(pause)
		woken := s.woken
		if full {
			woken = nil // there is no room for what has changed
		}
		select {
		case <-woken:
		case <-again.C:
		case <-heartbeat.C:
			if err := s.x.server.available(s.x.r.Context(), s.keys); err != nil {
				// The answers that the client has are older than answers may be.
				return s.end(endUnavailable, err.Error())
			}
			s.beat()
		case <-drained:
			return s.end(endShutdown, "this replica is shutting down")
		case <-s.x.r.Context().Done():
			return endClientGone
		}
		if full = s.queue.full(); !full {
			fullSince = time.Time{}
			if err := s.sendChanges(); err != nil {
				return s.cutOff(err)
			}
			continue
		}
		s.out.Reset() // of a heartbeat
		if !fullSince.IsZero() && time.Since(fullSince) > cfg.SlowReader {
			return s.end(endSlowReader, fmt.Sprintf("events were not read for %v", cfg.SlowReader))
		}
	}
}

// available returns nil if the keys can be answered. Shops cannot be without the datacenters. Of
// services each key has an answer of its own, which may be a problem.
func (s *Server) available(ctx context.Context, keys []*streamKey) error {
	if keys[0].what.of != ofShops { // they are ordered: those about shops come first
		return nil
	}
	return s.service.Available(ctx)
}

// slowReaderPause is how long to wait until a full connection is looked at again, or is cut
// off after atMost. full is how long the connection has been full. The longer that is, the
// longer is the pause: otherwise 10,000 clients that do not read would take a processor or two.
func slowReaderPause(full, atMost time.Duration) time.Duration {
	return max(slowReaderLook, min(full/4, atMost-full))
}

// begin sends what the client does not have, and "synced".
func (s *stream) begin() error {
	var has resumption
	if last := s.x.r.Header.Get("Last-Event-ID"); last != "" {
		var reason string
		has, reason = parseID(last, s.hash, len(s.keys))
		if s.resumed = reason == ""; !s.resumed {
			s.reset(reason)
		}
	}
	s.prefetch()
	if has.states == nil && has.digest != 0 {
		// The id has one hash for all keys. It tells whether anything has changed, not what.
		for _, k := range s.keys {
			if _, err := s.look(k, ""); err != nil {
				return err
			}
		}
		if digest(s.keys) == has.digest {
			return s.synced()
		}
		for _, k := range s.keys {
			k.state = 0
		}
		s.reset("something has changed, and for so many keys it is not known what")
	}
	for i, k := range s.keys {
		if has.states != nil {
			k.state = has.states[i]
		}
		if _, err := s.look(k, "snapshot"); err != nil {
			return err
		}
	}
	return s.synced()
}

func (s *stream) synced() error {
	s.event("synced")
	s.out.WriteString(`{"keys":` + strconv.Itoa(len(s.keys)) + "}\n")
	s.close(true)
	if s.resumed {
		s.beat() // of what was not sent again
	}
	defer s.trim()
	return s.flush(0)
}

// prefetch reads the shops that are not in memory, all at the same time.
func (s *stream) prefetch() {
	if names := shopNames(s.keys); len(names) > 1 {
		s.renew()
		_, _ = s.x.server.service.Lookup(s.ctx, names, discovery.ReadOptions{}, make([]shops.ShopResult, len(names)))
	}
}

// sendChanges looks at all keys that have to be looked at, and sends the answers that have
// changed.
func (s *stream) sendChanges() error {
	now := time.Now()
	for _, k := range s.keys {
		if !k.due.IsZero() && !now.Before(k.due) {
			s.changed(k)
		}
	}
	sent := false
	var oldest int64
	for k := s.take(); k != nil; k = s.take() {
		learnt := k.learnt.Swap(0)
		told, err := s.look(k, "change")
		if err != nil {
			return err
		}
		if told {
			sent = true
			if learnt != 0 && (oldest == 0 || learnt < oldest) {
				oldest = learnt
			}
		}
		if s.queue.full() {
			select {
			case s.woken <- struct{}{}: // for the keys that are left
			default:
			}
			break
		}
	}
	s.close(sent)
	defer s.trim()
	if s.out.Len() == 0 {
		return nil
	}
	err := s.flush(0)
	if err == nil && oldest != 0 {
		s.x.server.metrics.propagation.stream.Observe(time.Since(time.Unix(0, oldest)).Seconds())
	}
	return err
}

// untilDue is how long it takes until the first key has to be looked at without a change.
func (s *stream) untilDue() time.Duration {
	pause := time.Hour
	for _, k := range s.keys {
		if !k.due.IsZero() {
			pause = min(pause, time.Until(k.due))
		}
	}
	return max(pause, 0)
}

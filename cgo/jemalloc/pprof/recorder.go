package pprof

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/pprof/profile"

	"magellan/cgo/jemalloc/heapprof"
)

// ErrClosed is the error of requests for a dump after Close.
var ErrClosed = errors.New("the recorder was closed: the process is about to end")

// Recorder takes heap dumps of a process, keeps some, and serves them. See New.
type Recorder struct {
	cfg     Config
	log     *slog.Logger
	source  Source
	process Process                                    // of source
	sleep   func(context.Context, time.Duration) error // wait; tests replace it
	store   *store

	gate    *gate
	deltas  atomic.Int32 // number of requests that wait for their second profile
	next    shared
	symbols *heapprof.Symbolizer
	views   *views
	metrics *recorderMetrics

	sampling  sampling
	collected time.Duration // see processorTime; only the caller behind the gate uses it

	// Only rank uses these. One goroutine calls it.
	ranker *heapprof.Ranker
	code   map[uint64]heapprof.Code // by return address

	mu     sync.Mutex
	maps   []heapprof.Mapping // of the last dump
	lastID time.Time          // the time in the last ID
	ranked ranking            // as of the last light sample

	ctx    context.Context // cancelled by Close
	close  context.CancelCauseFunc
	ended  sync.WaitGroup
	closed sync.Once
}

// New makes a Recorder and starts to watch. It fails if the Config is invalid, or if
// Config.Registerer refuses the metrics. Without a Config.Source it also fails if
// jemalloc.Check fails: the malloc of the process is not jemalloc, or jemalloc is too old
// or was built without profiling. All profiles would be empty then, without an error.
//
// Three things are not an error of New, because somebody chose them or they may change
// later. A program built with -asan has no jemalloc, and the handlers answer with
// jemalloc.ErrNotLinked. If MALLOC_CONF has prof:false, they answer with
// jemalloc.ErrProfilingOff. If Config.Dir cannot be written, the Recorder logs that and
// keeps dumps in memory.
func New(cfg Config) (*Recorder, error) {
	r, err := newRecorder(cfg)
	if err != nil {
		return nil, err
	}
	r.start()
	return r, nil
}

// newRecorder makes a Recorder that does not watch.
func newRecorder(cfg Config) (*Recorder, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	source := cfg.Source
	if source == nil {
		if source, err = newSelf(); err != nil {
			return nil, err
		}
	}
	r := &Recorder{cfg: cfg, log: cfg.Logger, source: source, process: source.Process(), gate: newGate(), views: newViews(cfg.MaxViews)}
	symbols := r.process.Symbols
	symbols.DebugDirs, symbols.MaxDebugBytes = cfg.DebugDirs, cfg.MaxDebugBytes
	r.symbols = heapprof.NewSymbolizer(symbols)
	r.sleep = r.wait
	r.ranker = r.newRanker()
	r.ctx, r.close = context.WithCancelCause(context.Background())
	r.metrics = newMetrics(r)
	if cfg.Registerer != nil {
		if err := cfg.Registerer.Register(r.metrics); err != nil {
			return nil, fmt.Errorf("pprof: register the metrics: %w", err)
		}
	}
	r.store = openStore(cfg)
	if kept := r.Dumps(); len(kept) > 0 {
		r.lastID = kept[len(kept)-1].Time // new IDs are later even if the clock was set back
	}
	return r, nil
}

// start begins to watch.
func (r *Recorder) start() {
	if r.cfg.StepPercent < 0 && r.cfg.SampleInterval < 0 {
		return
	}
	r.ended.Add(1)
	go func() {
		defer r.ended.Done()
		r.watch()
	}()
}

// Close stops watching and waits for the dump under way. Requests in flight are answered.
// Requests for a new dump then fail with ErrClosed, and the dumps that are kept are still
// served. Close may be called more than once.
func (r *Recorder) Close() error {
	r.closed.Do(func() {
		r.close(ErrClosed)
		if r.cfg.Registerer != nil {
			r.cfg.Registerer.Unregister(r.metrics)
		}
	})
	r.ended.Wait()
	r.gate.busy <- struct{}{} // wait for a request's dump that is under way
	r.gate.leave()
	return nil
}

// Take takes a dump now and keeps it. All calls that begin while a dump is under way share
// the next one.
func (r *Recorder) Take(ctx context.Context) (Dump, error) {
	return r.next.do(ctx, func(begins func()) (Dump, error) {
		d, _, err := r.keep(r.ctx, Requested, "", begins)
		return d, err
	})
}

// Dumps describes the dumps that are kept, the oldest first.
func (r *Recorder) Dumps() []Dump {
	dumps, _ := r.store.list()
	return dumps
}

// keep takes a dump, keeps it and describes it. took is the processor time of that. since
// is the ID of the dump with which it is compared and to whose series it belongs. If since
// is empty, the dump belongs to no series, except that a Baseline or Grown dump begins one.
func (r *Recorder) keep(ctx context.Context, why Reason, since string, begins func()) (d Dump, took time.Duration, err error) {
	enter := r.gate.enterFirst // the Recorder's own dump may be the last before the process is killed
	if why == Requested {
		enter = r.gate.enter
	}
	if err := enter(ctx); err != nil {
		return Dump{}, 0, err
	}
	defer r.gate.leave()
	if err := context.Cause(r.ctx); err != nil && why != Final {
		return Dump{}, 0, err
	}
	begins()
	took = r.processorTime(func() { d, err = r.keepNow(ctx, why, since) })
	r.metrics.counted(why, took, err)
	return d, took, err
}

// keepNow does the work of keep. Its caller is behind the gate.
func (r *Recorder) keepNow(ctx context.Context, why Reason, since string) (Dump, error) {
	ledger, err := r.source.Ledger(ctx)
	if err != nil {
		return Dump{}, err
	}
	text, heap, err := r.takeNow(ctx)
	if err != nil {
		return Dump{}, err
	}
	d := Dump{
		ID: r.newID(heap.Time), Time: heap.Time, Reason: why, PID: r.process.PID, Started: r.process.Started,
		RSS: ledger.RSS, Ledger: ledger,
	}
	d.describe(heap)
	before := r.compareWith(since)
	switch {
	case since != "":
		if s, err := r.store.get(since); err == nil {
			d.Ramp = s.Ramp
			break
		}
		fallthrough // that dump was dropped meanwhile
	case why == Baseline, why == Grown:
		d.Ramp = d.ID
	}
	for d, err = r.store.add(d, text); errors.Is(err, fs.ErrExist); d, err = r.store.add(d, text) {
		id := r.newID(heap.Time)
		if d.Ramp == d.ID {
			d.Ramp = id
		}
		d.ID = id
	}
	if err != nil {
		return Dump{}, err
	}

	// The dump is kept now, even if the process is killed. What follows adds the names.
	p := r.profileOf(ctx, heap)
	if d.HoldsMost, err = largest(p); err != nil {
		return d, err
	}
	if before != nil {
		d.Since = since
		if d.Grown, err = grownSince(since, before, p); err != nil {
			return d, err
		}
	}
	encoded, err := encode(p)
	if err != nil {
		return d, err
	}
	return r.store.finish(d, encoded)
}

// compareWith returns the profile of a dump that is kept, or nil if it is not kept any
// more.
func (r *Recorder) compareWith(id string) *profile.Profile {
	if id == "" {
		return nil
	}
	p, err := r.kept(id)
	if err != nil {
		r.log.Debug("nothing to compare the heap dump with", "since", id, "error", err)
		return nil
	}
	return p
}

// kept reads the profile of a dump that is kept.
func (r *Recorder) kept(id string) (*profile.Profile, error) {
	f, err := r.store.profile(id)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p, err := profile.Parse(f)
	if err != nil {
		return nil, fmt.Errorf("read the profile of dump %s: %w", id, err)
	}
	return p, nil
}

// takeNow takes a dump without keeping it. Its caller is behind the gate.
func (r *Recorder) takeNow(ctx context.Context) ([]byte, *heapprof.Dump, error) {
	var text bytes.Buffer
	if err := r.source.Dump(ctx, &text); err != nil {
		return nil, nil, err
	}
	at := time.Now()
	heap, err := heapprof.Parse(bytes.NewReader(text.Bytes()), heapprof.Limits{})
	if err != nil {
		return nil, nil, fmt.Errorf("pprof: %s's dump: %w", r.process.Sampler, err)
	}
	heap.Time = at
	r.mu.Lock()
	r.maps = heap.Mappings
	r.mu.Unlock()
	return text.Bytes(), heap, nil
}

// now takes a profile without keeping it, and returns what write has written of it.
func (r *Recorder) now(ctx context.Context, gc bool, write writer) ([]byte, error) {
	return r.rendered(ctx, func() (*profile.Profile, error) {
		if gc {
			if err := r.source.Collect(ctx); err != nil {
				return nil, err
			}
		}
		_, heap, err := r.takeNow(ctx)
		if err != nil {
			return nil, err
		}
		return r.profileOf(ctx, heap), nil
	}, write)
}

// rendered returns what write has written of the profile that read returns. It does all of
// that behind the gate, so that there is only one such profile in memory at a time. A
// profile of 100,000 stacks takes about 200 MB.
func (r *Recorder) rendered(ctx context.Context, read func() (*profile.Profile, error), write writer) ([]byte, error) {
	if err := r.gate.enter(ctx); err != nil {
		return nil, err
	}
	defer r.gate.leave()
	p, err := read()
	if err != nil {
		return nil, err
	}
	var body bytes.Buffer
	if err := write(&body, p); err != nil {
		return nil, err
	}
	return body.Bytes(), nil
}

// profileOf makes a dump's profile, with the names of its addresses.
func (r *Recorder) profileOf(ctx context.Context, d *heapprof.Dump) *profile.Profile {
	about := r.comments(ctx, d) // first, because naming takes time and the counters change meanwhile
	return d.Profile(heapprof.ProfileOptions{Symbols: r.symbolize(d.Mappings, d.PCs()), Comments: about})
}

// symbolize names addresses. If that has read debug information, symbolize returns the
// garbage of it to the kernel at once. Otherwise it would stay resident for minutes in a
// process that allocates little, and it is more memory than everything else in profiling
// takes.
func (r *Recorder) symbolize(maps []heapprof.Mapping, pcs []uint64) *heapprof.Symbols {
	symbols := r.symbols.Symbolize(maps, pcs)
	if symbols.DebugRead > 0 {
		debug.FreeOSMemory()
		r.collected += collectionTime()
	}
	return symbols
}

// newID returns an ID that no earlier dump has.
func (r *Recorder) newID(t time.Time) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	t = t.Truncate(time.Millisecond)
	if !t.After(r.lastID) {
		t = r.lastID.Add(time.Millisecond)
	}
	r.lastID = t
	return newID(t)
}

// mappings returns the memory map of the last dump, or nil if there was no dump.
func (r *Recorder) mappings() []heapprof.Mapping {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.maps
}

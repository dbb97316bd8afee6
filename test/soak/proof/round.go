package proof

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"time"
)

// roundSeed is what all randomness of a round follows from.
func (r *run) roundSeed(round int) uint64 { return r.Seed + uint64(round)<<32 }

// Streams of random numbers; the lower ones are the schedule's tracks.
const (
	writerStream = 100
	readerStream = 1000
)

// openWriters makes the writers, each with keys of its own.
func (r *run) openWriters(ctx context.Context) error {
	for i := range writers {
		r.writers = append(r.writers, &writer{zk: r.zk, owner: newOwner(i), now: r.now})
	}
	for i, s := range r.subjects {
		w := r.writers[i%writers]
		w.keys = append(w.keys, s.keys...)
	}
	for _, w := range r.writers {
		if err := w.openOwner(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) newReader(seed uint64, replica int, url string, number int) *reader {
	return &reader{
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1, DisableCompression: true}},
		url:    url,
		number: replica,
		keys:   r.keys,
		now:    r.now,
		rand:   rand.New(rand.NewPCG(seed, uint64(readerStream*(1+replica)+number))),
		found:  &r.found,
		reads:  map[*key][]read{},
	}
}

// round plays one round: faults, an end to them, the last values, the check.
func (r *run) round(ctx context.Context, round int) (err error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	seed := r.roundSeed(round)
	newcomer, err := r.newcomer()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, newcomer.close()) }()
	all := append(slices.Clone(r.replicas), newcomer)

	readingEnds, endReading := context.WithCancel(ctx)
	var reading sync.WaitGroup
	var readers []*reader
	read := func(one *reader) {
		readers = append(readers, one)
		reading.Go(func() { one.run(readingEnds) })
	}
	for i, of := range r.replicas {
		for j := range r.Readers {
			read(r.newReader(seed, i, of.URL, j))
		}
	}
	// An error of one ends all.
	var working sync.WaitGroup
	try := func(f func() error) {
		working.Go(func() {
			if err := f(); err != nil {
				fail(err)
			}
		})
	}
	faultsEnd, cancel := context.WithTimeout(ctx, r.Round)
	defer cancel()
	for i, w := range r.writers {
		w.rand = rand.New(rand.NewPCG(seed, uint64(writerStream+i)))
		try(func() error { return w.run(ctx, faultsEnd) })
	}
	conductor := &conductor{servers: r.ensemble.Servers, replicas: r.replicas, log: r.fault}
	for track := range 1 + len(r.replicas) {
		try(func() error { return conductor.play(faultsEnd, seed, track) })
	}
	try(func() error { return r.newcome(ctx, newcomer, round, read) })
	working.Wait()

	// All is mended; now the last values.
	patient, cancel := context.WithTimeoutCause(ctx, r.Patience, errors.New("the ensemble does not come back"))
	defer cancel()
	for _, w := range r.writers {
		try(func() error { return w.settle(patient) })
	}
	working.Wait()
	r.say("all is mended")
	if ctx.Err() == nil {
		for i, of := range all {
			one := r.newReader(seed, i, of.URL, r.Readers)
			readers = append(readers, one)
			working.Go(func() { r.converge(ctx, of, one) })
		}
		working.Wait()
	}
	endReading()
	reading.Wait()
	for _, one := range readers {
		one.client.CloseIdleConnections()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r.judge(all, readers)
	for _, one := range all {
		if err := one.Check(); err != nil {
			r.found.add(Served, "all", "%v", err)
		}
	}
	return nil
}

// fault counts and tells a fault.
func (r *run) fault(format string, args ...any) {
	r.out.Lock()
	r.report.Faults++
	r.out.Unlock()
	r.say(format, args...)
}

// converge asks for each subject until the answer has its last values, and is neither STALE
// nor UPDATING.
func (r *run) converge(ctx context.Context, of *replica, one *reader) {
	deadline := time.Now().Add(r.Patience)
	for _, s := range r.subjects {
		for {
			told := one.ask(ctx, s, read{})
			wrong := s.unlike(told)
			if told != nil && wrong == nil {
				break
			}
			if of.Check() != nil {
				return // that is said elsewhere
			}
			if time.Now().After(deadline) {
				for _, k := range wrong {
					r.found.add(Converged, k.name, "%v after all faults were mended: %v; the last version is %v", r.Patience, told, k.last())
				}
				if told == nil {
					r.found.add(Converged, s.name, "%v after all faults were mended there is no answer", r.Patience)
				}
				break
			}
			if pause(ctx, 20*time.Millisecond) != nil {
				return
			}
		}
	}
}

// unlike returns the keys of which an answer does not have the last version, or is not sure of it.
func (s *subject) unlike(told []read) (wrong []*key) {
	for i, r := range told {
		k := s.keys[i]
		last := k.last()
		if !last.fits(r) || r.cache == stale || r.cache == updating || r.newest != 0 && r.newest != s.newest() {
			wrong = append(wrong, k)
		}
	}
	return wrong
}

// judge checks what was recorded, and forgets all but the last versions, which
// all replicas have reached.
func (r *run) judge(all []*replica, readers []*reader) {
	var l limits
	for _, one := range all {
		l.maxStale = append(l.maxStale, one.maxStale)
		l.dark = append(l.dark, one.links.darkness())
		l.guard = append(l.guard, one.shrinkGuard > 0)
		l.blind = append(l.blind, one.blind)
	}
	for _, one := range readers {
		r.report.Reads += one.answered
		r.report.Silent += one.silent
	}
	r.report.Losses = 0
	for _, w := range r.writers {
		r.report.Losses += w.owner.losses
	}
	limit := make(chan struct{}, runtime.GOMAXPROCS(0))
	var checking sync.WaitGroup
	for _, k := range r.keys {
		h := &history{key: k.name, guarded: k.guarded, versions: k.versions}
		for _, one := range readers {
			h.reads = append(h.reads, one.reads[k]...)
		}
		r.report.Writes += len(h.versions) - 1
		k.versions = []version{k.last()}
		limit <- struct{}{}
		checking.Go(func() {
			check(h, l, &r.found)
			<-limit
		})
	}
	checking.Wait()
}

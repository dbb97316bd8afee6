package proof

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"runtime"
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

func (r *run) newWriters(seed uint64) []*writer {
	all := make([]*writer, writers)
	for i := range all {
		all[i] = &writer{zk: r.zk, now: r.now, rand: rand.New(rand.NewPCG(seed, uint64(writerStream+i)))}
	}
	for i, k := range r.keys {
		w := all[i%writers]
		w.keys = append(w.keys, k)
	}
	return all
}

func (r *run) newReader(seed uint64, replica, number int) *reader {
	return &reader{
		client:  &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1, DisableCompression: true}},
		replica: r.replicas[replica],
		number:  replica,
		keys:    r.keys,
		now:     r.now,
		rand:    rand.New(rand.NewPCG(seed, uint64(readerStream*(1+replica)+number))),
		found:   &r.found,
		reads:   map[*key][]read{},
	}
}

// round plays one round: faults, an end to them, the last values, the check.
func (r *run) round(ctx context.Context, round int) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	seed := r.roundSeed(round)

	readingEnds, endReading := context.WithCancel(ctx)
	var reading sync.WaitGroup
	var readers []*reader
	for i := range r.replicas {
		for j := range r.Readers {
			one := r.newReader(seed, i, j)
			readers = append(readers, one)
			reading.Go(func() { one.run(readingEnds) })
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
	writers := r.newWriters(seed)
	for _, w := range writers {
		try(func() error { return w.run(ctx, faultsEnd) })
	}
	conductor := &conductor{servers: r.ensemble.Servers, replicas: r.replicas, log: r.fault}
	for track := range 1 + len(r.replicas) {
		try(func() error { return conductor.play(faultsEnd, seed, track) })
	}
	working.Wait()

	// All is mended; now the last values.
	patient, cancel := context.WithTimeoutCause(ctx, r.Patience, errors.New("the ensemble does not come back"))
	defer cancel()
	for _, w := range writers {
		try(func() error { return w.settle(patient) })
	}
	working.Wait()
	r.say("all is mended")
	if ctx.Err() == nil {
		for i := range r.replicas {
			one := r.newReader(seed, i, r.Readers)
			readers = append(readers, one)
			working.Go(func() { r.converge(ctx, one) })
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
	r.judge(readers)
	for _, one := range r.replicas {
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

// converge asks for each key until the answer is its last value, and neither STALE
// nor UPDATING.
func (r *run) converge(ctx context.Context, one *reader) {
	deadline := time.Now().Add(r.Patience)
	for _, k := range r.keys {
		last := k.versions[len(k.versions)-1]
		for {
			answer, ok := one.ask(ctx, k, read{})
			if ok {
				one.reads[k] = append(one.reads[k], answer)
				if answer.value == last.value && (answer.zxid == 0 || answer.zxid == last.zxid) && answer.cache != stale && answer.cache != updating {
					break
				}
			}
			if one.replica.Check() != nil {
				return // that is said elsewhere
			}
			if time.Now().After(deadline) {
				r.found.add(Converged, k.name, "%v after all faults were mended: %v; the last version is %v", r.Patience, answer, last)
				break
			}
			if pause(ctx, 20*time.Millisecond) != nil {
				return
			}
		}
	}
}

// judge checks what was recorded, and forgets all but the last versions, which
// both replicas have reached.
func (r *run) judge(readers []*reader) {
	var l limits
	for _, one := range r.replicas {
		l.maxStale = append(l.maxStale, one.maxStale)
		l.dark = append(l.dark, one.links.darkness())
	}
	for _, one := range readers {
		r.report.Silent += one.silent
	}
	limit := make(chan struct{}, runtime.GOMAXPROCS(0))
	var checking sync.WaitGroup
	for _, k := range r.keys {
		h := &history{key: k.name, versions: k.versions}
		for _, one := range readers {
			h.reads = append(h.reads, one.reads[k]...)
		}
		r.report.Reads += len(h.reads)
		r.report.Writes += len(h.versions) - 1
		k.versions = []version{k.versions[len(k.versions)-1]}
		limit <- struct{}{}
		checking.Go(func() {
			check(h, l, &r.found)
			<-limit
		})
	}
	checking.Wait()
}

package services

import (
	"context"
	"errors"
	"sync"

	"magellan/internal/discovery"
)

// Result is what [Registry.Lookup] has found out about one service.
type Result struct {
	// Answer is only meaningful if Err is nil.
	Answer Answer
	Meta   discovery.Meta
	// Err is what [Registry.Service] would have returned.
	Err error
}

// freshAtOnce is how many services of one lookup are read from ZooKeeper at the same time.
const freshAtOnce = 32

// Lookup does for many services what [Registry.Service] does for one: the i-th result is that of
// names[i]. The meta data join those of all results. An error is one of the whole call.
func (r *Registry) Lookup(ctx context.Context, names []string, mount string, opt discovery.ReadOptions) ([]Result, discovery.Meta, error) {
	results := make([]Result, len(names))
	one := func(i int) {
		answer, basis, err := r.Service(ctx, names[i], mount, opt)
		results[i] = Result{answer, basis.Meta, err}
	}
	if opt == (discovery.ReadOptions{}) {
		for i := range names {
			one(i)
		}
	} else {
		var reading sync.WaitGroup
		next := make(chan int)
		for range min(freshAtOnce, len(names)) {
			reading.Go(func() {
				for i := range next {
					one(i)
				}
			})
		}
		for i := range names {
			next <- i
		}
		close(next)
		reading.Wait()
	}
	var meta discovery.Meta
	for i := range results {
		if errors.Is(results[i].Err, ErrNoMount) {
			return nil, meta, results[i].Err
		}
		meta = meta.Join(results[i].Meta)
	}
	return results, meta, nil
}

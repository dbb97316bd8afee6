package readers

import (
	"fmt"
	"testing"
	"time"

	consul "github.com/hashicorp/consul/api"

	"magellan/test/world"
)

// TestConsulVanishes: a query that waits ends when its service vanishes with its directory. magellan
// learns of the directory's end and of its parent's new list by two events, and the query may be
// asked again between them.
func TestConsulVanishes(t *testing.T) {
	t.Parallel()
	w := world.New(t, "curator:/services")
	c := consulOf(w)
	const wait = 20 * time.Second
	for i := range 50 {
		name := fmt.Sprint("cart", i)
		register(w, name, "a", "10.2.0.7", 80, "")
		known := wantHealth(w, c, name, "a 10.2.0.7:80 passing")
		type result struct {
			found string
			index uint64
			took  time.Duration
			err   error
		}
		done := make(chan result, 1)
		go func() {
			var r result
			r.index = known
			begin := time.Now()
			for r.err == nil && (r.index == known || r.found != "") {
				var meta *consul.QueryMeta
				if r.found, meta, r.err = health(c, name)(&consul.QueryOptions{WaitIndex: r.index, WaitTime: wait}); r.err == nil {
					r.index = meta.LastIndex
				}
			}
			r.took = time.Since(begin)
			done <- r
		}()
		// Somebody who does not wait sees the index grow too.
		stop, back := make(chan struct{}), make(chan error, 1)
		go func() {
			for last := known; ; {
				_, meta, err := health(c, name)(nil)
				switch {
				case err == nil && meta.LastIndex < last:
					err = fmt.Errorf("the index goes back from %d to %d", last, meta.LastIndex)
				case err == nil:
					last = meta.LastIndex
				}
				select {
				case <-stop:
					back <- err
					return
				default:
				}
				if err != nil {
					back <- err
					return
				}
			}
		}()
		w.Delete("/services/" + name)
		r := <-done
		close(stop)
		w.Must(<-back)
		w.Must(r.err)
		if r.index < known || r.took > wait/2 {
			t.Fatalf("service %d: index %d after %d, in %v", i, r.index, known, r.took)
		}
	}
}

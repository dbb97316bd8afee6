package cache

import (
	"math/rand/v2"
	"slices"
	"time"
)

// spread is the longest that a replica waits before it revalidates what nobody
// asks for, at random, so that replicas do not come in step after an outage.
const spread = 500 * time.Millisecond

// revalidate reads again the entries of s that no watch holds true any more:
// after a lost session all of them, after a mere reconnect those whose read was
// cut short. What is asked for meanwhile overtakes; the rest goes most used
// first, in the background.
func (c *Cache) revalidate(s *session) {
	select {
	case <-c.closing:
		return
	case <-time.After(rand.N(spread)):
	}
	type stale struct {
		hash uint64
		e    *entry
		heat uint32
	}
	var all []stale
	c.index.each(func(hash uint64, e *entry) {
		if rec := e.rec.Load(); rec != nil && rec.epoch.session == s && !rec.vouched() {
			all = append(all, stale{hash, e, e.heat.Load()})
		}
	})
	slices.SortFunc(all, func(a, b stale) int { return int(b.heat) - int(a.heat) })
	for _, one := range all {
		if !s.live.Load() {
			return // the next onReady starts over
		}
		c.reload(one.hash, one.e, false)
	}
	if len(all) > 0 {
		c.metrics.revalidations.Add(float64(len(all)))
		c.log.Info("revalidating entries whose watch was lost", "session", s.number, "entries", len(all))
	}
}

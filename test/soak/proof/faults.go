package proof

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"magellan/internal/zk/zktest"
)

// conductor makes the faults of a schedule happen.
type conductor struct {
	servers  []*zktest.Server
	replicas []*replica
	log      func(format string, args ...any)
}

// play goes through a track until ctx ends. Each fault is mended before the
// next, and before play returns.
func (c *conductor) play(ctx context.Context, seed uint64, track int) error {
	for f := range schedule(seed, track) {
		if pause(ctx, f.rest) != nil {
			return nil
		}
		c.log("%v", f)
		mend, err := c.inflict(ctx, f)
		if err == nil {
			_ = pause(ctx, f.lasts)
			err = mend()
		}
		if err != nil {
			return fmt.Errorf("%v: %w", f, err)
		}
	}
	return nil
}

func nothing() error { return nil }

// inflict begins f and returns what ends it.
func (c *conductor) inflict(ctx context.Context, f fault) (mend func() error, err error) {
	links := c.replicas[f.replica].links
	all := []int{0, 1, 2}
	sound := func() error { return links.poison("", "", all...) }
	switch f.name {
	case "kill":
		s := c.find(f)
		return func() error { return errors.Join(s.Start(), s.WaitReady()) }, s.Kill()
	case "pause", "long pause":
		s := c.find(f)
		return s.Resume, s.Pause()
	case "stutter":
		return c.stutter(c.find(f), f.amount), nil
	case "strand":
		return c.strand(ctx, f), nil
	case "restart all":
		return c.startAll, c.killAll()

	case "cut all", "cut all for long":
		links.cut(all...)
		return func() error { return links.mend(all...) }, nil
	case "cut one":
		links.cut(f.server)
		return func() error { return links.mend(f.server) }, nil
	case "slow":
		return sound, links.poison("latency", fmt.Sprintf(`"latency": %d, "jitter": %d`, 1+2*f.amount, f.amount), all...)
	case "crumbs":
		return sound, links.poison("slicer", fmt.Sprintf(`"average_size": 40, "size_variation": 30, "delay": %d`, 1+f.amount), all...)
	case "half open":
		directions := [][]direction{{upstream, downstream}, {upstream}, {downstream}}[f.amount%3]
		which := [][]int{all, {f.server}}[f.amount%2]
		return links.hold(directions, which...), nil
	case "expire":
		return nothing, c.expire(links, f.amount)
	}
	return nil, errors.New("no such fault")
}

// find returns the server that f is about, at the moment.
func (c *conductor) find(f fault) *zktest.Server {
	for i := range c.servers {
		s := c.servers[(f.server+i)%len(c.servers)]
		if f.role == anyServer {
			return s
		}
		text, err := s.FourLetter("srvr")
		if err == nil && strings.Contains(text, "Mode: "+string(f.role)) {
			return s
		}
	}
	return c.servers[f.server] // there is no leader at the moment
}

// stutter lets a server run but a few percent of the time, so that it lags
// behind. mend ends that.
func (c *conductor) stutter(s *zktest.Server, amount int) (mend func() error) {
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		var err error
		for err == nil && ctx.Err() == nil {
			if err = s.Pause(); err == nil {
				_ = pause(ctx, time.Duration(100+4*amount)*time.Millisecond)
				err = s.Resume()
			}
			if err == nil {
				_ = pause(ctx, 10*time.Millisecond)
			}
		}
		ended <- err
	}()
	return func() error {
		stop()
		return <-ended
	}
}

// strand leaves a replica nothing but a server that lags behind.
func (c *conductor) strand(ctx context.Context, f fault) (mend func() error) {
	s := c.find(f)
	var others []int
	for i := range c.servers {
		if c.servers[i] != s {
			others = append(others, i)
		}
	}
	links := c.replicas[f.replica].links
	steady := c.stutter(s, f.amount)
	_ = pause(ctx, f.lasts/3)
	links.cut(others...)
	return func() error { return errors.Join(links.mend(others...), steady()) }
}

func (c *conductor) killAll() (err error) {
	for _, s := range c.servers {
		err = errors.Join(err, s.Kill())
	}
	return err
}

func (c *conductor) startAll() (err error) {
	for _, s := range c.servers {
		err = errors.Join(err, s.Start())
	}
	for _, s := range c.servers {
		err = errors.Join(err, s.WaitReady())
	}
	return err
}

// expire ends one of a replica's sessions, at the server that it is connected
// to. Where there is none at the moment, nothing happens.
func (c *conductor) expire(links *links, amount int) error {
	type at struct {
		server int
		credentials
	}
	var open []at
	for i, sessions := range links.sessions() {
		for _, s := range sessions {
			open = append(open, at{i, s})
		}
	}
	if len(open) == 0 {
		return nil
	}
	one := open[amount%len(open)]
	// The server may be down, paused or restarting, the session known no more:
	// then it was another fault that ended it, or nothing did.
	if err := c.servers[one.server].Expire(one.session, one.password); err != nil {
		c.log("a session did not expire: %v", err)
	}
	return nil
}

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// propagationPause is between two changes: nothing of the last is under way
	// any more, and the machine is as idle for one watcher as for another.
	propagationPause = 2 * time.Millisecond
	// propagationWarm changes come first in each turn and are not counted.
	propagationWarm = 20
	// propagationLimit is how long a change may take; longer is an error.
	propagationLimit = 10 * time.Second
)

// contender is one who is told of the changes of one shop. Nobody else is: a
// change is to wake the one that is measured.
type contender struct {
	name, shop string
	// watch begins to watch, until ctx ends. The channel gets each new value.
	watch   func(ctx context.Context) (<-chan sighting, error)
	moves   int // of the shop
	results []delays
}

// sighting is a new value that has come to a watcher, or why none will.
type sighting struct {
	value string // the znode's JSON object, or one with its members
	at    int64  // as of monotonic
	err   error
}

// delays are what one turn has found: from when the writer had its
// acknowledgement to when the watcher had the value, in microseconds.
type delays struct{ p50, p99 float64 }

func delaysOf(nanoseconds []int64) delays {
	slices.Sort(nanoseconds)
	return delays{p50: quantile(nanoseconds, 50) / 1e3, p99: quantile(nanoseconds, 99) / 1e3}
}

// quantile is the smallest of the sorted values that so many percent of them do
// not exceed.
func quantile(sorted []int64, percent int) float64 {
	return float64(sorted[max(0, (len(sorted)*percent+99)/100-1)])
}

// monotonic reads, in nanoseconds, the clock that all processes of a machine
// share.
func monotonic() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err) // every Linux has it
	}
	return t.Nano()
}

// measurePropagation changes a shop again and again, and waits each time until it
// is seen.
func (r *run) measurePropagation(ctx context.Context) error {
	writer, err := r.startWriteC()
	if err != nil {
		return err
	}
	contenders := make([]contender, 3)
	for i := range contenders {
		contenders[i].shop = r.hotShop(i)
		// They all begin in the same datacenter, so that each move is one.
		if _, _, err := contenders[i].move(writer); err != nil {
			return err
		}
	}
	magellan, err := r.startMagellan(ctx)
	if err != nil {
		return err
	}
	if err := r.warmWatched(ctx, magellan); err != nil {
		return err
	}
	c, err := r.startWatchC(ctx, contenders[0].shop, len(contenders))
	if err != nil {
		return err
	}
	contenders[0].name, contenders[0].watch = "C program, zoo_awget loop", c.watch
	contenders[1].name, contenders[1].watch = "magellan, long poll", pollClient{magellan, contenders[1].shop}.watch
	contenders[2].name, contenders[2].watch = "magellan, stream", streamClient{magellan, contenders[2].shop}.watch
	watches, err := watchesOf(r.zookeeper)
	if err != nil {
		return err
	}
	order := []int{0, 1, 2}
	for round := range r.propagationRounds {
		for _, i := range rotated(order, round) {
			who := &contenders[i]
			result, err := who.turn(ctx, writer, r.propagationChanges)
			if err != nil {
				return fmt.Errorf("%s: %w", who.name, err)
			}
			r.progress("propagation round %d: %-26s p50 %4.0f us, p99 %5.0f us", round+1, who.name, result.p50, result.p99)
			who.results = append(who.results, result)
		}
	}
	r.reportPropagation(contenders, watches)
	return nil
}

// move moves the contender's shop to the other datacenter. It returns how that is
// told, which stands in the znode and in the answer, and when it was acknowledged.
func (c *contender) move(writer *writeC) (told string, acknowledged int64, err error) {
	c.moves++
	told = fmt.Sprintf(`"datacenter":%q`, datacenterName(c.moves%2))
	acknowledged, err = writer.set(layout.Shop(c.shop), "{"+told+"}")
	return told, acknowledged, err
}

// turn has the contender see a number of changes.
func (c *contender) turn(ctx context.Context, writer *writeC, changes int) (delays, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	seen, err := c.watch(ctx)
	if err != nil {
		return delays{}, err
	}
	var took []int64
	for i := range propagationWarm + changes {
		told, acknowledged, err := c.move(writer)
		if err != nil {
			return delays{}, err
		}
		select {
		case s := <-seen:
			if s.err != nil {
				return delays{}, s.err
			}
			if !strings.Contains(s.value, told) {
				return delays{}, fmt.Errorf("saw %s, not %s", s.value, told)
			}
			if i >= propagationWarm {
				took = append(took, s.at-acknowledged)
			}
		case <-time.After(propagationLimit):
			return delays{}, fmt.Errorf("has not seen %s after %v", told, propagationLimit)
		case <-ctx.Done():
			return delays{}, context.Cause(ctx)
		}
		time.Sleep(propagationPause)
	}
	return delaysOf(took), nil
}

func (r *run) reportPropagation(contenders []contender, watches int) {
	p50 := func(i int) []float64 {
		return column(contenders[i].results, func(d delays) float64 { return d.p50 })
	}
	p99 := func(i int) []float64 {
		return column(contenders[i].results, func(d delays) float64 { return d.p99 })
	}
	t := &table{head: []string{"watcher", "p50 us", "p99 us", "it : the C program, p50", "it : the C program, p99"}}
	for i, c := range contenders {
		t.add(c.name, number(median(p50(i)), 0), number(median(p99(i)), 0),
			number(ratio(p50(i), p50(0)), 2), number(ratio(p99(i), p99(0)), 2))
	}
	r.report.section("From write to seen", fmt.Sprintf("From when the writer of a shop had its acknowledgement to when the watcher had the new bytes. "+
		"magellan has %s shops in memory, the C program has read the same but for those that are measured, and all are watched: %s watches by the server's own count (wchs). "+
		"Each watcher looks at a shop of its own, so that a change wakes no other. It moves between two datacenters, one move at a time and %v after the last was seen: "+
		"%d moves in each turn, after %d that do not count; %d rounds.\n\n"+
		"The writer is a C program too, which notes the time when zoo_set has returned; it is the same for all. "+
		"The C program reads a znode again, with a new watch, in the callback of its watch, and notes the time first thing in the completion of that read: no other process has to be told. All its watches are on one session. "+
		"The long poll and the stream are read by one more process, each from a plain connection whose reader waits in the kernel; the time is that at which it has read the last of the bytes, before it looks at them, so that the way there counts, and what a client makes of them does not. "+
		"A value that is seen before the acknowledgement counts as the negative time that it took, for all alike.",
		number(float64(r.watched), 0), number(float64(watches), 0), propagationPause, r.propagationChanges, propagationWarm, r.propagationRounds), t)
	for i := 1; i < len(contenders); i++ {
		what := "from write to seen: " + contenders[i].name + " over the C program, "
		r.report.goal(goal{what: what + "p50", decimals: 2, wanted: 1.5, atMost: true, got: ratio(p50(i), p50(0))})
		r.report.goal(goal{what: what + "p99", decimals: 2, wanted: 2, atMost: true, got: ratio(p99(i), p99(0))})
	}
}

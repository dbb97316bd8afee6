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

// contender is one who is told of the changes of one thing. Nobody else is: a
// change is to wake the one that is measured.
type contender struct {
	name string
	// change makes the n-th change, which is acknowledged at a time. It returns how the change
	// is told: each value that comes to a watcher after it has told in it, and none before it,
	// or the other way round if the change takes something away.
	change func(writer *writeC, n int) (told told, acknowledged int64, err error)
	// watch begins to watch, until ctx ends. The channel gets each new value.
	watch func(ctx context.Context) (<-chan sighting, error)
	// shared: changes that others made may come to the watcher late, before its own.
	shared  bool
	changes int
	results []delays
}

// told is what a value has in it after a change, or has not.
type told struct {
	text string
	gone bool
}

// by reports whether a value tells of the change. A value of watch.c names what has gone.
func (t told) by(value string) bool {
	return strings.Contains(value, t.text) != t.gone || t.gone && strings.HasPrefix(value, "gone ")
}

func (t told) String() string {
	if t.gone {
		return "the end of " + t.text
	}
	return t.text
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
		contenders[i].change = moveShop(r.hotShop(i))
		// They all begin in the same datacenter, so that each move is one.
		if _, _, err := contenders[i].next(writer); err != nil {
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
	// Of the shops in magellan's memory the C program leaves out those of the other two.
	c, err := r.startWatchC(ctx, r.watched-len(contenders)+1, func(i int) string {
		if i == 0 {
			return layout.Shop(r.hotShop(0))
		}
		return layout.Shop(r.hotShop(len(contenders) + i - 1))
	})
	if err != nil {
		return err
	}
	contenders[0].name, contenders[0].watch = "C program, zoo_awget loop", c.watch
	contenders[1].name, contenders[1].watch = "magellan, long poll", pollClient{magellan, "/v1/shops/" + r.hotShop(1)}.watch
	contenders[2].name, contenders[2].watch = "magellan, stream", streamClient{magellan, "shop=" + r.hotShop(2)}.watch
	watches, err := watchesOf(r.zookeeper)
	if err != nil {
		return err
	}
	if err := r.seeInTurn(ctx, contenders, writer, r.propagationChanges); err != nil {
		return err
	}
	r.reportPropagation(contenders, watches)
	return nil
}

// seeInTurn has each contender see a number of changes in each round.
func (r *run) seeInTurn(ctx context.Context, contenders []contender, writer *writeC, changes int) error {
	order := make([]int, len(contenders))
	for i := range order {
		order[i] = i
	}
	for round := range r.propagationRounds {
		for _, i := range rotated(order, round) {
			who := &contenders[i]
			result, err := who.turn(ctx, writer, changes)
			if err != nil {
				return fmt.Errorf("%s: %w", who.name, err)
			}
			r.progress("propagation round %d: %-26s p50 %4.0f us, p99 %5.0f us", round+1, who.name, result.p50, result.p99)
			who.results = append(who.results, result)
		}
	}
	return nil
}

// moveShop moves a shop between two datacenters. How that is told stands in the znode and in
// the answer.
func moveShop(shop string) func(*writeC, int) (told, int64, error) {
	return func(writer *writeC, n int) (told, int64, error) {
		t := told{text: fmt.Sprintf(`"datacenter":%q`, datacenterName(n%2))}
		acknowledged, err := writer.set(layout.Shop(shop), "{"+t.text+"}")
		return t, acknowledged, err
	}
}

// next makes the next change.
func (c *contender) next(writer *writeC) (told, int64, error) {
	c.changes++
	return c.change(writer, c.changes)
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
		told, acknowledged, err := c.next(writer)
		if err != nil {
			return delays{}, err
		}
		at, err := c.awaits(ctx, seen, told)
		if err != nil {
			return delays{}, err
		}
		if i >= propagationWarm {
			took = append(took, at-acknowledged)
		}
		time.Sleep(propagationPause)
	}
	return delaysOf(took), nil
}

// awaits returns when the watcher had the value that tells of a change.
func (c *contender) awaits(ctx context.Context, seen <-chan sighting, told told) (at int64, err error) {
	limit := time.After(propagationLimit)
	for {
		select {
		case s := <-seen:
			switch {
			case s.err != nil:
				return 0, s.err
			case told.by(s.value):
				return s.at, nil
			case !c.shared:
				return 0, fmt.Errorf("saw %.500s, not %v", s.value, told)
			}
		case <-limit:
			return 0, fmt.Errorf("has not seen %v after %v", told, propagationLimit)
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

func (c contender) p50() []float64 {
	return column(c.results, func(d delays) float64 { return d.p50 })
}

func (c contender) p99() []float64 {
	return column(c.results, func(d delays) float64 { return d.p99 })
}

// propagationTable has the C program first.
func propagationTable(contenders []contender) *table {
	t := &table{head: []string{"watcher", "p50 us", "p99 us", "it : the C program, p50", "it : the C program, p99"}}
	for _, c := range contenders {
		t.add(c.name, number(median(c.p50()), 0), number(median(c.p99()), 0),
			number(ratio(c.p50(), contenders[0].p50()), 2), number(ratio(c.p99(), contenders[0].p99()), 2))
	}
	return t
}

func (r *run) reportPropagation(contenders []contender, watches int) {
	r.report.section("From write to seen", fmt.Sprintf("From when the writer of a shop had its acknowledgement to when the watcher had the new bytes. "+
		"magellan has %s shops in memory, the C program has read the same but for those that are measured, and all are watched: %s watches by the server's own count (wchs). "+
		"Each watcher looks at a shop of its own, so that a change wakes no other. It moves between two datacenters, one move at a time and %v after the last was seen: "+
		"%d moves in each turn, after %d that do not count; %d rounds.\n\n"+
		"The writer is a C program too, which notes the time when zoo_set has returned; it is the same for all. "+
		"The C program reads a znode again, with a new watch, in the callback of its watch, and notes the time first thing in the completion of that read: no other process has to be told. All its watches are on one session. "+
		"The long poll and the stream are read by one more process, each from a plain connection whose reader waits in the kernel; the time is that at which it has read the last of the bytes, before it looks at them, so that the way there counts, and what a client makes of them does not. "+
		"A value that is seen before the acknowledgement counts as the negative time that it took, for all alike.",
		number(float64(r.watched), 0), number(float64(watches), 0), propagationPause, r.propagationChanges, propagationWarm, r.propagationRounds), propagationTable(contenders))
	for i := 1; i < len(contenders); i++ {
		what := "from write to seen: " + contenders[i].name + " over the C program, "
		r.report.goal(goal{what: what + "p50", decimals: 2, wanted: 1.5, atMost: true, got: ratio(contenders[i].p50(), contenders[0].p50())})
		r.report.goal(goal{what: what + "p99", decimals: 2, wanted: 2, atMost: true, got: ratio(contenders[i].p99(), contenders[0].p99())})
	}
}

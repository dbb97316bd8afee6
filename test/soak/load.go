package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"magellan/internal/zk/zktest"
	"magellan/test/magellan"
)

// load is a steady load on one magellan, and what is looked at meanwhile.
type load struct {
	magellan    string
	duration    time.Duration
	measure     time.Duration // of the capacity
	share       float64       // of the capacity
	shops       int
	connections int
	changes     int // per second
}

func loadCommand(flags *flag.FlagSet) func(context.Context) error {
	var l load
	flags.StringVar(&l.magellan, "magellan", "dist/magellan", "the `binary`")
	flags.DurationVar(&l.duration, "duration", 30*time.Minute, "how `long`")
	flags.DurationVar(&l.measure, "measure", 20*time.Second, "how long the capacity is measured before")
	flags.Float64Var(&l.share, "share", 0.7, "the load, as a `part` of the capacity")
	flags.IntVar(&l.shops, "shops", 50_000, "how many shops there are, all in memory")
	flags.IntVar(&l.connections, "connections", 64, "how many connections")
	flags.IntVar(&l.changes, "changes", 1000, "changes of shops in a second")
	return l.run
}

// run starts ZooKeeper and magellan, finds out the capacity, puts the load on and
// compares the end with the beginning.
func (l *load) run(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "soak-load-")
	if err != nil {
		return err
	}
	defer func() {
		if err == nil {
			err = os.RemoveAll(dir)
		} else {
			err = fmt.Errorf("%w; the log is in %s", err, dir)
		}
	}()
	zookeeper, err := zktest.New(zktest.Config{Java: []string{"-Xmx512m", "-XX:TieredStopAtLevel=4"}, Lines: []string{"autopurge.purgeInterval=1"}})
	if err != nil {
		return err
	}
	defer zookeeper.Close()
	writer, err := openShops(ctx, zookeeper.Addr(), l.shops)
	if err != nil {
		return err
	}
	defer writer.close()
	m, err := magellan.Serve{Binary: l.magellan, Dir: dir, Name: "magellan", Args: []string{"--servers", zookeeper.Addr(), "--log-level", "warn"}}.Start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Finish(30*time.Second)) }()
	requests, err := newRequests(ctx, m.URL, l.shops)
	if err != nil {
		return err
	}

	changing, endChanges := context.WithCancel(ctx)
	defer endChanges()
	changed := writer.start(changing, l.changes)
	most, err := requests.send(ctx, l.connections, 0, l.measure)
	if err != nil {
		return err
	}
	fmt.Printf("capacity: %v, with %d changes a second\n", most, l.changes)

	rate := l.share * most.perSecond()
	watching, endWatch := context.WithCancel(ctx)
	defer endWatch()
	watched := make(chan samples)
	go func() { watched <- watch(watching, m, zookeeper) }()
	got, err := requests.send(ctx, l.connections, rate, l.duration)
	endWatch()
	seen := <-watched
	endChanges()
	wrote := <-changed
	if err != nil {
		return err
	}
	fmt.Printf("load: %.0f of %.0f a second that were to be sent: %v\nchanges: %v\n", got.perSecond(), rate, got, wrote)
	suspects, err := suspects(ctx, m)
	if err != nil {
		return err
	}
	fmt.Printf("native profile: %s", suspects.text)
	verdict := []error{seen.judge()}
	if got.failed > 0 || most.failed > 0 {
		verdict = append(verdict, fmt.Errorf("%d requests have failed", got.failed+most.failed))
	}
	if wrote.failed > 0 {
		verdict = append(verdict, fmt.Errorf("%d changes have failed", wrote.failed))
	}
	if suspects.number > 0 {
		verdict = append(verdict, fmt.Errorf("%d stacks are suspected of a leak", suspects.number))
	}
	return errors.Join(verdict...)
}

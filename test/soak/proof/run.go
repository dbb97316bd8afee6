package proof

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"magellan/internal/zk"
	"magellan/internal/zk/zktest"
)

const (
	ensembleSize = 3
	writers      = 4
	// DefaultPatience is of Config.Patience.
	DefaultPatience = 2 * time.Minute
)

// Config of a run.
type Config struct {
	// Magellan is the binary. Required.
	Magellan string
	// Seed says which faults come when, and by its lowest bit which sessions
	// there are: where it is odd, the servers keep them to themselves
	// (localSessionsEnabled), so that a session ends with its connection's move,
	// and a new one may begin at a server that lags behind.
	Seed uint64
	// Rounds is how many there are, each followed by a time without faults.
	Rounds int
	// Round is how long the faults of one last.
	Round time.Duration
	// Patience is how long everything may take to come back once all faults are
	// mended; it says nothing about how long it does take. 0 is DefaultPatience.
	Patience time.Duration
	// Readers is how many ask each replica at once.
	Readers int
	// Dir receives the logs. Required; it must exist.
	Dir string
	// Out is told what happens. nil: nobody is.
	Out io.Writer
}

// Report is what a run has come to.
type Report struct {
	// Reads, Writes and Silent count the operations that were recorded: answers
	// about a key, versions, and answers that say that there is none now.
	Reads, Writes, Silent int
	// Faults is how many were inflicted, and Losses how many sessions with services in them have
	// ended.
	Faults, Losses int
	Violations     []Violation
}

// Operations is how many operations were recorded.
func (r Report) Operations() int { return r.Reads + r.Writes + r.Silent }

func (r Report) String() string {
	return fmt.Sprintf("%d operations recorded (%d answers, %d answers that none can be given, %d writes) under %d faults and %d losses of services' sessions: %d violations",
		r.Operations(), r.Reads, r.Silent, r.Writes, r.Faults, r.Losses, len(r.Violations))
}

// run is a run that goes on.
type run struct {
	Config
	start    time.Time
	out      sync.Mutex
	ensemble *zktest.Ensemble
	zk       *zk.Client
	replicas []*replica
	writers  []*writer
	subjects []*subject
	keys     []*key // of all subjects
	found    violations
	report   Report
}

// Run runs Config.Rounds rounds, or until there are violations. The error says
// that the run itself has failed, and proves nothing.
func Run(ctx context.Context, cfg Config) (Report, error) {
	if cfg.Patience == 0 {
		cfg.Patience = DefaultPatience
	}
	r := &run{Config: cfg, start: time.Now(), subjects: newSubjects()}
	r.keys = keysOf(r.subjects)
	err := r.open(ctx)
	for round := 0; round < cfg.Rounds && err == nil; round++ {
		err = r.round(ctx, round)
		r.report.Violations = r.found.take()
		r.say("round %d: %v", round, r.report)
		if len(r.report.Violations) > 0 {
			break
		}
	}
	return r.report, errors.Join(err, r.close())
}

func (r *run) now() instant { return time.Since(r.start) }

// say tells Config.Out.
func (r *run) say(format string, args ...any) {
	if r.Out == nil {
		return
	}
	r.out.Lock()
	defer r.out.Unlock()
	fmt.Fprintf(r.Out, "%9.3f seed %d: %s\n", r.now().Seconds(), r.Seed, fmt.Sprintf(format, args...))
}

func (r *run) open(ctx context.Context) (err error) {
	lines := []string{"snapCount=20000", "autopurge.purgeInterval=1"}
	if r.Seed%2 == 1 {
		lines = append(lines, "localSessionsEnabled=true", "localSessionsUpgradingEnabled=true")
	}
	if r.ensemble, err = zktest.NewEnsemble(ensembleSize, zktest.Config{Lines: lines}); err != nil {
		return err
	}
	if r.zk, err = zk.Open(zk.Config{Servers: r.ensemble.Addrs(), SessionTimeout: 10 * time.Second}); err != nil {
		return err
	}
	starting, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	if err := r.zk.WaitReady(starting); err != nil {
		return err
	}
	if _, err := r.zk.Multi(starting, nodes(r.subjects)...); err != nil {
		return err
	}
	for _, k := range r.keys {
		k.versions = []version{{value: absent, by: r.now()}}
	}
	if err := r.openWriters(starting); err != nil {
		return err
	}
	for i, s := range replicas {
		one, err := newReplica(s, r.ensemble.Servers, r.now)
		if err != nil {
			return err
		}
		r.replicas = append(r.replicas, one)
		if err := one.start(ctx, r.Magellan, r.Dir, fmt.Sprint("replica-", i)); err != nil {
			return err
		}
		crowd := r.newReader(r.roundSeed(0), i, one.URL, 0)
		for from := 0; from < crowdShops; from += 1000 {
			if err := crowd.lookup(ctx, from, 1000); err != nil {
				return err
			}
		}
	}
	return nil
}

// close ends everything. A replica that does not end well is an error.
func (r *run) close() error {
	var errs []error
	for _, one := range r.replicas {
		errs = append(errs, one.close())
	}
	for _, w := range r.writers {
		if w.owner.zk != nil {
			errs = append(errs, w.owner.zk.Close())
		}
	}
	if r.zk != nil {
		errs = append(errs, r.zk.Close())
	}
	if r.ensemble != nil {
		if len(r.report.Violations) > 0 {
			for i, s := range r.ensemble.Servers {
				errs = append(errs, os.WriteFile(filepath.Join(r.Dir, fmt.Sprintf("server-%d.log", i+1)), []byte(s.Log()), 0o644))
			}
		}
		errs = append(errs, r.ensemble.Close())
	}
	return errors.Join(errs...)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"magellan/internal/childproc"
	"magellan/internal/zk/zktest"
)

// runCmd measures. The short form is for CI: the same work with less of it.
type runCmd struct {
	Short    bool     `help:"A few minutes instead of a quarter of an hour: fewer shops, fewer and shorter rounds."`
	Rounds   int      `help:"Rounds of each measurement; 0 is 3 to 9, or 1 to 3 in the short form." placeholder:"N"`
	Parts    []string `help:"What to measure: ${enum}." enum:"reads,lookup,fill,memory,allocations,profiling,propagation,scale,services,agent" default:"reads,lookup,fill,memory,allocations,profiling,propagation,scale,services,agent"`
	Out      string   `help:"File to write the report to; empty is standard output. What a document has above its mark stays." placeholder:"FILE"`
	Profiles string   `help:"Directory for CPU profiles of magellan, each taken in a further round that does not count." placeholder:"DIR"`
	Magellan string   `help:"The magellan binary." default:"dist/magellan" placeholder:"FILE"`
	FillC    string   `help:"The binary of fill.c." default:"dist/bench-fill" placeholder:"FILE"`
	WatchC   string   `help:"The binary of watch.c." default:"dist/bench-watch" placeholder:"FILE"`
	WriteC   string   `help:"The binary of write.c." default:"dist/bench-write" placeholder:"FILE"`
	Gozk     string   `help:"The binary of test/bench/gozk." default:"dist/bench-gozk" placeholder:"FILE"`
	Original string   `help:"The same, built with the original gozk; empty: it is not measured." placeholder:"FILE"`
	Plain    string   `help:"The binary of test/bench/plain." default:"dist/bench-plain" placeholder:"FILE"`
	Unwinder string   `help:"The test binary of cgo/jemalloc." default:"dist/bench-unwinder" placeholder:"FILE"`
	Command  string   `help:"The command line the report names." hidden:""`
}

// sizes of a run. Many short rounds are better than a few long ones: what else
// the machine does then spoils single rounds, which the median leaves out.
type sizes struct {
	dataset
	warm       time.Duration // before the first round, each server
	readTime   time.Duration // 64 connections, each server and round
	oneByOne   time.Duration // one connection
	lookupTime time.Duration

	watched            int // shops, while changes propagate
	propagationChanges int // in each turn

	loadRounds, fillRounds, memoryRounds, allocationRounds, propagationRounds int
}

func (c *runCmd) sizes() sizes {
	s := sizes{
		dataset:    dataset{shops: 1_000_000, hot: 200_000, draws: 500_000},
		warm:       2 * time.Second,
		readTime:   2 * time.Second,
		oneByOne:   time.Second,
		lookupTime: 2 * time.Second,
		watched:    100_000, propagationChanges: 1000,
		loadRounds: 9, fillRounds: 5, memoryRounds: 3, allocationRounds: 5, propagationRounds: 9,
	}
	if c.Short {
		s = sizes{
			dataset:    dataset{shops: 100_000, hot: 40_000, draws: 100_000},
			warm:       time.Second,
			readTime:   time.Second,
			oneByOne:   time.Second,
			lookupTime: time.Second,
			watched:    10_000, propagationChanges: 300,
			loadRounds: 3, fillRounds: 3, memoryRounds: 1, allocationRounds: 3, propagationRounds: 3,
		}
	}
	if n := c.Rounds; n > 0 {
		s.loadRounds, s.fillRounds, s.memoryRounds, s.allocationRounds, s.propagationRounds = n, n, n, n, n
	}
	return s
}

// run is the state of one run of the bench.
type run struct {
	sizes
	files
	cmd       *runCmd
	self      string // this program
	dir       string // temporary
	zookeeper *zktest.Server
	processes []*process
	machine   string
	report    report
	began     time.Time
}

// Run measures and writes the report.
func (c *runCmd) Run(ctx context.Context) (err error) {
	r := &run{sizes: c.sizes(), cmd: c, began: time.Now()}
	if r.self, err = os.Executable(); err != nil {
		return err
	}
	binaries := []*string{&c.Magellan, &c.FillC, &c.WatchC, &c.WriteC, &c.Gozk, &c.Plain, &c.Unwinder}
	if c.Original != "" {
		binaries = append(binaries, &c.Original)
	}
	for _, binary := range binaries {
		if _, err := exec.LookPath(*binary); err != nil {
			return fmt.Errorf("%w: test/bench/run.sh builds it", err)
		}
		if *binary, err = filepath.Abs(*binary); err != nil {
			return err
		}
	}
	if r.dir, err = os.MkdirTemp("", "magellan-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.dir)) }()
	err = r.measure(ctx)
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted; nothing is left running")
	case len(r.report.sections) == 0:
		return err
	}
	// What was measured before something failed is worth having.
	return errors.Join(err, c.write(r.report.text(r)))
}

// reportFollows is the line of a document that stays when a report is written
// into it, with all above.
const reportFollows = "<!-- What follows is written by test/bench/run.sh --out. -->\n"

// write writes the report to where it is wanted.
func (c *runCmd) write(text string) error {
	if c.Out == "" {
		_, err := os.Stdout.WriteString(text)
		return err
	}
	old, err := os.ReadFile(c.Out)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if head, _, ok := strings.Cut(string(old), reportFollows); ok {
		text = head + reportFollows + "\n" + text
	}
	return os.WriteFile(c.Out, []byte(text), 0o644)
}

// measure runs the parts. Whatever has been started ends before it returns.
func (r *run) measure(ctx context.Context) (err error) {
	defer r.stopAll()
	parts := []struct {
		name    string
		measure func(context.Context) error
	}{
		{"fill", r.measureFill}, // first: no other watches burden the server yet
		{"reads", r.measureReads},
		{"lookup", r.measureLookup},
		{"memory", r.measureMemory},
		{"allocations", r.measureAllocations},
		{"profiling", r.measureProfiling},
		{"propagation", r.measurePropagation}, // moves shops
		{"scale", r.measureScale},
		{"services", r.measureServices},
		{"agent", r.measureAgent},
	}
	own := []string{"allocations", "scale", "services", "agent"} // these start a ZooKeeper of their own, or none
	if slices.ContainsFunc(r.cmd.Parts, func(part string) bool { return !slices.Contains(own, part) }) {
		if err := r.startZooKeeper(ctx); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, r.zookeeper.Close()) }()
	}
	defer func() { // before ZooKeeper ends, which is asked
		if r.machine == "" {
			r.machine = r.describeMachine(ctx)
		}
	}()
	for _, part := range parts {
		if !slices.Contains(r.cmd.Parts, part.name) {
			continue
		}
		r.progress("%s", part.name)
		if err := part.measure(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
		r.stopAll()
	}
	return nil
}

// startZooKeeper starts a server with the data set in it. It is tuned to load
// quickly (nothing is flushed to the disk, no snapshots); reads do not care.
func (r *run) startZooKeeper(ctx context.Context) (err error) {
	r.progress("ZooKeeper: loading %s shops", number(float64(r.shops), 0))
	if r.files, err = r.dataset.write(r.dir); err != nil {
		return err
	}
	r.zookeeper, err = zktest.New(zktest.Config{
		Dir:   filepath.Join(r.dir, "zookeeper"),
		Java:  []string{"-Xms3g", "-Xmx3g", "-XX:TieredStopAtLevel=4", "-Dzookeeper.forceSync=no"},
		Lines: []string{"tickTime=2000", "snapCount=100000000", "maxSessionTimeout=60000"},
	})
	if err != nil {
		return err
	}
	if err := r.dataset.load(ctx, r.zookeeper.Addr()); err != nil {
		return errors.Join(err, r.zookeeper.Close())
	}
	return nil
}

// start starts a child that stopAll ends.
func (r *run) start(name string, cmd *exec.Cmd) (*process, error) {
	p, err := childproc.Start(cmd)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return r.started(name, p), nil
}

// started notes a child for stopAll to end.
func (r *run) started(name string, child *childproc.Process) *process {
	p := &process{child, name}
	r.processes = append(r.processes, p)
	return p
}

// stopAll ends all children, the last one first.
func (r *run) stopAll() {
	for _, p := range slices.Backward(r.processes) {
		p.stop()
	}
	r.processes = nil
}

// progress says on standard error what goes on.
func (r *run) progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: %4.0f s  %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}

// rotated returns the values in the order of a round: each goes first in turn.
func rotated[T any](values []T, round int) []T {
	n := round % len(values)
	return slices.Concat(values[n:], values[:n])
}

// report is what the parts have found.
type report struct {
	sections []string
	goals    []goal
}

// section adds a part's tables.
func (r *report) section(title, about string, tables ...*table) {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n%s\n", title, about)
	for _, t := range tables {
		fmt.Fprintf(&b, "\n%s", t)
	}
	r.sections = append(r.sections, b.String())
}

func (r *report) goal(g goal) { r.goals = append(r.goals, g) }

// text is the whole report.
func (r *report) text(of *run) string {
	var b strings.Builder
	fmt.Fprintf(&b, "`%s` on %s, in %s.\n\n%s\n", of.cmd.Command, time.Now().Format("2006-01-02"),
		time.Since(of.began).Round(time.Second), of.machine)
	if of.zookeeper != nil {
		fmt.Fprintf(&b, "%s shops in ZooKeeper, %s of them asked for. ", number(float64(of.shops), 0), number(float64(of.hot), 0))
	}
	b.WriteString("In each round all take turns; " +
		"each number is the median of the rounds, each ratio the median of the rounds' ratios.\n")
	if of.cmd.Short {
		b.WriteString("This is the short form: a tenth of the shops or less, fewer and shorter rounds.\n")
	}
	goals := table{head: []string{"goal", "wanted", "measured", ""}}
	for _, g := range r.goals {
		goals.add(g.cells()...)
	}
	if len(r.goals) > 0 {
		fmt.Fprintf(&b, "\n%s", &goals)
	}
	for _, s := range r.sections {
		fmt.Fprintf(&b, "\n%s", s)
	}
	return b.String()
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"magellan/internal/childproc"
	"magellan/internal/zk/zktest"
)

// hunt is a run, as its command line has it.
type hunt struct {
	Duration time.Duration `default:"10m" help:"How long to watch; a leak takes about 5 minutes to be named. What leaks is watched for up to twice as long where less was asked of it than should have been."`
	Until    bool          `help:"End what leaks as soon as its leak is named; the rest is for who does not leak."`
	Gets     float64       `default:"6400" help:"Shops a second that are asked for alone: leakhandler forgets 8 bytes for each." placeholder:"N"`
	Reads    float64       `default:"3000" help:"Shops a second that are read from ZooKeeper: leakvector forgets 8 bytes for each." placeholder:"N"`
	Sample   int           `help:"Sample one allocation each 2^N bytes instead of each 2^19 (512 KiB): quicker with 17 where the load cannot be had." placeholder:"N"`
	Fixtures []string      `default:"leakvector,leakhandler,magellan" help:"Whom to watch: ${default}." placeholder:"NAME"`
	Binaries string        `default:"dist" help:"Where the binaries of these names are." placeholder:"DIR"`
	Out      string        `default:"dist/leakhunt" help:"Where to write what was seen: memory.tsv, NAME.txt." placeholder:"DIR"`

	began time.Time
}

func main() {
	var h hunt
	kong.Parse(&h, kong.Name("leakhunt"), kong.UsageOnError(),
		kong.Description("Lets magellan leak under load, and looks whether it names the leak. Ends with 1 if it does not."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := h.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "leakhunt:", err)
		stop()
		os.Exit(1)
	}
}

// lookInterval is the time between two looks at a process.
const lookInterval = 5 * time.Second

func (h *hunt) run(ctx context.Context) (err error) {
	h.began = time.Now()
	var watched []*fixture
	for _, name := range h.Fixtures {
		i := slices.IndexFunc(fixtures, func(f fixture) bool { return f.name == name })
		if i < 0 {
			return fmt.Errorf("--fixtures: there is no %q", name)
		}
		watched = append(watched, &fixtures[i])
	}
	if err := os.MkdirAll(h.Out, 0o755); err != nil {
		return err
	}
	zookeeper, err := zktest.New(zktest.Config{Java: []string{"-Dzookeeper.forceSync=no"}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, zookeeper.Close()) }()
	if err := h.fill(ctx, zookeeper.Addr()); err != nil {
		return err
	}
	memory, err := os.Create(filepath.Join(h.Out, "memory.tsv"))
	if err != nil {
		return err
	}
	table := &table{w: memory}
	defer func() { err = errors.Join(err, table.err, memory.Close()) }()
	table.row("seconds", "name", "rss_bytes", "native_live_bytes", "go_heap_bytes", "suspects")

	var all sync.WaitGroup
	results := make([]error, len(watched))
	for i, f := range watched {
		all.Go(func() {
			if results[i] = h.watch(ctx, f, zookeeper.Addr(), table); results[i] != nil {
				results[i] = fmt.Errorf("%s: %w", f.name, results[i])
				h.progress("FAILED: %v", results[i])
			}
		})
	}
	all.Wait()
	if ctx.Err() != nil {
		return errors.New("interrupted; nothing is left running")
	}
	return errors.Join(results...)
}

// fill writes the sample data and the shops.
func (h *hunt) fill(ctx context.Context, zookeeper string) error {
	path := filepath.Join(h.Out, "shops.csv")
	text := []byte("shop,datacenter\n")
	for i := range shops {
		text = append(strconv.AppendInt(text, int64(i+1), 10), ",ash1\n"...)
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return err
	}
	_, err := childproc.Run(ctx, exec.Command(filepath.Join(h.Binaries, "magellan"), "import", "--servers", zookeeper,
		"demo/sample/datacenters.jsonl", "demo/sample/regions.csv", path))
	return err
}

// watch runs one fixture under its load and says whether it showed what it should.
func (h *hunt) watch(ctx context.Context, f *fixture, zookeeper string, table *table) (err error) {
	t, err := f.start(ctx, filepath.Join(h.Binaries, f.name), zookeeper, h.Out, h.Sample)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Finish(stopTimeout)) }()
	l := newLoad(t.URL, 0, 0)
	if f.gets {
		l.gets = h.Gets
	}
	if f.reads {
		l.reads = h.Reads
	}
	ctx, cancel := context.WithTimeout(ctx, 2*h.Duration)
	var asking sync.WaitGroup
	began := time.Now()
	asking.Go(func() { l.run(ctx) })
	defer asking.Wait()
	defer cancel()

	var named time.Duration // when the leak was
	ticks := time.NewTicker(lookInterval)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
		case <-ticks.C:
		}
		ended := ctx.Err() != nil
		// The last look is after the load, whose end must not cut it off.
		m, found, err := t.look(context.WithoutCancel(ctx))
		if err != nil {
			return err
		}
		at := time.Since(began)
		// What leaks with each request leaks less on a busy machine.
		ended = ended || at >= h.Duration && (f.stack == nil || named > 0 || l.wasHad(at))
		table.row(fmt.Sprintf("%.1f", at.Seconds()), f.name, m.RSS, m.Native, m.GoHeap, found.Suspects)
		wrong := f.check(&found)
		if f.stack == nil && wrong != nil {
			h.keep(t)
			return fmt.Errorf("after %.0f s: %w", at.Seconds(), wrong)
		}
		if f.stack != nil && named == 0 && wrong == nil {
			named = at
			h.progress("%s: named after %.0f s, %s", f.name, at.Seconds(), rates(l, at))
			ended = ended || h.Until
		}
		if !ended {
			continue
		}
		h.keep(t)
		h.progress("%s: %.0f s, %s, %.1f MiB resident, %d suspects", f.name, at.Seconds(), rates(l, at), float64(m.RSS)/(1<<20), found.Suspects)
		cancel()
		asking.Wait()
		if n := l.failed.Load(); n > 0 {
			return fmt.Errorf("%d requests failed; the first: %w", n, l.failure)
		}
		return wrong // what was named must still be
	}
}

// rates says how much was asked.
func rates(l *load, d time.Duration) string {
	return fmt.Sprintf("%.0f shops/s alone, %.0f/s from ZooKeeper",
		float64(l.doneGets.Load())/d.Seconds(), float64(l.doneReads.Load())/d.Seconds())
}

// keep writes down what operators see of t.
func (h *hunt) keep(t *target) {
	for name, path := range map[string]string{
		"leaks.txt": "/admin/jeprof/leaks?format=text&all=1", "memory.json": "/admin/memory", "profile.pb.gz": "/debug/pprof/native",
	} {
		body, err := t.ask(context.Background(), path)
		if err == nil {
			err = os.WriteFile(filepath.Join(h.Out, t.name+"-"+name), body, 0o644)
		}
		if err != nil {
			h.progress("%s: %v", t.name, err)
		}
	}
}

// progress says on standard error what goes on.
func (h *hunt) progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "leakhunt: %4.0f s  %s\n", time.Since(h.began).Seconds(), fmt.Sprintf(format, args...))
}

// table is a file of tab-separated values that many goroutines write, a whole row
// at a time.
type table struct {
	mu  sync.Mutex
	w   io.Writer
	err error // the first
}

func (t *table) row(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fmt.Sprint(c)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, err := fmt.Fprintln(t.w, strings.Join(row, "\t")); t.err == nil {
		t.err = err
	}
}

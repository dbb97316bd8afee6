package main

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/term"

	"magellan/internal/shops"
	"magellan/internal/zk"
)

type importCommand struct {
	Files []string `arg:"" optional:"" name:"file" help:"Files to import. - is standard input, which is also read if no file is given."`

	Kind     string        `env:"MAGELLAN_IMPORT_KIND" enum:",shops,datacenters,regions,bad-citizens" default:"" placeholder:"KIND" help:"Content of the files: shops, datacenters, regions or bad-citizens. Needed only for lists that come from standard input or from files not named *.txt."`
	List     string        `env:"MAGELLAN_IMPORT_LIST" placeholder:"NAME" help:"Name of the bad-citizen list. The default is the file's name without its extension."`
	InFlight int           `env:"MAGELLAN_IMPORT_IN_FLIGHT" default:"1000" placeholder:"N" help:"Number of znodes that are written at once."`
	ACL      string        `name:"acl" env:"MAGELLAN_IMPORT_ACL" placeholder:"ACL" help:"ACL of the znodes that import creates, directories included. Existing znodes keep theirs. creator gives all permissions to the identity of --auth, and none to others. world gives all permissions to everybody. Otherwise it is a list of entries as in zkCli, SCHEME:ID:PERMS separated by commas, such as auth::cdrwa,world:anyone:r; these must let import itself create, read and write. The default is creator with --auth, and world without."`
	DryRun   bool          `env:"MAGELLAN_IMPORT_DRY_RUN" help:"Check the files and write nothing. ZooKeeper is not contacted."`
	Timeout  time.Duration `env:"MAGELLAN_IMPORT_TIMEOUT" default:"30s" placeholder:"DURATION" help:"How long ZooKeeper may be unreachable, at the start or later, before import gives up."`

	zookeeperFlags `group:"ZooKeeper"`
}

// Help is shown below the flags.
func (c *importCommand) Help() string {
	return `Shops, datacenters and regions are read from CSV with a header, or from JSON lines with one object each. The fields, in any order, are

    shop,datacenter
    datacenter,region,capacity,assigned,open
    region,open

assigned and open may be left out: assigned is then 0, and open is true. Import recognizes which of the three a file holds by its fields, or by --kind. It recognizes CSV (.csv) and JSON (.jsonl, .ndjson, .json) by the file's name, or else by its first byte.

Files named *.txt are bad-citizen lists; the list has the name of the file. Each line has an address or CIDR prefix, followed by expires=TIME and reason="TEXT" if wanted. # begins a comment.

Bad lines are reported and left out. Records that ZooKeeper already has are not written again, and nothing is deleted. To complete an interrupted import, run it again.`
}

// Run imports.
func (c *importCommand) Run(ctx context.Context, con *console) error {
	layout, err := c.layout()
	if err != nil {
		return err
	}
	if c.InFlight < 1 || c.InFlight > 50_000 {
		return fail(exitUsage, "--in-flight: %d is not between 1 and 50000", c.InFlight)
	}
	if c.Timeout <= 0 {
		return fail(exitUsage, "--timeout: %v is not a positive duration", c.Timeout)
	}
	acl, err := c.newACL(c.ACL)
	if err != nil {
		return err
	}
	sources, size, closeFiles, err := c.open(con.in)
	if err != nil {
		return err
	}
	defer closeFiles()
	i := &importer{layout: layout, stderr: con.err, named: map[kind]map[string]reference{}, held: map[kind]map[string]bool{}}
	if !c.DryRun {
		client, err := c.connect(ctx, c.Timeout, nil)
		if err != nil {
			return err
		}
		defer client.Close()
		i.writer = &writer{client: client, patience: c.Timeout, acl: acl}
		if c.ACL != "" {
			if missing := i.writer.lockedOut(ctx, layout.Root); missing != "" {
				return fail(exitUsage, "--acl: import could not %s the znodes that it creates: add an entry for its own identity, such as auth::cdrwa for that of --auth; nothing has been written", missing)
			}
		}
	}
	i.bar = newProgress(con.err, size)
	start := time.Now()
	err = i.run(ctx, sources, c.InFlight)
	i.bar.finish()
	if err == nil {
		i.checkReferences(ctx)
	}
	i.summarize(con.out, time.Since(start))
	const again = "run the same again to go on"
	switch {
	case ctx.Err() != nil:
		return fail(exitInterrupted, "interrupted; %s", again)
	case isAway(err):
		return fmt.Errorf("%w; %s (%w)", c.unreachable(c.Timeout, err), again, err)
	case errors.Is(err, zk.ErrNoAuth):
		return fmt.Errorf("%w: give credentials that may write there with --auth (MAGELLAN_AUTH)", err)
	case errors.Is(err, zk.ErrInvalidACL):
		return fmt.Errorf("%w: ZooKeeper does not have a scheme of --acl, or has no identity of this client for creator: check --acl and --auth (MAGELLAN_AUTH)", err)
	case err != nil:
		return err
	case i.count.bad > 0:
		return &codedError{code: exitFailed} // each has been reported
	}
	return nil
}

// open opens the files. size is the number of their bytes, or -1 if that is unknown.
func (c *importCommand) open(stdin *os.File) (sources []*source, size int64, closeFiles func(), err error) {
	names := c.Files
	if len(names) == 0 {
		if term.IsTerminal(int(stdin.Fd())) {
			return nil, 0, nil, fail(exitUsage, "no file is given, and standard input is a terminal: see magellan import --help")
		}
		names = []string{"-"}
	}
	var files []*os.File
	closeFiles = func() {
		for _, f := range files {
			f.Close() // only read from
		}
	}
	for _, name := range names {
		s, err := newSource(name, kind(c.Kind), c.List)
		if err != nil {
			closeFiles()
			return nil, 0, nil, err
		}
		f := stdin
		if name != "-" {
			if f, err = os.Open(name); err != nil {
				closeFiles()
				return nil, 0, nil, &codedError{exitUsage, err}
			}
			files = append(files, f)
		}
		info, err := f.Stat()
		switch {
		case err == nil && info.IsDir():
			closeFiles()
			return nil, 0, nil, fail(exitUsage, "%s is a directory: name the files in it", name)
		case err == nil && info.Mode().IsRegular() && size >= 0:
			size += info.Size()
		default:
			size = -1
		}
		s.r = f
		sources = append(sources, s)
	}
	return sources, size, closeFiles, nil
}

// importer is one run of import.
type importer struct {
	layout shops.Layout
	writer *writer // nil: check only
	stderr io.Writer
	bar    *progress

	mu    sync.Mutex
	count struct{ created, updated, unchanged, checked, bad int }

	// named has the names to which imported records refer, held the names of imported
	// records.
	named map[kind]map[string]reference
	held  map[kind]map[string]bool
}

// reference is where something was first referred to.
type reference struct {
	file string
	line int
	more int // further references
}

// run reads the sources and writes their records. When ctx ends, run stops reading and
// finishes the writes that are under way.
func (i *importer) run(ctx context.Context, sources []*source, inFlight int) error {
	// If the connection is cut during the last writes, an interrupted import must still
	// end soon.
	const grace = 5 * time.Second
	writing, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	defer context.AfterFunc(ctx, func() {
		time.AfterFunc(grace, func() { stop(ctx.Err()) })
	})()

	// All records of one path go to the same worker, so that the later one is written
	// last.
	var workers sync.WaitGroup
	var lanes []chan job
	seed := maphash.MakeSeed()
	if i.writer != nil {
		lanes = make([]chan job, inFlight)
	}
	for n := range lanes {
		lanes[n] = make(chan job, 4)
		workers.Go(func() {
			for j := range lanes[n] {
				if err := i.write(writing, j); err != nil {
					stop(err)
				}
			}
		})
	}
	for _, s := range sources {
		for r, err := range s.records() {
			if ctx.Err() != nil || writing.Err() != nil {
				break
			}
			if err != nil {
				i.report(err)
				continue
			}
			i.note(s, r)
			if i.writer == nil {
				i.count.checked++
				i.bar.add(1, r.bytes)
				continue
			}
			j := job{file: s.name, record: r, path: i.path(r)}
			select {
			case lanes[maphash.String(seed, j.path)%uint64(len(lanes))] <- j:
			case <-writing.Done():
			case <-ctx.Done():
			}
		}
	}
	for _, lane := range lanes {
		close(lane)
	}
	workers.Wait()
	if err := context.Cause(writing); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// job is a record to write.
type job struct {
	record
	file, path string
}

// write writes one record. After an error the import cannot go on.
func (i *importer) write(ctx context.Context, j job) error {
	if ctx.Err() != nil {
		return nil // the reason has been reported
	}
	did, err := i.writer.put(ctx, j.path, j.data)
	if errors.Is(err, zk.ErrTooLarge) {
		i.report(&lineError{file: j.file, line: j.line, err: err})
		return nil
	}
	if err != nil {
		return err
	}
	i.mu.Lock()
	switch did {
	case created:
		i.count.created++
	case updated:
		i.count.updated++
	default:
		i.count.unchanged++
	}
	i.mu.Unlock()
	i.bar.add(1, j.bytes)
	return nil
}

func (i *importer) path(r record) string {
	switch r.kind {
	case shopRecords:
		return i.layout.Shop(r.name)
	case datacenters:
		return i.layout.Datacenter(r.name)
	case regions:
		return i.layout.Region(r.name)
	default:
		return i.layout.BadCitizenList(r.name)
	}
}

// report prints an error about a line, and counts the line unless it is a warning.
func (i *importer) report(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if e := (*lineError)(nil); !errors.As(err, &e) || !e.warning {
		i.count.bad++
	}
	i.bar.print(func() { fmt.Fprintln(i.stderr, err) })
}

// note notes a record's name and the name to which it refers.
func (i *importer) note(s *source, r record) {
	if r.kind == datacenters || r.kind == regions {
		if i.held[r.kind] == nil {
			i.held[r.kind] = map[string]bool{}
		}
		i.held[r.kind][r.name] = true
	}
	if r.refersTo == "" {
		return
	}
	if i.named[r.refers] == nil {
		i.named[r.refers] = map[string]reference{}
	}
	ref, ok := i.named[r.refers][r.refersTo]
	if ok {
		ref.more++
	} else {
		ref = reference{file: s.name, line: r.line}
	}
	i.named[r.refers][r.refersTo] = ref
}

// checkReferences warns of datacenters and regions to which records refer, and which
// are neither in the files nor in ZooKeeper. In a dry run of files without any
// datacenters or regions it cannot check this.
func (i *importer) checkReferences(ctx context.Context) {
	for _, to := range []struct {
		kind     kind
		one, dir string
	}{{datacenters, "datacenter", i.layout.DatacentersDir()}, {regions, "region", i.layout.RegionsDir()}} {
		held := i.held[to.kind]
		var missing []string
		for name := range i.named[to.kind] {
			if !held[name] {
				missing = append(missing, name)
			}
		}
		if len(missing) == 0 || i.writer == nil && len(held) == 0 {
			continue
		}
		if i.writer != nil {
			there, _, err := i.writer.client.Children(ctx, to.dir)
			if err != nil && !errors.Is(err, zk.ErrNoNode) {
				continue // the error of ZooKeeper has been reported
			}
			missing = slices.DeleteFunc(missing, func(name string) bool { return slices.Contains(there, name) })
		}
		slices.Sort(missing)
		for _, name := range missing {
			ref := i.named[to.kind][name]
			err := fmt.Errorf("there is no %s %q: import it, too", to.one, name)
			if ref.more > 0 {
				err = fmt.Errorf("%w (%d more records refer to it)", err, ref.more)
			}
			i.report(&lineError{file: ref.file, line: ref.line, warning: true, err: err})
		}
	}
}

// summarize prints what was done.
func (i *importer) summarize(w io.Writer, took time.Duration) {
	c := &i.count
	if i.writer == nil {
		fmt.Fprintf(w, "checked %d records: %d good, %d bad; nothing was written\n", c.checked+c.bad, c.checked, c.bad)
		return
	}
	done := c.created + c.updated + c.unchanged
	fmt.Fprintf(w, "imported %d records in %v (%.0f/s): %d created, %d updated, %d unchanged; %d bad\n",
		done, took.Round(time.Millisecond), float64(done)/took.Seconds(), c.created, c.updated, c.unchanged, c.bad)
}

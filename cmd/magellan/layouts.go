package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"magellan/internal/discovery"
	"magellan/internal/services"
	"magellan/internal/services/survey"
	"magellan/internal/zk"
)

type layoutsCommand struct {
	Path      string        `env:"MAGELLAN_LAYOUTS_PATH" default:"/" placeholder:"PATH" help:"Look at this znode and below it only."`
	MaxZnodes int           `env:"MAGELLAN_LAYOUTS_MAX_ZNODES" default:"200000" placeholder:"N" help:"Read at most so many znodes."`
	Timeout   time.Duration `env:"MAGELLAN_LAYOUTS_TIMEOUT" default:"30s" placeholder:"DURATION" help:"How long ZooKeeper may be unreachable, at the start or later."`

	connectFlags `group:"ZooKeeper"`
}

// Help is shown below the flags.
func (c *layoutsCommand) Help() string {
	return `Reads an ensemble that you do not know, prints which layouts of services it recognizes, and the command that serves them. Nothing is written. The exit code is 4 if nothing is recognized.

A layout is recognized by what its programs write. Home-made registrations ("plain") are a guess: znodes with HOST:PORT, or JSON with a host and a port, that are ephemeral or several.`
}

// Run prints what there is.
func (c *layoutsCommand) Run(ctx context.Context, con *console) error {
	if c.MaxZnodes < 1 {
		return fail(exitUsage, "--max-znodes: %d is not a positive number", c.MaxZnodes)
	}
	if c.Timeout <= 0 {
		return fail(exitUsage, "--timeout: %v is not a positive duration", c.Timeout)
	}
	var err error
	if c.Path, err = discovery.ParsePath(c.Path); err != nil {
		return fail(exitUsage, "--path: %w", err)
	}
	client, err := c.connect(ctx, c.Timeout, nil)
	if err != nil {
		return err
	}
	defer client.Close()
	shown, clear := counter(con.err)
	report, err := survey.Walk(ctx, &surveyReader{client, c.Timeout}, survey.Config{Path: c.Path, MaxZnodes: c.MaxZnodes, Progress: shown})
	clear()
	switch {
	case ctx.Err() != nil:
		return &codedError{code: exitInterrupted}
	case errors.Is(err, survey.ErrGone):
		return fail(exitNotFound, "%s does not exist on ZooKeeper: check --path%s", c.Path, c.orChroot())
	case err != nil:
		return c.unreachable(c.Timeout, err)
	}
	c.print(con, report)
	if len(report.Found) == 0 {
		return &codedError{code: exitNotFound}
	}
	return nil
}

// print writes what was found to stdout, and what was not looked at to stderr.
func (c *layoutsCommand) print(con *console, r *survey.Report) {
	command := "magellan serve --servers " + shellWord(c.servers())
	for _, f := range r.Found {
		fmt.Fprintf(con.out, "%s at %s: %s, %s", f.Mount.Layout.Name, f.Mount.Path, plural(f.Services, "service"), plural(f.Instances, "instance"))
		if f.Broken > 0 {
			fmt.Fprintf(con.out, ", %d that do not parse", f.Broken)
		}
		switch {
		case f.Overlaps != nil:
			fmt.Fprintf(con.out, "; not together with %v, because one is inside the other", f.Overlaps)
		case strings.Contains(f.Mount.Path, ","):
			fmt.Fprint(con.out, "; --services cannot name it, because of the comma")
		default:
			command += " --services " + shellWord(f.Mount.String())
		}
		fmt.Fprintln(con.out)
	}
	if len(r.Found) > 0 {
		fmt.Fprintf(con.out, "\n%s\n", command)
	} else {
		fmt.Fprintf(con.err, "magellan: no layout is recognized in %s below %s; the layouts are %s\n", plural(r.Znodes, "znode"), c.Path, services.LayoutNames())
	}
	if r.Denied > 0 {
		fmt.Fprintf(con.err, "magellan: %s may not be read, such as %s: check --auth (MAGELLAN_AUTH)\n", plural(r.Denied, "znode"), r.DeniedPath)
	}
	if r.Cut {
		fmt.Fprintf(con.err, "magellan: there are more than the %s that were read: the numbers are too small; see --max-znodes and --path\n", plural(r.Znodes, "znode"))
	}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// shellWord returns a text as one word of a shell's command.
func shellWord(text string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:,@%+="
	if text != "" && strings.Trim(text, plain) == "" {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// counter returns what shows the number of znodes on a terminal, and what removes it.
func counter(w io.Writer) (show func(int), clear func()) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, func() {}
	}
	return func(n int) { fmt.Fprintf(f, "\r%s read ", plural(n, "znode")) }, func() { fmt.Fprint(f, "\r\x1b[K") }
}

// surveyReader reads for a survey.
type surveyReader struct {
	client *zk.Client
	// patience is how long a read is tried again while ZooKeeper is away.
	patience time.Duration
}

// Read implements [survey.Reader].
func (z *surveyReader) Read(ctx context.Context, at string) (found survey.Znode, err error) {
	ctx, cancel := context.WithTimeout(ctx, z.patience)
	defer cancel()
	for {
		found, err = z.read(ctx, at)
		switch {
		case err == nil:
			return found, nil
		case errors.Is(err, zk.ErrNoNode):
			return found, survey.ErrGone
		case errors.Is(err, zk.ErrNoAuth):
			return found, survey.ErrDenied
		case ctx.Err() != nil, z.client.WaitReady(ctx) != nil:
			return found, err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

func (z *surveyReader) read(ctx context.Context, at string) (found survey.Znode, err error) {
	data, stat, err := z.client.Get(ctx, at)
	if err != nil {
		return found, err
	}
	found = survey.Znode{Data: data, Ephemeral: stat.EphemeralOwner != 0}
	if stat.NumChildren > 0 {
		if found.Children, _, err = z.client.Children(ctx, at); err != nil {
			return found, err
		}
		slices.Sort(found.Children)
	}
	return found, nil
}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/alecthomas/kong"
	"github.com/google/pprof/profile"
	"github.com/google/renameio/v2"
	"golang.org/x/term"

	"magellan/cgo/agent"
	"magellan/cgo/jemalloc/heapprof"
)

// heapTarget is what a command shows: a server of magellan, or another process that has
// the agent.
type heapTarget struct {
	PID int `name:"pid" placeholder:"PID" env:"MAGELLAN_HEAP_PID" help:"Ask the agent in this process (see magellan heap ps) instead of a server."`
	heapServer
}

// errKept: a command was given the dump of a server and a process.
var errKept = errors.New("--pid: no dumps of a process are kept; leave the dump out to see the process's present state")

// choose sets PID to 0 if a server is asked. A flag comes before a variable, so only two
// flags exclude each other.
func (t *heapTarget) choose(kctx *kong.Context) error {
	given := make(map[string]bool)
	for _, p := range kctx.Path {
		if p.Flag != nil && !p.Resolved {
			given[p.Flag.Name] = true
		}
	}
	switch {
	case given["pid"] && given["admin"]:
		return errors.New("--pid and --admin can't be used together")
	case given["pid"] || !given["admin"] && t.PID != 0:
		return checkPID(t.PID)
	}
	t.PID = 0
	return nil
}

func checkPID(pid int) error {
	if pid <= 0 {
		return fmt.Errorf("--pid: %d is no number of a process", pid)
	}
	return nil
}

// agentFlags name a process. The commands that have them need its agent.
type agentFlags struct {
	PID     int           `name:"pid" placeholder:"PID" required:"" env:"MAGELLAN_HEAP_PID" help:"The process (see magellan heap ps)."`
	Timeout time.Duration `env:"MAGELLAN_HEAP_TIMEOUT" placeholder:"DURATION" default:"30s" help:"How long to wait for an answer."`
}

// Validate checks what kong does not.
func (f *agentFlags) Validate() error {
	if f.PID == 0 {
		return nil // kong says that the flag is missing
	}
	return checkPID(f.PID)
}

// agentFailed gives an error of package agent the exit code and, if a process has no agent,
// the reason why it can have none.
func agentFailed(ctx context.Context, pid int, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return &codedError{code: exitInterrupted}
	case errors.Is(err, agent.ErrNoAgent):
		if program, inspectErr := agent.InspectProcess(pid); inspectErr == nil {
			if obstacle := program.Obstacle(); obstacle != nil {
				return fail(exitNotFound, "process %d has no agent and can have none: %w", pid, obstacle)
			}
		}
		return &codedError{exitNotFound, err}
	case errors.Is(err, agent.ErrNoProcess):
		return &codedError{exitNotFound, err}
	case errors.Is(err, context.DeadlineExceeded):
		return &codedError{exitUnreachable, err}
	}
	return err
}

// profileOfProcess returns the present profile of the process, or what changes in the time d.
func (t *heapTarget) profileOfProcess(ctx context.Context, d time.Duration) (*profile.Profile, error) {
	p, err := takeProfile(ctx, t.PID, d, t.Timeout)
	return p, agentFailed(ctx, t.PID, err)
}

func takeProfile(ctx context.Context, pid int, d, timeout time.Duration) (*profile.Profile, error) {
	client, err := agent.Find(pid)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, d+timeout)
	defer cancel()
	profiler, err := agent.NewProfiler(ctx, client)
	if err != nil {
		return nil, err
	}
	if d > 0 {
		return profiler.Change(ctx, d)
	}
	return profiler.Profile(ctx)
}

// ofProcess takes a dump of a process, writes it and describes it.
func (h *heapDump) ofProcess(ctx context.Context, con *console) error {
	body, held, err := h.takeDump(ctx)
	if err != nil {
		return agentFailed(ctx, h.PID, err)
	}
	if err := h.write(con, body); err != nil || h.Output == "-" {
		return err
	}
	fmt.Fprintf(con.out, "dump      %s, of process %d\n", h.Output, h.PID)
	fmt.Fprintf(con.out, "C holds   ~%s in ~%.0f objects, estimated from samples\n", size(int64(held.Bytes)), held.Objects)
	return nil
}

func (h *heapDump) takeDump(ctx context.Context) ([]byte, heapprof.Estimate, error) {
	var held heapprof.Estimate
	if h.Format == "heap" { // needs no names
		client, err := agent.Find(h.PID)
		if err != nil {
			return nil, held, err
		}
		asking, cancel := context.WithTimeout(ctx, h.Timeout)
		defer cancel()
		var text bytes.Buffer
		if err := client.Dump(asking, &text); err != nil {
			return nil, held, err
		}
		d, err := heapprof.Parse(bytes.NewReader(text.Bytes()), heapprof.Limits{})
		if err != nil {
			return nil, held, err
		}
		return text.Bytes(), d.Live(), nil
	}
	p, err := takeProfile(ctx, h.PID, 0, h.Timeout)
	if err != nil {
		return nil, held, err
	}
	for _, s := range p.Sample {
		held.Bytes += float64(s.Value[heapprof.InuseSpace])
		held.Objects += float64(s.Value[heapprof.InuseObjects])
	}
	body, err := formatProfile(p, h.Format)
	return body, held, err
}

// formatProfile writes a profile in the format pprof, collapsed or text.
func formatProfile(p *profile.Profile, format string) ([]byte, error) {
	write := heapprof.WriteText
	switch format {
	case "pprof":
		write = func(w io.Writer, p *profile.Profile) error { return p.Write(w) }
	case "collapsed":
		write = func(w io.Writer, p *profile.Profile) error { return heapprof.WriteCollapsed(w, p, "inuse_space") }
	}
	var out bytes.Buffer
	err := write(&out, p)
	return out.Bytes(), err
}

type heapPs struct {
	Timeout time.Duration `env:"MAGELLAN_HEAP_PS_TIMEOUT" placeholder:"DURATION" default:"2s" help:"How long to wait for the agents."`
}

// Help describes the table.
func (h *heapPs) Help() string {
	return `STATE is one of these:
  profiled (c+go, 512KiB)         the agent samples; stacks have C and Go functions
  off                             the agent does not sample: magellan heap sampling switches it on
  can be started under the agent  magellan heap run would work
  anything else                   why the agent cannot work in the program: "static", "no C code", "own malloc" ...

Only root sees the processes of other users.`
}

// Run lists processes.
func (h *heapPs) Run(ctx context.Context, con *console) error {
	all, hidden, err := agent.List()
	if err != nil {
		return err
	}
	states := make([]string, len(all))
	var asked sync.WaitGroup
	for i, p := range all {
		asked.Go(func() { states[i] = h.state(ctx, p) })
	}
	asked.Wait()
	if ctx.Err() != nil {
		return &codedError{code: exitInterrupted}
	}
	err = table(con.out, "PID\tPROGRAM\tGO\tSTATE", func(row func(...any)) {
		for i, p := range all {
			if p.PID == os.Getpid() {
				continue
			}
			path, version := "-", "-"
			if p.Program != nil {
				path = p.Program.Path
				if p.Program.GoVersion != "" {
					version = p.Program.GoVersion
				}
			}
			row(p.PID, path, version, states[i])
		}
	})
	if hidden > 0 {
		fmt.Fprintf(con.err, "magellan: processes that are not listed because this user may not look at them: %d\n", hidden)
	}
	return err
}

// state describes a process in a few words.
func (h *heapPs) state(ctx context.Context, p agent.Process) string {
	if p.Agent == nil {
		if obstacle := p.Program.Obstacle(); obstacle != nil {
			return obstacle.Short
		}
		return "can be started under the agent"
	}
	asking, cancel := context.WithTimeout(ctx, h.Timeout)
	defer cancel()
	s, err := p.Agent.Status(asking)
	switch {
	case err != nil:
		return "the agent does not answer: " + err.Error()
	case !s.Active:
		return "off"
	case !s.First:
		return "the agent is not first: see magellan heap status"
	}
	return fmt.Sprintf("profiled (%s, %s)", s.Unwinder, wholeSize(s.Sample))
}

// wholeSize formats a sample rate, which mostly is a whole number of KiB or MiB.
func wholeSize(n int64) string { return strings.Replace(size(n), ".0", "", 1) }

type heapSampling struct {
	agentFlags
	State string `arg:"" placeholder:"on|off|SIZE" help:"on, off, or the mean number of allocated bytes between two samples, such as 512KiB. With a new number the profile begins anew."`
}

// Validate checks what kong does not.
func (h *heapSampling) Validate() error {
	if _, err := h.rate(); err != nil {
		return err
	}
	return h.agentFlags.Validate()
}

// rate returns the size in State, or 0 if it is on or off.
func (h *heapSampling) rate() (byteSize, error) {
	if h.State == "on" || h.State == "off" {
		return 0, nil
	}
	var n byteSize
	if err := n.UnmarshalText([]byte(h.State)); err != nil {
		return 0, fmt.Errorf("%q is neither on nor off nor a number of bytes such as 512KiB", h.State)
	}
	if n < 1 {
		return 0, errors.New("want at least 1 byte between two samples")
	}
	return n, nil
}

// Run changes the sampling, and prints what it is then.
func (h *heapSampling) Run(ctx context.Context, con *console) error {
	return agentFailed(ctx, h.PID, h.set(ctx, con))
}

func (h *heapSampling) set(ctx context.Context, con *console) error {
	client, err := agent.Find(h.PID)
	if err != nil {
		return err
	}
	asking, cancel := context.WithTimeout(ctx, h.Timeout)
	defer cancel()
	rate, err := h.rate()
	if err == nil && rate > 0 {
		err = client.SetSample(asking, int64(rate))
	} else if err == nil {
		err = client.SetActive(asking, h.State == "on")
	}
	if err != nil {
		return err
	}
	s, err := client.Status(asking)
	if err != nil {
		return err
	}
	fmt.Fprintln(con.out, "sampling", sampling(&s))
	return nil
}

// sampling says whether and how often allocations are sampled.
func sampling(s *agent.Status) string {
	state := "off; when it is on, it takes"
	if s.Active {
		state = "on:"
	}
	if s.Sample == 1 {
		return state + " each allocation"
	}
	return fmt.Sprintf("%s one allocation in each %s", state, wholeSize(s.Sample))
}

type heapAgent struct {
	Output string `short:"o" required:"" placeholder:"FILE" env:"MAGELLAN_HEAP_AGENT_OUTPUT" help:"The file to write; - is standard output."`
}

// Help shows how the library is used.
func (h *heapAgent) Help() string {
	return `In an image that is built without magellan:
  COPY libmagellan-agent.so /usr/lib/
  ENV LD_PRELOAD=/usr/lib/libmagellan-agent.so MAGELLAN_AGENT=sample=524288

The agent then is in each program that the container starts, and works in those that are Go programs
with C code. magellan heap top --pid PID asks it, from the host or from another container that shares
the process namespace.`
}

// Run writes the library.
func (h *heapAgent) Run(con *console) error {
	library, err := agent.Library()
	if err != nil {
		return err
	}
	if h.Output == "-" {
		if isTerminal(con.out) {
			return fail(exitUsage, "--output: the agent is a binary file and would harm the terminal: give a file, or redirect")
		}
		_, err := con.out.Write(library)
		return err
	}
	// A process may have the old file mapped, so it is replaced and not overwritten.
	if err := renameio.WriteFile(h.Output, library, 0o755, renameio.IgnoreUmask()); err != nil {
		return &codedError{exitUsage, err}
	}
	return nil
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

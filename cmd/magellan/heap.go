package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/google/pprof/profile"

	"magellan/cgo/jemalloc/heapprof"
	"magellan/cgo/jemalloc/pprof"
)

type heapCommand struct {
	Top  heapTop  `cmd:"" help:"Show the functions or stacks that hold most memory, now or in a dump, or what changes in some seconds."`
	Dump heapDump `cmd:"" help:"Take a heap dump now. A server keeps it; of a process it is written to a file."`
	Open heapOpen `cmd:"" help:"Open a profile in the browser (go tool pprof -http)."`

	List  heapList  `cmd:"" group:"server" help:"List the heap dumps that the server keeps."`
	Leaks heapLeaks `cmd:"" group:"server" help:"Show the stacks that grow as leaks do, by bytes per hour."`
	Diff  heapDiff  `cmd:"" group:"server" help:"Show what grew from one dump to another."`
	Watch heapWatch `cmd:"" group:"server" help:"Show live how the resident memory is divided, and what grows."`

	Run      heapRun      `cmd:"" group:"process" help:"Start a program under the agent, which samples its C memory."`
	Ps       heapPs       `cmd:"" group:"process" help:"List the processes that have the agent, and the Go programs that could have it."`
	Status   heapStatus   `cmd:"" group:"process" help:"Show what the agent of a process sees, and what keeps it from seeing everything."`
	Sampling heapSampling `cmd:"" group:"process" help:"Switch the sampling in a process on or off, or set its rate."`
	Agent    heapAgent    `cmd:"" group:"process" help:"Write the agent, a shared library, to a file, for images in which LD_PRELOAD loads it."`
}

// Titles of the help above groups of commands. Those without a group are for both.
var (
	heapServerGroup  = kong.Group{Key: "server", Title: "For a running server of magellan (--admin)"}
	heapProcessGroup = kong.Group{Key: "process", Title: "For any Go program with C code (--pid)", Description: "The program need not be built for it: magellan heap run starts it under the agent."}
)

// heapServer is a running server, and how to ask it.
type heapServer struct {
	Admin string `env:"MAGELLAN_ADMIN_URL" placeholder:"URL" default:"http://127.0.0.1:6060" help:"The server's address for operators."`
	tokenFlags
	Timeout time.Duration `env:"MAGELLAN_HEAP_TIMEOUT" placeholder:"DURATION" default:"30s" help:"How long to wait for an answer, in addition to --seconds."`
}

// Paths on the operators' address.
const (
	nativePath = "/debug/pprof/native"
	memoryPath = "/admin/memory"
	jeprofPath = "/admin/jeprof"
)

// ask sends a request and returns the answer, if it is good.
func (c *heapServer) ask(ctx context.Context, method, path string, query url.Values) ([]byte, error) {
	token, err := c.token()
	if err != nil {
		return nil, err
	}
	r := remote{flag: "--admin", url: c.Admin, token: token, timeout: c.Timeout}
	if n, err := strconv.Atoi(query.Get("seconds")); err == nil {
		r.timeout += time.Duration(n) * time.Second
	}
	resp, answer, err := r.ask(ctx, method, path, query, nil)
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode == http.StatusOK, resp.StatusCode == http.StatusCreated:
		return answer, nil
	case resp.StatusCode == http.StatusUnauthorized && resp.Request.Header.Get("Authorization") != "":
		return nil, fail(exitUsage, "%s has another admin token than the one given: check MAGELLAN_ADMIN_TOKEN or --admin-token-file", c.server())
	case resp.StatusCode == http.StatusUnauthorized:
		return nil, fail(exitUsage, "%s requires the admin token: set MAGELLAN_ADMIN_TOKEN, or give --admin-token-file", c.server())
	}
	return nil, c.refusal(resp, answer)
}

// server returns the address without its password, which may be the token.
func (c *heapServer) server() string {
	if u, err := url.Parse(c.Admin); err == nil {
		return u.Redacted()
	}
	return c.Admin
}

// refusal turns an answer with an error status into an error. The answer is a problem
// document or, under /debug/pprof, plain text.
func (c *heapServer) refusal(resp *http.Response, answer []byte) error {
	var p problem
	switch {
	case json.Unmarshal(answer, &p) == nil && p.Type == "" && p.Detail != "": // problems of the public address have a type
	case resp.Header.Get("X-Go-Pprof") != "":
		p.Detail = strings.TrimSpace(string(answer))
	default:
		return fmt.Errorf("%s answered %s, not as magellan's operators' address does: check --admin", c.server(), resp.Status)
	}
	code := exitFailed
	if resp.StatusCode == http.StatusNotFound {
		code = exitNotFound
	}
	return fail(code, "%s", p.Detail)
}

// get decodes a JSON answer into v.
func (c *heapServer) get(ctx context.Context, method, path string, query url.Values, v any) error {
	answer, err := c.ask(ctx, method, path, query)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(answer, v); err != nil {
		return fmt.Errorf("the answer of %s is not one of magellan: %w", c.server(), err)
	}
	return nil
}

// profile fetches a profile, and decodes it.
func (c *heapServer) profile(ctx context.Context, path string, query url.Values) (*profile.Profile, error) {
	answer, err := c.ask(ctx, http.MethodGet, path, query)
	if err != nil {
		return nil, err
	}
	p, err := profile.ParseData(answer)
	if err != nil {
		return nil, fmt.Errorf("the answer of %s is no profile: %w", c.server(), err)
	}
	return p, nil
}

// dumps returns the dumps that the server keeps, oldest first.
func (c *heapServer) dumps(ctx context.Context) ([]pprof.Dump, error) {
	var kept struct{ Dumps []pprof.Dump }
	err := c.get(ctx, http.MethodGet, jeprofPath+"/dumps", nil, &kept)
	return kept.Dumps, err
}

// ends returns the two dumps to compare. The default is the newest dump, and the oldest
// one of the same process: what an earlier process held is no growth of this process.
func (c *heapServer) ends(ctx context.Context, from, to string, con *console) (string, string, error) {
	all, err := c.dumps(ctx)
	if err != nil {
		return "", "", err
	}
	if len(all) < 1 && (from == "" || to == "") {
		return "", "", fail(exitNotFound, "the server keeps no dumps, and two are needed: take one with magellan heap dump")
	}
	if to == "" {
		to = all[len(all)-1].ID
	}
	index := func(id string) int {
		return slices.IndexFunc(all, func(d pprof.Dump) bool { return d.ID == id })
	}
	later := index(to)
	if later < 0 {
		return cmp.Or(from, to), to, nil // the server answers that there is no such dump
	}
	if from == "" {
		if from = all[slices.IndexFunc(all, all[later].SameProcess)].ID; from == to {
			return "", "", fail(exitNotFound, "the server keeps no earlier dump of the same process, and two are needed: take one with magellan heap dump")
		}
	}
	if earlier := index(from); earlier >= 0 && !all[earlier].SameProcess(all[later]) {
		fmt.Fprintln(con.err, "magellan: the two dumps are of different processes, so their difference is no growth")
	}
	return from, to, nil
}

type heapDump struct {
	heapTarget
	Output string `short:"o" placeholder:"FILE" env:"MAGELLAN_HEAP_OUTPUT" help:"Also write the dump to this file; - is standard output. With --pid this is the only place where it is kept."`
	Format string `placeholder:"FORMAT" enum:"heap,pprof,collapsed,text" default:"pprof" env:"MAGELLAN_HEAP_FORMAT" help:"Format of that file: heap (jemalloc's own, for jeprof), pprof (for go tool pprof), collapsed (for flame graph scripts) or text."`
}

// Validate checks what kong does not.
func (h *heapDump) Validate(kctx *kong.Context) error {
	if err := h.choose(kctx); err != nil {
		return err
	}
	if h.PID != 0 && h.Output == "" {
		return errors.New("--pid: no server keeps the dump, so give --output FILE, or --output - for standard output")
	}
	return nil
}

// Run takes a dump and describes it.
func (h *heapDump) Run(ctx context.Context, con *console) error {
	if h.PID != 0 {
		return h.ofProcess(ctx, con)
	}
	var d pprof.Dump
	if err := h.get(ctx, http.MethodPost, jeprofPath+"/dump", nil, &d); err != nil {
		return err
	}
	if h.Output != "-" {
		describeDump(con.out, d)
	}
	if h.Output == "" {
		return nil
	}
	body, err := h.ask(ctx, http.MethodGet, jeprofPath+"/dumps/"+d.ID, url.Values{"format": {h.Format}})
	if err != nil {
		return err
	}
	return h.write(con, body)
}

// write writes the dump to the file that was chosen.
func (h *heapDump) write(con *console, body []byte) error {
	if h.Output == "-" {
		_, err := con.out.Write(body)
		return err
	}
	if err := os.WriteFile(h.Output, body, 0o600); err != nil {
		return &codedError{exitUsage, err}
	}
	return nil
}

func describeDump(w io.Writer, d pprof.Dump) {
	fmt.Fprintf(w, "dump      %s, kept on the server (%s)\n", d.ID, d.Stored)
	fmt.Fprintf(w, "resident  %s\n", size(d.RSS))
	fmt.Fprintf(w, "C holds   ~%s in ~%d objects on %d stacks, estimated from samples; jemalloc counts %s\n",
		size(d.LiveBytes), d.LiveObjects, d.Stacks, size(d.Ledger.NativeLive))
	if d.Note != "" {
		fmt.Fprintf(w, "note      %s\n", d.Note)
	}
	if d.LeakSummary != "" {
		fmt.Fprintln(w, d.LeakSummary)
	}
}

// size formats a number of bytes for people.
func size(n int64) string { return heapprof.Amount(float64(n), "bytes") }

type heapList struct {
	heapServer
}

// Run lists the dumps.
func (h *heapList) Run(ctx context.Context, con *console) error {
	all, err := h.dumps(ctx)
	if err != nil {
		return err
	}
	return table(con.out, "DUMP\tWHY\tRESIDENT\tC HOLDS\tKEPT IN\tGREW MOST", func(row func(...any)) {
		for _, d := range all {
			grown := "-"
			switch {
			case d.Grown != nil && len(d.Grown.Stack) > 0:
				grown = "~" + size(d.Grown.Bytes) + " " + d.Grown.Stack[0]
			case d.Since == "" && d.HoldsMost != nil && len(d.HoldsMost.Stack) > 0:
				grown = "nothing to compare with; ~" + size(d.HoldsMost.Bytes) + " is held by " + d.HoldsMost.Stack[0]
			}
			row(d.ID, d.Reason, size(d.RSS), "~"+size(d.LiveBytes), d.Stored, grown)
		}
	})
}

// reportFlags choose how a profile is printed. top and diff share them.
type reportFlags struct {
	Type   string `placeholder:"TYPE" enum:"inuse_space,inuse_objects,alloc_space,alloc_objects" default:"inuse_space" env:"MAGELLAN_HEAP_TYPE" help:"What to count: inuse_space (bytes that C holds), inuse_objects, alloc_space (all bytes that C has ever allocated) or alloc_objects."`
	Rows   int    `short:"n" placeholder:"N" default:"20" env:"MAGELLAN_HEAP_ROWS" help:"How many functions or stacks to print."`
	Cum    bool   `env:"MAGELLAN_HEAP_CUM" help:"Sort functions by what they and the functions that they call hold."`
	Stacks bool   `env:"MAGELLAN_HEAP_STACKS" help:"Print whole stacks with file and line, the innermost function first."`
}

func (f *reportFlags) print(w io.Writer, p *profile.Profile) error {
	for _, c := range p.Comments { // how well its numbers are known, and what is missing
		fmt.Fprintf(w, "# %s\n", c)
	}
	opts := heapprof.TopOptions{Type: f.Type, Rows: f.Rows, Cumulative: f.Cum}
	if f.Stacks {
		return heapprof.WriteStacks(w, p, opts)
	}
	return heapprof.WriteTop(w, p, opts)
}

// Validate checks what kong does not.
func (f *reportFlags) Validate() error {
	if f.Rows < 1 {
		return fmt.Errorf("--rows: %d is no number of rows", f.Rows)
	}
	return nil
}

type heapTop struct {
	heapTarget
	ID      string `arg:"" optional:"" help:"A dump that the server keeps (see magellan heap list). Without it, the present state."`
	Seconds int    `placeholder:"N" env:"MAGELLAN_HEAP_SECONDS" help:"Show what changes in the next N seconds."`
	reportFlags
}

// Validate checks what kong does not.
func (h *heapTop) Validate(kctx *kong.Context) error {
	if err := h.choose(kctx); err != nil {
		return err
	}
	switch {
	case h.PID != 0 && h.ID != "":
		return errKept
	case h.Seconds < 0:
		return fmt.Errorf("--seconds: %d is negative", h.Seconds)
	case h.Seconds > 0 && h.ID != "":
		return errors.New("--seconds: a dump that is kept does not change; magellan heap diff compares two")
	}
	return h.reportFlags.Validate()
}

// Run prints a profile.
func (h *heapTop) Run(ctx context.Context, con *console) error {
	p, err := h.take(ctx)
	if err != nil {
		return err
	}
	return h.print(con.out, p)
}

func (h *heapTop) take(ctx context.Context) (*profile.Profile, error) {
	if h.PID != 0 {
		return h.profileOfProcess(ctx, time.Duration(h.Seconds)*time.Second)
	}
	path, query := profileOf(h.ID, h.Seconds)
	return h.profile(ctx, path, query)
}

// profileOf returns the path and query of a profile: that of a dump, that of the next
// seconds, or the present one.
func profileOf(id string, seconds int) (string, url.Values) {
	switch {
	case id != "":
		return jeprofPath + "/dumps/" + url.PathEscape(id), url.Values{"format": {"pprof"}}
	case seconds > 0:
		return nativePath, url.Values{"seconds": {strconv.Itoa(seconds)}}
	}
	return nativePath, nil
}

type heapLeaks struct {
	heapServer
	All  bool `env:"MAGELLAN_HEAP_ALL" help:"Also show stacks that grow and are no suspects, with the reason."`
	JSON bool `env:"MAGELLAN_HEAP_JSON" help:"Print the server's answer unchanged."`
}

// Run prints the ranking.
func (h *heapLeaks) Run(ctx context.Context, con *console) error {
	query := url.Values{"format": {"text"}}
	if h.JSON {
		query.Set("format", "json")
	}
	if h.All {
		query.Set("all", "1")
	}
	answer, err := h.ask(ctx, http.MethodGet, jeprofPath+"/leaks", query)
	if err != nil {
		return err
	}
	_, err = con.out.Write(answer)
	return err
}

type heapDiff struct {
	heapServer
	From string `arg:"" optional:"" help:"The earlier dump (see magellan heap list). Without it, the oldest one of the same process."`
	To   string `arg:"" optional:"" help:"The later dump. Without it, the newest."`
	reportFlags
}

// Run prints what grew.
func (h *heapDiff) Run(ctx context.Context, con *console) error {
	from, to, err := h.ends(ctx, h.From, h.To, con)
	if err != nil {
		return err
	}
	p, err := h.profile(ctx, jeprofPath+"/diff", url.Values{"from": {from}, "to": {to}})
	if err != nil {
		return err
	}
	fmt.Fprintf(con.out, "from %s to %s\n", from, to)
	return h.print(con.out, p)
}

type heapOpen struct {
	heapTarget
	ID   string `arg:"" optional:"" help:"A dump that the server keeps. Without it, the present state."`
	From string `placeholder:"ID" env:"MAGELLAN_HEAP_FROM" help:"Show what grew after this dump, until the dump <id>, or until the newest one."`

	HTTP      string `name:"http" placeholder:"HOST:PORT" default:"localhost:0" env:"MAGELLAN_HEAP_HTTP" help:"Address on which go tool pprof listens. With port 0 it chooses a free port."`
	NoBrowser bool   `env:"MAGELLAN_HEAP_NO_BROWSER" help:"Do not start a browser; only print the address."`
}

// Validate checks what kong does not.
func (h *heapOpen) Validate(kctx *kong.Context) error {
	if err := h.choose(kctx); err != nil {
		return err
	}
	if h.PID != 0 && (h.ID != "" || h.From != "") {
		return errKept
	}
	return nil
}

// Run fetches a profile and hands it to go tool pprof, until that ends.
func (h *heapOpen) Run(ctx context.Context, con *console) error {
	tool, err := exec.LookPath("go")
	if err != nil {
		other := h.server() + jeprofPath + "/ui/ shows the same"
		if h.PID != 0 {
			other = "magellan heap dump writes a file that go tool pprof opens elsewhere"
		}
		return fmt.Errorf("heap open starts go tool pprof, and go is not installed here: %s", other)
	}
	// pprof gets a file and not the address: the token would be on its command line.
	body, err := h.take(ctx, con)
	if err != nil {
		return err
	}
	file, err := os.CreateTemp("", "magellan-heap-*.pb.gz")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = io.Copy(file, bytes.NewReader(body))
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	// pprof chooses a free port if none is given. It would use port 0 as it is.
	listen := h.HTTP
	if host, isFree := strings.CutSuffix(listen, ":0"); isFree {
		listen = host + ":"
	}
	args := []string{"tool", "pprof", "-http=" + listen}
	if h.NoBrowser {
		args = append(args, "-no_browser")
	}
	cmd := exec.CommandContext(ctx, tool, append(args, file.Name())...)
	cmd.Stdout, cmd.Stderr = con.out, con.err
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	err = cmd.Run()
	if ctx.Err() != nil || cmd.ProcessState != nil && !cmd.ProcessState.Exited() {
		return nil // the user has ended it with Ctrl-C, which may reach pprof first
	}
	if err != nil {
		return fmt.Errorf("go tool pprof: %w", err)
	}
	return nil
}

// take returns the profile in the format of pprof.
func (h *heapOpen) take(ctx context.Context, con *console) ([]byte, error) {
	if h.PID != 0 {
		p, err := h.profileOfProcess(ctx, 0)
		if err != nil {
			return nil, err
		}
		heapprof.NamePlaces(p)
		return formatProfile(p, "pprof")
	}
	path, query := profileOf(h.ID, 0)
	if h.From != "" {
		from, to, err := h.ends(ctx, h.From, h.ID, con)
		if err != nil {
			return nil, err
		}
		path, query = jeprofPath+"/diff", url.Values{"from": {from}, "to": {to}}
	}
	return h.ask(ctx, http.MethodGet, path, query)
}

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"magellan/cgo/jemalloc/pprof"
)

type heapWatch struct {
	heapServer
	Interval time.Duration `placeholder:"DURATION" default:"2s" env:"MAGELLAN_HEAP_INTERVAL" help:"Time between two measurements."`
	Count    int           `short:"c" placeholder:"N" default:"0" env:"MAGELLAN_HEAP_COUNT" help:"End after this many measurements; 0 means never."`
}

// Validate checks what kong does not.
func (h *heapWatch) Validate() error {
	switch {
	case h.Interval <= 0:
		return fmt.Errorf("--interval: %v is not a positive duration", h.Interval)
	case h.Count < 0:
		return fmt.Errorf("--count: %d is negative", h.Count)
	}
	return nil
}

// Run measures at intervals until Ctrl-C, which is no failure. On a terminal it redraws
// one page; elsewhere it prints a line for each measurement.
func (h *heapWatch) Run(ctx context.Context, con *console) error {
	var show func(v *watchView) error
	if f, ok := con.out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		s := openScreen(f)
		defer s.close()
		show = s.draw
	} else {
		show = func(v *watchView) error { return v.line(con.out) }
	}
	v := &watchView{server: h.server(), interval: h.Interval}
	tick := time.NewTicker(h.Interval)
	defer tick.Stop()
	for n := 1; ; n++ {
		now, err := h.look(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && v.looks == 0:
			return err
		case err != nil:
			v.fault = err.Error() // the server may come back, so an outage does not end the watch
		default:
			v.add(now)
		}
		if err := show(v); err != nil {
			return err
		}
		if n == h.Count {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// look is one measurement.
type look struct {
	ledger pprof.Ledger
	leaks  ranking
}

// ranking is the part of GET leaks that is shown.
type ranking struct {
	Unwinder    string
	Suspects    int
	Samples     int
	SpanSeconds float64 `json:"span_seconds"`
	Note        string
	Stacks      []growing
}

type growing struct {
	Verdict      string
	BytesPerHour float64 `json:"bytes_per_hour"`
	Error        float64 `json:"bytes_per_hour_error"`
	Confidence   float64
	LiveBytes    float64 `json:"live_bytes"`
	Ways         int
	Cause        *frame  // if there are several ways: the function that explains them
	Stack        []frame // if there are several ways: their common inner end
	Callers      []frame // if there are several ways: their common outer end
}

type frame struct {
	Function, File string
	Line           int
}

// String returns the function with its line.
func (f frame) String() string {
	name := path.Base(f.Function) // without the directories of a Go package
	if f.File != "" {
		name += fmt.Sprintf(" %s:%d", path.Base(f.File), f.Line)
	}
	return name
}

// look requests both. Neither request takes a dump.
func (c *heapServer) look(ctx context.Context) (l look, err error) {
	if err = c.get(ctx, http.MethodGet, memoryPath, nil, &l.ledger); err == nil {
		err = c.get(ctx, http.MethodGet, jeprofPath+"/leaks", url.Values{"all": {"1"}}, &l.leaks)
	}
	return l, err
}

// watchView has the results of the measurements, and draws them.
type watchView struct {
	server   string
	interval time.Duration
	looks    int
	first    look
	now      look
	rss      []int64 // of the last measurements, for the curve
	fault    string  // why the last measurement failed; empty if it did not
}

// maxCurve is how many measurements are kept. No terminal is wider.
const maxCurve = 512

func (v *watchView) add(l look) {
	if v.looks == 0 {
		v.first = l
	}
	v.looks, v.now, v.fault = v.looks+1, l, ""
	if v.rss = append(v.rss, l.ledger.RSS); len(v.rss) > maxCurve {
		v.rss = v.rss[1:]
	}
}

// line writes the last measurement in one line, and a header before the first line.
// The columns add up to the resident memory.
func (v *watchView) line(w io.Writer) error {
	if v.fault != "" {
		_, err := fmt.Fprintf(w, "# %s\n", v.fault)
		return err
	}
	const format = "%-20s %10s %10s %10s %10s %10s %10s %8s  %s\n"
	if v.looks == 1 {
		if _, err := fmt.Fprintf(w, format, "TIME", "RESIDENT", "GO", "C HOLDS", "C REST", "OTHER", "UNTOUCHED", "SUSPECTS", "GROWS MOST"); err != nil {
			return err
		}
	}
	l := v.now.ledger
	most := "-"
	if growing := v.now.leaks.growing(); len(growing) > 0 {
		most = growing[0].String()
	}
	_, err := fmt.Fprintf(w, format, l.Time.UTC().Format(time.RFC3339), size(l.RSS), size(l.GoHeap+l.GoStacks+l.GoRuntime),
		size(l.NativeLive), size(l.NativeFragmentation+l.NativeDirty+l.NativeMetadata),
		size(l.FileBacked+l.Other), size(-l.NotResident), fmt.Sprint(v.now.leaks.Suspects), most)
	return err
}

// growing returns the stacks that grow, the most significant ones first.
func (r ranking) growing() []growing {
	var out []growing
	for _, g := range r.Stacks {
		if g.BytesPerHour > 0 {
			out = append(out, g)
		}
	}
	return out
}

// String returns a stack and its growth in one line. If a suspect has several stacks,
// the line names the function that explains the growth.
func (g growing) String() string {
	const shown = 6
	var names []string
	stack := g.Stack
	if g.Cause != nil {
		stack = append([]frame{*g.Cause}, after(g.Callers, *g.Cause)...)
	}
	for i, f := range stack {
		if i == shown {
			names = append(names, "...")
			break
		}
		names = append(names, f.String())
	}
	text := fmt.Sprintf("~%s/h %s: %s", size(int64(g.BytesPerHour)), g.Verdict, strings.Join(names, " < "))
	if g.Ways > 1 {
		text += fmt.Sprintf(" (%d stacks)", g.Ways)
	}
	return text
}

// after returns the frames between a function and the outer end. It returns all frames
// if the function is not among them.
func after(callers []frame, f frame) []frame {
	return callers[slices.Index(callers, f)+1:]
}

// page returns the lines that fit on a terminal.
func (v *watchView) page(width, height int) []string {
	l, first := v.now.ledger, v.first.ledger
	out := []string{
		fmt.Sprintf("%s at %s, every %v; Ctrl-C ends", v.server, l.Time.UTC().Format(time.TimeOnly+" UTC"), v.interval),
		"",
	}
	if v.fault != "" {
		out[1] = "OUT OF REACH: " + v.fault
	}
	row := func(name string, now, before int64) {
		change := ""
		if d := now - before; d != 0 {
			change = plus(d)
		}
		share := float64(now) / float64(max(l.RSS, 1))
		bar := strings.Repeat("#", min(max(0, int(share*40+0.5)), 40))
		out = append(out, fmt.Sprintf("%-26s %10s %10s  %s", name, size(now), change, bar))
	}
	out = append(out, fmt.Sprintf("%-26s %10s %10s", "", "now", "since start"))
	row("resident", l.RSS, first.RSS)
	row("  Go heap", l.GoHeap, first.GoHeap)
	row("  Go stacks and runtime", l.GoStacks+l.GoRuntime, first.GoStacks+first.GoRuntime)
	row("  C holds", l.NativeLive, first.NativeLive)
	row("  C fragmentation", l.NativeFragmentation, first.NativeFragmentation)
	row("  C dirty and metadata", l.NativeDirty+l.NativeMetadata, first.NativeDirty+first.NativeMetadata)
	row("  code and files", l.FileBacked, first.FileBacked)
	row("  other", l.Other, first.Other)
	row("  counted, never touched", -l.NotResident, -first.NotResident)
	out = append(out, "", "resident  "+curve(v.rss, min(width-10, 60)), "")

	k := v.now.leaks
	out = append(out, fmt.Sprintf("%d suspects in %d samples over %v; stacks: %s",
		k.Suspects, k.Samples, (time.Duration(k.SpanSeconds)*time.Second).Round(time.Second), cmp.Or(k.Unwinder, "?")))
	if k.Note != "" {
		out = append(out, k.Note)
	}
	for _, g := range k.growing() {
		out = append(out, "", fmt.Sprintf("%s: ~%s/h ± %s/h, confidence %.4f, live ~%s",
			g.Verdict, size(int64(g.BytesPerHour)), size(int64(g.Error)), g.Confidence, size(int64(g.LiveBytes))))
		out = appendFrames(out, g.Stack)
		if g.Ways > 1 {
			out = append(out, fmt.Sprintf("    ... %d stacks; magellan heap leaks shows them ...", g.Ways))
			out = appendFrames(out, g.Callers)
		}
	}
	out = out[:min(len(out), max(height, 1))]
	for i, text := range out {
		if runes := []rune(text); len(runes) > width {
			out[i] = string(runes[:max(width, 0)])
		}
	}
	return out
}

// appendFrames appends a line for each of the first frames.
func appendFrames(out []string, frames []frame) []string {
	const shown = 8
	for i, f := range frames {
		if i == shown {
			return append(out, "    ...")
		}
		where := ""
		if f.File != "" {
			where = fmt.Sprintf(" %s:%d", path.Base(f.File), f.Line)
		}
		out = append(out, "    "+f.Function+where)
	}
	return out
}

// plus formats a change with its sign.
func plus(n int64) string {
	if n > 0 {
		return "+" + size(n)
	}
	return size(n)
}

// curve draws the last values as bars of eight heights, from their least to their
// greatest.
func curve(values []int64, width int) string {
	values = values[max(0, len(values)-max(width, 0)):]
	if len(values) == 0 {
		return ""
	}
	low, high := values[0], values[0]
	for _, n := range values {
		low, high = min(low, n), max(high, n)
	}
	bars := []rune("▁▂▃▄▅▆▇█")
	out := make([]rune, len(values))
	for i, n := range values {
		out[i] = bars[(n-low)*int64(len(bars)-1)/max(high-low, 1)]
	}
	return string(out)
}

// screen is the alternate page of a terminal. At the end the terminal shows its former
// content again.
type screen struct{ f *os.File }

const (
	enterPage = "\x1b[?1049h\x1b[?25l" // the alternate page, without the cursor
	leavePage = "\x1b[?25h\x1b[?1049l"
	goHome    = "\x1b[H"
	clearLine = "\x1b[K"
	clearRest = "\x1b[J"
)

func openScreen(f *os.File) *screen {
	_, _ = io.WriteString(f, enterPage) // draw reports whether the terminal is gone
	return &screen{f}
}

// draw overwrites the page in one write, so that it does not flicker.
func (s *screen) draw(v *watchView) error {
	width, height, err := term.GetSize(int(s.f.Fd()))
	if err != nil || width == 0 || height == 0 {
		width, height = 80, 24
	}
	var b strings.Builder
	b.WriteString(goHome)
	lines := v.page(width, height)
	for i, text := range lines {
		b.WriteString(text)
		b.WriteString(clearLine)
		if i < len(lines)-1 {
			b.WriteString("\r\n")
		}
	}
	b.WriteString(clearRest)
	_, err = io.WriteString(s.f, b.String())
	if err != nil {
		return errors.Join(errors.New("the terminal is gone"), err)
	}
	return nil
}

func (s *screen) close() { _, _ = io.WriteString(s.f, leavePage) }

package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress shows the progress of an import: records, records per second, and the time
// left, which is estimated from the bytes of the files. It shows nothing if the output
// is no terminal.
type progress struct {
	mu      sync.Mutex
	bar     *progressbar.ProgressBar // nil: not a terminal
	start   time.Time
	shown   time.Time
	records int
}

// newProgress returns the progress of an import of size bytes. size is -1 if it is
// unknown.
func newProgress(w io.Writer, size int64) *progress {
	p := &progress{start: time.Now()}
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return p
	}
	p.bar = progressbar.NewOptions64(size,
		progressbar.OptionSetWriter(w),
		progressbar.OptionShowBytes(true),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionSetWidth(20),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionSetDescription("importing"),
	)
	return p
}

// add counts records and their bytes in the file.
func (p *progress) add(records int, bytes int64) {
	if p.bar == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.records += records
	if now := time.Now(); now.Sub(p.shown) > 200*time.Millisecond {
		p.shown = now
		p.bar.Describe(fmt.Sprintf("%d records, %.0f/s", p.records, float64(p.records)/now.Sub(p.start).Seconds()))
	}
	_ = p.bar.Add64(bytes) // fails only past the end, which does no harm
}

// print removes the bar, runs f, which prints lines, and draws the bar again.
func (p *progress) print(f func()) {
	if p.bar == nil {
		f()
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.bar.Clear() // a terminal that cannot be written to
	f()
}

// finish removes the bar.
func (p *progress) finish() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}

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

// progress shows how far an import is: records, records per second, and the time
// left, which is reckoned from the bytes of the files. On anything but a terminal
// it shows nothing.
type progress struct {
	mu      sync.Mutex
	bar     *progressbar.ProgressBar // nil: not a terminal
	start   time.Time
	shown   time.Time
	records int
}

// newProgress expects size bytes, -1 for an unknown number.
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

// add counts records and the bytes they stood in.
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
	_ = p.bar.Add64(bytes) // fails past the end only, which does no harm
}

// print runs f, which prints lines, where they do not mix with the bar.
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

// finish takes the bar away.
func (p *progress) finish() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}

package survey

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
)

// Bounds of [Config], if it does not say.
const (
	DefaultMaxZnodes = 200_000
	maxDepth         = 16
	// atOnce is how many znodes are read at the same time.
	atOnce = 64
)

// Reader reads znodes. It is safe for concurrent use.
type Reader interface {
	// Read returns what a znode holds and the names of its children. The error is [ErrGone],
	// [ErrDenied], or that the ensemble cannot be read.
	Read(ctx context.Context, path string) (Znode, error)
}

var (
	// ErrGone says that the znode does not exist.
	ErrGone = errors.New("the znode does not exist")
	// ErrDenied says that the znode may not be read.
	ErrDenied = errors.New("the znode may not be read")
)

// Znode is what a [Reader] has read.
type Znode struct {
	Data      []byte
	Children  []string
	Ephemeral bool
}

// Config says what to look at.
type Config struct {
	// Path is where to begin, such as "/".
	Path string
	// MaxZnodes is how many znodes are read at most. 0 is DefaultMaxZnodes.
	MaxZnodes int
	// Progress, if not nil, is told from time to time how many znodes have been read. It is
	// called by one goroutine.
	Progress func(znodes int)
}

// Walk reads the znodes below a path, and reports what it recognises. It returns an error if the path
// does not exist, or the ensemble cannot be read.
func Walk(ctx context.Context, r Reader, cfg Config) (*Report, error) {
	if cfg.MaxZnodes == 0 {
		cfg.MaxZnodes = DefaultMaxZnodes
	}
	w := &walk{reader: r, found: newFindings()}
	level := []string{cfg.Path}
	for depth := 0; len(level) > 0; depth++ {
		if room := cfg.MaxZnodes - w.report.Znodes; len(level) > room || depth > maxDepth {
			w.report.Cut = true
			if depth > maxDepth {
				break
			}
			level = level[:max(0, room)]
		}
		next, err := w.level(ctx, level)
		switch {
		case depth == 0 && len(level) == 1 && w.report.Znodes == 0 && w.report.Denied == 0 && err == nil:
			return nil, ErrGone
		case err != nil:
			return nil, err
		}
		if cfg.Progress != nil {
			cfg.Progress(w.report.Znodes)
		}
		level = next
	}
	w.report.Found = w.found.mounts()
	return &w.report, nil
}

// walk is one walk.
type walk struct {
	reader Reader

	mu     sync.Mutex
	report Report
	found  *findings
}

// level reads the znodes of one depth, and returns those of the next one.
func (w *walk) level(ctx context.Context, paths []string) (next []string, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var last atomic.Int64
	var reading sync.WaitGroup
	for range min(atOnce, len(paths)) {
		reading.Go(func() {
			for {
				i := int(last.Add(1)) - 1
				if i >= len(paths) || ctx.Err() != nil {
					return
				}
				below, err := w.read(ctx, paths[i])
				if err != nil {
					cancel(err)
					return
				}
				w.mu.Lock()
				next = append(next, below...)
				w.mu.Unlock()
			}
		})
	}
	reading.Wait()
	return next, context.Cause(ctx)
}

// read reads one znode, and returns the paths of its children.
func (w *walk) read(ctx context.Context, path string) (children []string, err error) {
	z, err := w.reader.Read(ctx, path)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case errors.Is(err, ErrGone):
		return nil, nil
	case errors.Is(err, ErrDenied):
		if w.report.Denied++; w.report.DeniedPath == "" || path < w.report.DeniedPath {
			w.report.DeniedPath = path
		}
		return nil, nil
	case err != nil:
		return nil, err
	}
	w.report.Znodes++
	w.found.add(path, z)
	for _, name := range z.Children {
		child := strings.TrimSuffix(path, "/") + "/" + name
		if child != "/zookeeper" { // ZooKeeper's own
			children = append(children, child)
		}
	}
	return children, nil
}

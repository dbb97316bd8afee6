package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// AccessFormat is how a line of the access log is written.
type AccessFormat string

const (
	// AccessJSON is a JSON object a line.
	AccessJSON AccessFormat = "json"
	// AccessCombined is the combined log format of Apache's, which most tools read.
	AccessCombined AccessFormat = "combined"
)

const (
	// accessFlush is how long a line may stay in memory while the log can be written.
	accessFlush = 200 * time.Millisecond
	// If accessEnough bytes have come together they are written without waiting for
	// accessFlush. At most accessMost bytes wait for a writer that is too slow.
	accessEnough = 64 << 10
	accessMost   = 1 << 20
	// accessLast is how long writing the last lines may take once the server has ended. A
	// reader of the log that has stopped reading must not hold up the rest of the program's
	// end, such as the snapshot.
	accessLast = time.Second
)

// accessLog takes lines, and a goroutine of its own writes them. So no request waits for a
// disk, or for the reader of a pipe. Lines that come while accessMost bytes wait already are
// dropped and counted.
type accessLog struct {
	format  AccessFormat
	out     io.Writer
	logger  *slog.Logger
	dropped atomic.Int64 // lines

	mu     sync.Mutex
	lines  []byte
	count  int // of lines
	closed bool

	enough chan struct{} // there is enough to be written at once
	end    chan struct{} // closed to end the goroutine
	ended  chan struct{} // closed by it
}

// newAccessLog begins to write to out. It returns nil if out is nil.
func newAccessLog(out io.Writer, format AccessFormat, logger *slog.Logger) (*accessLog, error) {
	if out == nil {
		return nil, nil
	}
	if format != AccessJSON && format != AccessCombined {
		return nil, fmt.Errorf("httpapi: Config.AccessFormat is %q: want %q or %q", format, AccessJSON, AccessCombined)
	}
	l := &accessLog{format: format, out: out, logger: logger, enough: make(chan struct{}, 1), end: make(chan struct{}), ended: make(chan struct{})}
	go l.run()
	return l, nil
}

// close writes the lines that are left and ends the goroutine. It waits until ctx ends, and
// no longer than most; a goroutine that is stuck in a write ends when the write does. Lines
// that come after close are dropped.
func (l *accessLog) close(ctx context.Context, most time.Duration) error {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.end)
	}
	l.mu.Unlock()
	select {
	case <-l.ended:
		return nil
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	select {
	case <-l.ended:
		return nil
	case <-ctx.Done():
		return errors.New("httpapi: the end of the access log could not be written in time")
	}
}

// add takes a line.
func (l *accessLog) add(line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.lines)+len(line) > accessMost {
		l.dropped.Add(1)
		return
	}
	l.lines = append(l.lines, line...)
	l.count++
	if len(l.lines) >= accessEnough {
		select {
		case l.enough <- struct{}{}:
		default:
		}
	}
}

func (l *accessLog) run() {
	defer close(l.ended)
	tick := time.NewTicker(accessFlush)
	defer tick.Stop()
	var spare []byte
	failing := false
	for {
		last := false
		select {
		case <-tick.C:
		case <-l.enough:
		case <-l.end:
			last = true
		}
		l.mu.Lock()
		lines, count := l.lines, l.count
		l.lines, l.count = spare[:0], 0
		l.mu.Unlock()
		if len(lines) > 0 {
			written, err := l.out.Write(lines)
			if err != nil {
				// Some of them may have been written.
				l.dropped.Add(int64(bytes.Count(lines[written:], []byte{'\n'})))
				if !failing {
					l.logger.LogAttrs(context.Background(), slog.LevelWarn, "the access log cannot be written", slog.Any("err", err), slog.Int("lines", count))
				}
			}
			failing = err != nil
		}
		if spare = lines; cap(spare) > 2*accessEnough {
			spare = nil // of a time when the writer was slow
		}
		if last {
			return
		}
	}
}

package zookeeper

import (
	"context"
	"log/slog"
	"os"
	"sync/atomic"

	"github.com/Shopify/gozk/internal/zk"
)

// Constants for SetLogLevel, those of zookeeper_log.h.
const (
	LOG_ERROR = 1
	LOG_WARN  = 2
	LOG_INFO  = 3
	LOG_DEBUG = 4
)

var logLevel atomic.Int32 // 0: nothing is logged

// SetLogLevel sets what is written to the standard error: what is as bad as level, one of
// the LOG_* constants, or worse. 0 is nothing, which is the default. It is for all Conns
// of the process. libzookeeper's own lines are among what is written, but for its INFO
// and DEBUG. A Conn waits for its lines to be written.
func SetLogLevel(level int) { logLevel.Store(int32(level)) }

// logger is the one of all Conns.
var logger = slog.New(handler{slog.NewTextHandler(os.Stderr, nil)})

// handler writes what SetLogLevel permits.
type handler struct{ slog.Handler }

// Enabled is true for all levels: whether libzookeeper's lines are wanted is asked when a
// session is opened, and the level may be set later.
func (h handler) Enabled(context.Context, slog.Level) bool { return true }

func (h handler) Handle(ctx context.Context, r slog.Record) error {
	level := LOG_INFO
	switch {
	case r.Level >= slog.LevelError:
		level = LOG_ERROR
	case r.Level >= slog.LevelWarn:
		level = LOG_WARN
	case r.Level < slog.LevelInfo:
		level = LOG_DEBUG
		r.Attrs(func(a slog.Attr) bool {
			if a.Key == zk.SeverityKey {
				level, r.Level = LOG_WARN, slog.LevelWarn
				if a.Value.String() == zk.SeverityError {
					level, r.Level = LOG_ERROR, slog.LevelError
				}
			}
			return true
		})
	}
	if int32(level) > logLevel.Load() {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handler{h.Handler.WithAttrs(attrs)}
}
func (h handler) WithGroup(name string) slog.Handler { return handler{h.Handler.WithGroup(name)} }

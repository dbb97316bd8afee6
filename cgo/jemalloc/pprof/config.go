package pprof

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config of a [Recorder]. All fields may be zero.
type Config struct {
	// Source is the process to watch. Default: the Recorder's own process.
	Source Source

	// Dir is the directory of the dumps, which stay there when the process has ended. It
	// is made if it does not exist. Dumps of an earlier process are served as well. Two
	// running processes need two directories: while one uses a directory, the other keeps
	// its dumps in memory. Default: none. Dumps are kept in memory, and are lost when the
	// process ends.
	Dir string

	// MaxDumps and MaxBytes bound the number of the dumps in Dir and the size of their
	// files. The dumps of the last series of growth are deleted last. Default: 32 dumps,
	// 256 MiB.
	MaxDumps int
	MaxBytes int64

	// MaxMemoryBytes bounds the compressed size of the dumps in memory. They are kept in
	// memory if there is no Dir or it cannot be written. Default: 16 MiB.
	MaxMemoryBytes int64

	// A dump is kept when the bytes that C holds have grown by StepPercent and by
	// StepBytes over the last high water. Default: 20 and 16 MiB. If StepPercent is below
	// 0, dumps are kept only on request.
	StepPercent float64
	StepBytes   int64

	// HighWaterWindow is how long at least the bytes must stay a step below the high water
	// before the high water is lowered. The series of dumps of that growth ends then.
	// Default: 1 h.
	HighWaterWindow time.Duration

	// PollInterval is the time between two readings of the bytes that C holds. Default: 1 s.
	PollInterval time.Duration

	// SampleInterval is the time between two light samples for the ranking of growth.
	// Default: 15 s. Below 0: no samples are taken, and nothing is ranked.
	SampleInterval time.Duration

	// MinInterval is the shortest time between two dumps that no request asks for.
	// Default: 10 s.
	MinInterval time.Duration

	// MaxShare is the share of one processor that samples and dumps may take over a few
	// minutes if no request asks for them: half of it each. It counts processor time, so
	// other load of the machine delays nothing. Samples and dumps above the share are
	// delayed, for 5 minutes at most. If one sample takes more than the share of 5 minutes
	// (1.5 s by default), samples are taken each 5 minutes and take more than the share.
	// GET leaks reports delayed samples. Default: 0.01.
	MaxShare float64

	// MaxDelta bounds ?seconds= of a delta profile. Default: 10 min.
	MaxDelta time.Duration

	// MaxViews bounds the profiles that the web user interface has in memory. If there are
	// more, the one that was not used for longest is closed. It is opened again for the
	// next request. Default: 4.
	MaxViews int

	// DebugDirs are searched for separate debug files of C code, and MaxDebugBytes
	// bounds the debug information of one file that is read for lines; see
	// [heapprof.SymbolizerConfig], whose defaults are these too.
	DebugDirs     []string
	MaxDebugBytes int64

	// SymbolServed says that net/http/pprof or another handler answers
	// POST /debug/pprof/symbol beside /debug/pprof/native. It need not be set if the
	// server's handler is an http.ServeMux with a pattern for exactly that path. With a
	// Source it must be set, because net/http/pprof knows only its own process. If nothing
	// answers, go tool pprof refuses profiles that have locations without a name. So Native
	// then names such locations by their place ("lib.so+0x1234"). pprof can replace these
	// by names from files later. Parca and Pyroscope do not.
	SymbolServed bool

	// Logger gets a line for each dump that no request asked for, and failures.
	// Default: slog.Default().
	Logger *slog.Logger

	// Registerer gets the metrics, all named native_*. Default: none.
	Registerer prometheus.Registerer
}

// withDefaults replaces zero fields by their defaults and refuses invalid ones.
func (c Config) withDefaults() (Config, error) {
	for _, d := range []struct {
		name  string
		value *time.Duration
		def   time.Duration
	}{
		{"HighWaterWindow", &c.HighWaterWindow, time.Hour},
		{"PollInterval", &c.PollInterval, time.Second},
		{"MinInterval", &c.MinInterval, 10 * time.Second},
		{"MaxDelta", &c.MaxDelta, 10 * time.Minute},
	} {
		if *d.value < 0 {
			return c, fmt.Errorf("pprof: Config.%s: %v is negative", d.name, *d.value)
		}
		if *d.value == 0 {
			*d.value = d.def
		}
	}
	for _, n := range []struct {
		name  string
		value *int64
		def   int64
	}{
		{"MaxBytes", &c.MaxBytes, 256 << 20},
		{"MaxMemoryBytes", &c.MaxMemoryBytes, 16 << 20},
	} {
		if *n.value < 0 {
			return c, fmt.Errorf("pprof: Config.%s: %d is negative", n.name, *n.value)
		}
		if *n.value == 0 {
			*n.value = n.def
		}
	}
	if c.SampleInterval == 0 {
		c.SampleInterval = 15 * time.Second
	}
	if c.StepPercent == 0 {
		c.StepPercent = 20
	}
	if c.StepBytes == 0 {
		c.StepBytes = 16 << 20
	}
	if c.MaxDumps == 0 {
		c.MaxDumps = 32
	}
	if c.MaxViews == 0 {
		c.MaxViews = 4
	}
	if c.MaxShare == 0 {
		c.MaxShare = 0.01
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	switch {
	case c.MaxDumps < 2:
		return c, errors.New("pprof: Config.MaxDumps: growth shows between two dumps: want at least 2")
	case c.MaxViews < 1:
		return c, errors.New("pprof: Config.MaxViews: want at least 1")
	case c.MaxShare < 0 || c.MaxShare > 1:
		return c, errors.New("pprof: Config.MaxShare: want a share of one processor, above 0 and up to 1")
	}
	return c, nil
}

package pprof

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config says what a Recorder keeps and when it acts. The zero value is useful.
type Config struct {
	// Source is the process that is watched. Default: the one that the Recorder is in.
	Source Source

	// Dir is where dumps are kept, for this process and for whoever looks after
	// its end. It is made if it does not exist. What an earlier process left there
	// is served as well. Two running processes need two directories: while one has
	// it, the other keeps its dumps in memory. Default: none, dumps are kept in
	// memory and end with the process.
	Dir string

	// MaxDumps and MaxBytes bound what is kept in Dir, by number and by the size
	// of the files. The last series of growth dumps goes last. Default: 32 dumps,
	// 256 MiB.
	MaxDumps int
	MaxBytes int64

	// MaxMemoryBytes bounds what is kept in memory, compressed, where there is no
	// Dir or it cannot be written. Default: 16 MiB.
	MaxMemoryBytes int64

	// A dump is kept when the bytes that C holds have grown by StepPercent and by
	// StepBytes over the last high water. Default: 20 and 16 MiB. Below 0:
	// no dump is kept but on request.
	StepPercent float64
	StepBytes   int64

	// HighWaterWindow is how long, at least, the bytes have to stay a step below the
	// high water before it comes down to them, and the series of dumps that led up
	// to it is finished. Default: 1 h.
	HighWaterWindow time.Duration

	// PollInterval is how often the bytes that C holds are looked at. Default: 1 s.
	PollInterval time.Duration

	// SampleInterval is how often a light sample is taken for the growth ranking.
	// Default: 15 s. Below 0: never, and nothing is ranked.
	SampleInterval time.Duration

	// MinInterval is the shortest time between two dumps that the Recorder keeps
	// by itself. Default: 10 s.
	MinInterval time.Duration

	// MaxShare is the share of one processor that samples and dumps nobody asked
	// for may take, over a few minutes: half of it each. What counts is processor
	// time, so that a busy machine puts none off. Those above it are put off, but
	// for no longer than 5 minutes: a process in which one sample takes more than
	// the share of 5 minutes (1.5 s by default) is sampled each 5 minutes and pays
	// more. GET leaks says when samples are put off. Default: 0.01.
	MaxShare float64

	// MaxDelta bounds ?seconds= of a delta profile. Default: 10 min.
	MaxDelta time.Duration

	// MaxViews bounds the profiles that the web user interface holds in memory;
	// the one used longest ago is closed, and opened again when it is asked for.
	// Default: 4.
	MaxViews int

	// DebugDirs are searched for separate debug files of C code, and MaxDebugBytes
	// bounds the debug information of one file that is read for lines; see
	// [heapprof.SymbolizerConfig], whose defaults are these too.
	DebugDirs     []string
	MaxDebugBytes int64

	// SymbolServed says that POST /debug/pprof/symbol is answered beside
	// /debug/pprof/native, by net/http/pprof or another handler. It need not be set
	// where the server's handler is an http.ServeMux that has a pattern for that very
	// path, but with a Source: net/http/pprof knows of its own process only. Where it is not answered, go tool pprof would refuse a profile with locations
	// that have no name: those of Native are named by where they are then
	// ("lib.so+0x1234"), which pprof can replace by names from files later, and Parca and
	// Pyroscope do not.
	SymbolServed bool

	// Logger gets a line for each dump that was not asked for, and what goes
	// wrong. Default: slog.Default().
	Logger *slog.Logger

	// Registerer gets the metrics, all named native_*. Default: none.
	Registerer prometheus.Registerer
}

// withDefaults fills in what is zero and refuses what makes no sense.
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

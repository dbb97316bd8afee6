package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus"

	"magellan/cgo/jemalloc"
	"magellan/cgo/jemalloc/pprof"
	"magellan/internal/admin"
)

// nativeFlags choose which heap dumps serve takes and keeps.
type nativeFlags struct {
	HeapDir         string   `placeholder:"DIR" help:"Directory for heap dumps, which are still there after the process has ended. It is created if it does not exist. Each process needs a directory of its own. Without it dumps are kept in memory, in up to 16 MiB."`
	HeapDumps       int      `placeholder:"N" default:"32" help:"How many heap dumps to keep. Those of the last growth are deleted last."`
	HeapBytes       byteSize `placeholder:"SIZE" default:"256MiB" help:"How many bytes of heap dumps to keep."`
	HeapAutoDump    bool     `negatable:"" default:"true" help:"Keep a heap dump at each step of growth, and log the stack that grew most."`
	HeapStepPercent float64  `placeholder:"PERCENT" default:"20" help:"Smallest growth that is a step, as a percentage of the last maximum."`
	HeapStepBytes   byteSize `placeholder:"SIZE" default:"16MiB" help:"Smallest growth that is a step, in bytes. A step reaches both this and the percentage."`
	LeakReport      string   `placeholder:"FILE" help:"At the end, write the last heap dump to FILE, for jeprof, and jemalloc's leak summary to stderr. With - only the summary is written."`
}

// nativeGroup is the text of the help above nativeFlags.
var nativeGroup = kong.Group{
	Key: "native", Title: "Native memory",
	Description: "Allocations of C code are sampled, one in each 512 KiB. jemalloc reads its settings from MALLOC_CONF: " +
		"with lg_prof_sample:17 it samples one in each 128 KiB, with prof_active:false none until PUT /admin/jeprof/active, " +
		"with prof:false none at all. prof_leak:true and prof_final:true make reports at the end, as --leak-report does.",
}

// Validate checks what kong does not.
func (f *nativeFlags) Validate() error {
	switch {
	case f.HeapDumps < 2:
		return fmt.Errorf("--heap-dumps: %d is too few: growth shows between two", f.HeapDumps)
	case f.HeapBytes <= 0:
		return errors.New("--heap-bytes: want at least 1")
	case f.HeapStepPercent <= 0:
		return fmt.Errorf("--heap-step-percent: %v is not a positive number", f.HeapStepPercent)
	case f.HeapStepBytes <= 0:
		return errors.New("--heap-step-bytes: want at least 1")
	}
	// Reported now, because at the end of the process it is too late.
	if dir := filepath.Dir(f.LeakReport); f.LeakReport != "" && f.LeakReport != "-" {
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			return fmt.Errorf("--leak-report: there is no directory %s", dir)
		}
	}
	return nil
}

// maxHeapMemory bounds the dumps that are kept in memory, compressed.
const maxHeapMemory = 16 << 20

// recorder starts to watch the memory that C holds.
func (f *nativeFlags) recorder(log *slog.Logger, metrics prometheus.Registerer) (*pprof.Recorder, error) {
	cfg := pprof.Config{
		Dir: f.HeapDir, MaxDumps: f.HeapDumps, MaxBytes: int64(f.HeapBytes), MaxMemoryBytes: min(maxHeapMemory, int64(f.HeapBytes)),
		StepPercent: f.HeapStepPercent, StepBytes: int64(f.HeapStepBytes),
		SymbolServed: true, // by the admin listener
		Logger:       log, Registerer: metrics,
	}
	if !f.HeapAutoDump {
		cfg.StepPercent = -1
	}
	return pprof.New(cfg)
}

// logProfiling logs at the start which heap profiles there will be, and why they are not
// better.
func (f *nativeFlags) logProfiling(log *slog.Logger) {
	kind, reason := jemalloc.Unwinder()
	if kind == jemalloc.UnwinderNone {
		log.Warn("native memory is not profiled", "reason", reason)
		return
	}
	attrs := []any{"stacks", string(kind), "dumps", cmp.Or(f.HeapDir, "memory")}
	if lg, err := jemalloc.Read[uintptr]("prof.lg_sample"); err == nil {
		attrs = append(attrs, "sample_bytes", uint64(1)<<lg)
	}
	if on, err := jemalloc.Active(); err == nil && !on {
		log.Warn("native memory is not profiled until PUT /admin/jeprof/active", attrs...)
		return
	}
	if kind != jemalloc.UnwinderCGo {
		log.Warn("native memory is profiled, without the Go callers of C", append(attrs, "reason", reason)...)
		return
	}
	log.Info("native memory is profiled", attrs...)
}

// report makes the reports at the end of the process: that of --leak-report, or else
// those that MALLOC_CONF asks for. It also ends the watch.
func (f *nativeFlags) report(rec *pprof.Recorder, log *slog.Logger, stderr io.Writer) {
	report, err := jemalloc.ConfiguredExitReport(stderr)
	if err != nil && !errors.Is(err, jemalloc.ErrNotLinked) && f.LeakReport == "" {
		log.Warn("no leak report", "error", err)
	}
	if f.LeakReport != "" {
		report = jemalloc.ExitReport{Summary: stderr}
		if f.LeakReport != "-" {
			report.Dump = f.LeakReport
		}
	}
	leaks, err := rec.Exit(report)
	if err != nil {
		log.Warn("the leak report is not complete", "error", err)
	}
	// If no sample is in use, jemalloc's summary is empty. Then this line is the report.
	if err == nil && (report.Summary != nil || report.Dump != "") {
		log.Info("native memory in use at the end", "bytes", leaks.Bytes, "objects", leaks.Objects,
			"contexts", leaks.Contexts, "dump", cmp.Or(report.Dump, "none"))
	}
}

// nativeRoutes are the operators' requests about native memory.
func nativeRoutes(rec *pprof.Recorder) []admin.Route {
	const prefix = "/admin/jeprof"
	h := rec.Handler(prefix)
	get := []string{http.MethodGet, http.MethodHead}
	getPost := append(get[:2:2], http.MethodPost)
	return []admin.Route{
		{Methods: getPost, Path: "/debug/pprof/native", About: "what C holds, C and Go in one stack, for go tool pprof; ?seconds=30 is what changes meanwhile", Handler: rec.Native()},
		{Methods: get, Path: "/admin/memory", About: "whose the resident memory is", Handler: rec.Memory()},
		{Methods: get, Path: prefix + "/ui/*", About: "heap dumps in the browser: flame graph, graph, top, peek, source, and what grew between two", Handler: h},
		{Methods: get, Path: prefix + "/leaks", About: "stacks of C memory that grow, ranked; ?format=text, ?all=1 for those that are no suspects", Handler: h},
		{Methods: []string{http.MethodPost}, Path: prefix + "/dump", About: "take a heap dump now and keep it", Handler: h},
		{Methods: get, Path: prefix + "/dumps", About: "the heap dumps that are kept", Handler: h},
		{Methods: get, Path: prefix + "/dumps/:id", About: "one of them; ?format=json, heap, pprof, collapsed, text", Handler: h},
		{Methods: get, Path: prefix + "/diff", About: "what grew between two, ?from=ID&to=ID; ?format=pprof, text", Handler: h},
		{Methods: append(get[:2:2], http.MethodPut), Path: prefix + "/active", About: `whether allocations are sampled; PUT {"active":false} ends it`, Handler: h},
		{Methods: get, Path: prefix + "/pprof/heap", About: "jeprof's remote protocol: a heap dump", Handler: h},
		{Methods: getPost, Path: prefix + "/pprof/symbol", About: "jeprof's remote protocol: names of addresses", Handler: h},
		{Methods: get, Path: prefix + "/pprof/cmdline", About: "jeprof's remote protocol: the command line", Handler: h},
		{Methods: get, Path: prefix, Handler: h},
		{Methods: get, Path: prefix + "/*", Handler: h},
	}
}

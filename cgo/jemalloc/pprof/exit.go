package pprof

import (
	"bytes"
	"context"
	"errors"

	"magellan/cgo/jemalloc"
)

// Exit makes the report that a process owes at its end, and that jemalloc cannot
// make by itself: it waits for atexit, which Go never runs. Call it as the last
// thing, after what allocates was stopped. It closes the Recorder and writes what
// report asks for (jemalloc.ConfiguredExitReport is what MALLOC_CONF asks for),
// and where that is anything, keeps the same once more as a dump with the Reason
// Final, with its symbols.
//
// The report comes first: it is written even if the dump cannot be kept, and the
// other way round. The errors are joined.
func (r *Recorder) Exit(report jemalloc.ExitReport) (jemalloc.LeakSummary, error) {
	r.Close() // its error is always nil
	if report.Summary == nil && report.Dump == "" {
		return jemalloc.LeakSummary{}, nil
	}
	leaks, err := r.writeReport(report)
	_, _, keepErr := r.keep(context.Background(), Final, "", func() {})
	if errors.Is(err, ErrNotProfiled) {
		keepErr = nil // said once
	}
	return leaks, errors.Join(err, keepErr)
}

// writeReport takes a dump and writes what report makes of it.
func (r *Recorder) writeReport(report jemalloc.ExitReport) (jemalloc.LeakSummary, error) {
	ctx := context.Background()
	if err := r.gate.enterFirst(ctx); err != nil {
		return jemalloc.LeakSummary{}, err
	}
	defer r.gate.leave()
	var text bytes.Buffer
	if err := r.source.Dump(ctx, &text); err != nil {
		return jemalloc.LeakSummary{}, err
	}
	return report.WriteOf(bytes.NewReader(text.Bytes()))
}

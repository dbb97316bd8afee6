package pprof

import (
	"bytes"
	"context"
	"errors"

	"magellan/cgo/jemalloc"
)

// Exit makes jemalloc's report of the end of a process. jemalloc registers it with
// atexit, whose functions Go never runs. Call Exit last, after everything that allocates
// was stopped. It closes the Recorder and writes report
// (jemalloc.ConfiguredExitReport is the one that MALLOC_CONF asks for). Unless report is
// the zero value, it also keeps a dump with the Reason Final, with its symbols.
//
// If one of the two fails, the other is still done. The errors are joined.
func (r *Recorder) Exit(report jemalloc.ExitReport) (jemalloc.LeakSummary, error) {
	r.Close() // its error is always nil
	if report.Summary == nil && report.Dump == "" {
		return jemalloc.LeakSummary{}, nil
	}
	leaks, err := r.writeReport(report)
	_, _, keepErr := r.keep(context.Background(), Final, "", func() {})
	if errors.Is(err, ErrNotProfiled) {
		keepErr = nil // both errors are the same
	}
	return leaks, errors.Join(err, keepErr)
}

// writeReport takes a dump and writes report of it.
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

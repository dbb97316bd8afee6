package pprof

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/google/pprof/profile"

	"magellan/cgo/jemalloc/heapprof"
)

// comments returns the comments of a dump's profile: of which process it is, how its numbers
// were estimated, and what it does not contain. Every pprof tool shows them, and so does the
// text format.
func (r *Recorder) comments(ctx context.Context, d *heapprof.Dump) []string {
	all := []string{
		fmt.Sprintf("native memory of process %d, by %s", r.process.PID, r.process.Sampler), "stacks: " + r.process.stacks(),
	}
	stats, err := r.source.Stats(ctx)
	known := err == nil
	if d.Rate > 1 {
		all = append(all, estimated(d.Rate))
	}
	if known {
		all = append(all, fmt.Sprintf("C holds %s, as %s counts it", heapprof.Amount(float64(stats.Live), "bytes"), r.process.Sampler))
	}
	if known && !stats.Active {
		all = append(all, samplingOff)
	}
	if known {
		all = append(all, missing(d, stats)...)
	}
	return all
}

// estimated returns the sentence that numbers are estimated from samples.
func estimated(rate uint64) string {
	return fmt.Sprintf("all values are estimates: one allocation in each %s is sampled", heapprof.Amount(float64(rate), "bytes"))
}

// samplingOff is the note for profiles and rankings that do not change, because sampling is
// off.
const samplingOff = `sampling is off, what is allocated meanwhile is not seen, also not later: PUT active {"active":true} switches it on`

// missing returns the reason if a dump has no live sample. It also reports if the samples
// stand for so much less than C holds that it is more than chance.
func missing(d *heapprof.Dump, stats Stats) []string {
	var all []string
	live := d.Live()
	rate := heapprof.Amount(float64(d.Rate), "bytes")
	if live.Objects == 0 {
		seen := "none was taken since the process started"
		if n := d.Alloc.Objects; n > 0 {
			seen = fmt.Sprintf("the memory of all that were taken (%d) was given back", n)
		}
		all = append(all, fmt.Sprintf("the profile is empty: no sample is live, %s", seen))
	}
	// The estimate of many small objects has the standard deviation sqrt(bytes*rate).
	counted := float64(stats.Live - stats.Internal)
	const tolerated = 6 // standard deviations
	switch lacks := counted - live.Bytes; {
	case lacks > tolerated*math.Sqrt(counted*float64(d.Rate)):
		all = append(all, fmt.Sprintf("the samples stand for some %s less than C holds, which is more than chance: it was allocated while sampling was off, or before the profile was reset, and is never seen",
			heapprof.Amount(lacks, "bytes")))
	case live.Objects == 0:
		all = append(all, fmt.Sprintf("so little is often in no sample, as in a young process: wait, or start the program with MALLOC_CONF=lg_prof_sample:12 for one sample in each 4KiB instead of each %s", rate))
	}
	return all
}

// difference returns what changed from one profile to another. If nothing changed, a comment
// says so.
func difference(from, to *profile.Profile) (*profile.Profile, error) {
	d, err := heapprof.Delta(from, to)
	if err != nil {
		return nil, err
	}
	// Only the comments of to, the later profile, are used. Those of both have different
	// numbers for the same thing.
	d.Comments = append([]string{"what changed from " + clock(from) + " to " + clock(to)}, to.Comments...)
	if isEmpty(d) {
		d.Comments = append(d.Comments, "nothing changed between the two: all stacks hold what they held")
	}
	return d, nil
}

func clock(p *profile.Profile) string { return time.Unix(0, p.TimeNanos).UTC().Format(time.RFC3339) }

// isEmpty reports whether a profile has no value at all.
func isEmpty(p *profile.Profile) bool {
	for i := range p.SampleType {
		if !lacksType(p, i) {
			return false
		}
	}
	return true
}

// lacksType reports whether all values of one type are zero.
func lacksType(p *profile.Profile, index int) bool {
	for _, s := range p.Sample {
		if s.Value[index] != 0 {
			return false
		}
	}
	return true
}

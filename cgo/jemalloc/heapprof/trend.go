package heapprof

import (
	"math"
	"sort"
	"time"
)

// Verdict is the result of judging a stack's history.
type Verdict string

// The verdicts.
const (
	Suspect     Verdict = "suspect"      // grows evenly, goes on growing, never falls back
	TooEarly    Verdict = "too early"    // not followed, or not growing, for long enough
	FewSamples  Verdict = "few samples"  // no growth, or not more than the sampling error explains
	FellBack    Verdict = "fell back"    // came down to where it was before
	LevelledOff Verdict = "levelled off" // grew, and grows no more or much slower
	FewSteps    Verdict = "few steps"    // grew by a few large objects
)

const (
	minPoints     = 12    // dumps in a window
	minSamples    = 12.0  // growth in sampled objects
	minConfidence = 0.999 // over all stacks together
	minSteps      = 6     // dumps with more samples than the one before
	windowStep    = 1.25  // each window is longer than the next by this factor

	// A leak at a constant rate is a Poisson process: its samples lie evenly
	// in time. About 19 of 20 such leaks stay within each of the following limits.
	maxUneven = 1.3 // distance from the straight line (Kolmogorov and Smirnov)
	maxTrend  = 1.7 // change of the rate itself (Laplace)
	maxPause  = 4.0 // samples that were due since the last one came
	// With many samples the tests notice every change of the load. A deviation below
	// these parts of the growth or of the window is ignored, because a leak may have it.
	minUneven = 0.2
	minTrend  = 0.095 // distance of the samples' mean time from the middle of the window
	minPause  = 0.1
	// blocks is the number of means into which a window is divided. Their differences
	// show how unsteady a stack is beyond what single samples explain.
	blocks = 12
	// walkError corrects for the small number of blocks.
	walkError = 1.5
	// The objects of a stack that come and go are other ones at each dump, so each dump is
	// another chance to look like growth. So growth by chance must be less likely for such
	// a stack, by the factor churnTests. It must also be less likely for a common part of
	// stacks, because there are many of them: by groupTests.
	churnTests = 100
	groupTests = 10
)

// judge fits and judges histories that have the same series of dumps.
type judge struct {
	times   []time.Time
	hours   []float64 // since the first dump
	windows []int     // index of the first dump of each window, the longest first
	tests   float64   // number of independent stacks and windows that are judged
	short   bool      // no window is long enough
}

// newJudge returns a judge for a series of dumps. stacks is the number of stacks that
// have enough samples for a suspect.
func newJudge(times []time.Time, minSpan time.Duration, stacks int) *judge {
	j := &judge{times: times}
	for _, t := range times {
		j.hours = append(j.hours, t.Sub(times[0]).Hours())
	}
	// All windows end now, and the shortest is minSpan long. So a leak that began late
	// is found in a window of about the time that the leak has lasted.
	last := len(times) - 1
	total, least := j.hours[last], minSpan.Hours()
	for span := total; span >= least; span /= windowStep {
		if span/windowStep < least {
			span = least
		}
		from := sort.SearchFloat64s(j.hours, j.hours[last]-span)
		if from > 0 { // begin one dump earlier, so that the window is not shorter than span
			from--
		}
		if len(times)-from < minPoints {
			break
		}
		j.windows = append(j.windows, from)
	}
	j.tests = float64(max(stacks, 1)) * (1 + math.Log2(max(1, total/least)))
	if len(j.windows) == 0 {
		j.short = true
		j.windows = []int{0}
	}
	return j
}

// growth judges the sum of some tracks.
func (j *judge) growth(tracks []*track) Growth {
	points := tracks[0].points
	if len(tracks) > 1 {
		points = sum(tracks)
	}
	g := j.best(points)
	if len(tracks) > 1 { // many groups are judged
		g.Confidence = max(0, 1-groupTests*(1-g.Confidence))
		if g.Verdict == Suspect && g.Confidence < minConfidence {
			g.Verdict = FewSamples
		}
	}
	g.Stacks = len(tracks)
	g.Bytes = float64(points[len(points)-1].bytes)
	for _, t := range tracks {
		g.Objects += t.objects
		if g.FirstSeen.IsZero() || t.first.Before(g.FirstSeen) {
			g.FirstSeen = t.first
		}
		if t.last.After(g.LastSeen) {
			g.LastSeen = t.last
		}
	}
	if g.Bytes > 0 {
		g.ObjectsPerHour = g.BytesPerHour * g.Objects / g.Bytes
	}
	return g
}

// best judges the points in all windows. It returns the growth in the longest window
// that makes a suspect. If there is none, it returns the growth in the longest window.
func (j *judge) best(points []point) Growth {
	g := j.window(points, j.windows[0])
	for _, from := range j.windows[1:] {
		if g.Verdict == Suspect || points[len(points)-1].samples < minSamples {
			break
		}
		if w := j.window(points, from); w.Verdict == Suspect {
			g = w
		}
	}
	return g
}

func sum(tracks []*track) []point {
	total := make([]point, len(tracks[0].points))
	for _, t := range tracks {
		for i, p := range t.points {
			total[i].bytes += p.bytes
			total[i].samples += p.samples
			total[i].peak += p.peak
		}
	}
	return total
}

// window judges the points from one index on. The points before it count only for
// how much the stack has held before.
func (j *judge) window(points []point, from int) Growth {
	last := len(points) - 1
	g := Growth{From: j.times[from], To: j.times[last], Verdict: TooEarly}
	w := history{hours: j.hours[from:], points: points[from:]}
	span := j.hours[last] - j.hours[from]
	if span == 0 {
		return g
	}
	g.BytesPerHour = fit(w.hours, func(i int) float64 { return float64(w.points[i].bytes) })
	up, down := w.moves()
	chance, variance := w.chance()
	g.Samples = up - down
	g.Confidence = max(0, 1-j.tests*chance)
	// The variance of a least-squares slope is 6/5 of that of the difference.
	g.BytesPerHourError = w.weight() * math.Sqrt(1.2*variance) / span
	if j.short {
		return g
	}
	switch {
	case g.Samples < minSamples || g.Confidence < minConfidence:
		g.Verdict = FewSamples
	case w.floor() <= ceiling(points[:from+w.third(1)]):
		if g.Verdict = FellBack; down == 0 {
			g.Verdict = TooEarly
		}
	case w.steps() < minSteps:
		g.Verdict = FewSteps
	case w.trend() < -maxTrend || w.unevenness() > maxUneven || w.ended(g.Samples/span):
		g.Verdict = LevelledOff
	case w.trend() > maxTrend || w.unevenness() < -maxUneven:
		g.Verdict = TooEarly
	case from > 0 && j.twice(points, from).trend() < -maxTrend:
		// The growth is even in the window, but it was faster before.
		g.Verdict = LevelledOff
	default:
		g.Verdict = Suspect
	}
	return g
}

// twice returns the history in a window of twice the time of the one that begins at
// from. Both end now.
func (j *judge) twice(points []point, from int) history {
	last := len(points) - 1
	from = sort.SearchFloat64s(j.hours, 2*j.hours[from]-j.hours[last])
	return history{hours: j.hours[from:], points: points[from:]}
}

// history is a stack's points in a window.
type history struct {
	hours  []float64
	points []point
}

// moves returns how many samples were added and how many were removed from dump to
// dump.
func (w history) moves() (up, down float64) {
	for i := 1; i < len(w.points); i++ {
		if d := float64(w.points[i].samples - w.points[i-1].samples); d > 0 {
			up += d
		} else {
			down -= d
		}
	}
	return up, down
}

// chance returns the probability that a constant heap shows this growth, and the
// variance of its samples.
//
// In a constant heap each move is up or down with the same probability. A leak alone
// only moves up. If there are moves down, there may be more of them between two dumps,
// which no dump shows: in the worst case the samples at both ends are independent
// Poisson numbers. A stack that allocates many sizes is more unsteady than that: a
// large object can count as many samples at once, because jemalloc reports only sums.
// The function walk measures this.
func (w history) chance() (p, variance float64) {
	up, down := w.moves()
	if down == 0 {
		return binomialTail(up, down), up
	}
	variance = max(up+down, w.edge(0)+w.edge(len(w.points)-1), walkError*w.walk())
	p = max(binomialTail(up, down), normalTail((up-down)/math.Sqrt(variance)))
	return min(1, churnTests*p), variance
}

// binomialTail returns the probability of at most down heads in up+down throws of a
// coin.
func binomialTail(up, down float64) float64 {
	n := up + down
	if up <= down {
		return 1
	}
	if n > 1000 {
		return normalTail((up - down) / math.Sqrt(n))
	}
	term := math.Exp2(-n)
	total := term
	for k := 1.0; k <= down; k++ {
		term *= (n - k + 1) / k
		total += term
	}
	return min(1, total)
}

func normalTail(z float64) float64 { return math.Erfc(z/math.Sqrt2) / 2 }

// walk returns the variance to which the steps between the means of blocks add up.
func (w history) walk() float64 {
	var means []float64
	first, span := w.hours[0], w.hours[len(w.hours)-1]-w.hours[0]
	for i := 0; i < len(w.hours); {
		block := math.Floor((w.hours[i] - first) / span * blocks)
		var total, n float64
		for ; i < len(w.hours) && math.Floor((w.hours[i]-first)/span*blocks) == block; i++ {
			total += float64(w.points[i].samples)
			n++
		}
		means = append(means, total/n)
	}
	steps := float64(len(means) - 1)
	mean := (means[len(means)-1] - means[0]) / steps
	var walk float64
	for i := 1; i < len(means); i++ {
		d := means[i] - means[i-1] - mean
		walk += d * d
	}
	return walk
}

// weight returns the number of bytes that one sample stands for.
func (w history) weight() float64 {
	var bytes, samples float64
	for _, p := range w.points {
		bytes += float64(p.bytes)
		samples += float64(p.samples)
	}
	if samples == 0 {
		return 0
	}
	return bytes / samples
}

// third returns the index where the first (0), second (1) or last (2) third
// of the window's time begins.
func (w history) third(n int) int {
	begin, span := w.hours[0], w.hours[len(w.hours)-1]-w.hours[0]
	return sort.SearchFloat64s(w.hours, begin+span*float64(n)/3)
}

// floor returns the least number of samples in the last third.
func (w history) floor() float32 {
	rest := w.points[w.third(2):]
	least := rest[0].samples
	for _, p := range rest {
		least = min(least, p.samples)
	}
	return least
}

// ceiling returns the largest number of samples that the stack had in some points,
// including the dumps between them that are not kept.
func ceiling(points []point) float32 {
	most := float32(0)
	for _, p := range points {
		most = max(most, p.peak)
	}
	return most
}

// trend returns Laplace's test of the rate of the growth, in standard deviations. It
// is 0 if the change is too small to matter. Below 0 the samples came early in the
// window: the growth slows down. Above 0 they came late. For a leak at a constant rate
// the result is normally distributed.
func (w history) trend() float64 {
	first, span := w.hours[0], w.hours[len(w.hours)-1]-w.hours[0]
	var sum float64
	for i := 1; i < len(w.points); i++ {
		middle := ((w.hours[i]+w.hours[i-1])/2 - first) / span
		sum += (middle - 0.5) * float64(w.points[i].samples-w.points[i-1].samples)
	}
	up, down := w.moves()
	if math.Abs(sum) < minTrend*(up-down) {
		return 0
	}
	return sum * math.Sqrt(12/max(1, up+down))
}

// ended reports whether the growth has ended: since the last new maximum no sample was
// added, although several were due at rate samples an hour. Objects of the same stack
// that are allocated and freed meanwhile may hide as many samples as their own error,
// so that error is allowed for.
func (w history) ended(rate float64) bool {
	last := len(w.points) - 1
	top := last
	for i := last; i >= 0; i-- {
		if w.points[i].samples >= w.points[top].samples {
			top = i
		}
	}
	pause := w.hours[last] - w.hours[top]
	return rate*pause > maxPause+2*math.Sqrt(2*w.edge(0)) && pause > minPause*(w.hours[last]-w.hours[0])
}

// unevenness returns the largest distance of the points from the straight line between
// both ends, in standard deviations of a Poisson process. It is negative below the
// line, and 0 if the distance is too small to matter.
func (w history) unevenness() float64 {
	last := len(w.points) - 1
	growth := w.edge(last) - w.edge(0)
	slope := growth / (w.hours[last] - w.hours[0])
	most := 0.0
	for i, p := range w.points {
		d := float64(p.samples) - w.edge(0) - slope*(w.hours[i]-w.hours[0])
		if math.Abs(d) > math.Abs(most) {
			most = d
		}
	}
	if math.Abs(most) < minUneven*growth {
		return 0
	}
	up, down := w.moves()
	return most / math.Sqrt(max(1, up+down))
}

// edge returns the mean of a point and its neighbours in the window.
func (w history) edge(i int) float64 {
	var total float64
	from, to := max(i-1, 0), min(i+2, len(w.points))
	for _, p := range w.points[from:to] {
		total += float64(p.samples)
	}
	return total / float64(to-from)
}

// steps returns how many dumps have more samples than the dump before.
func (w history) steps() int {
	n := 0
	for i := 1; i < len(w.points); i++ {
		if w.points[i].samples > w.points[i-1].samples {
			n++
		}
	}
	return n
}

// fit returns the slope of the least-squares line through y(i) at x[i].
func fit(x []float64, y func(i int) float64) float64 {
	var mx, my float64
	for i := range x {
		mx += x[i]
		my += y(i)
	}
	n := float64(len(x))
	mx, my = mx/n, my/n
	var xx, xy float64
	for i := range x {
		xx += (x[i] - mx) * (x[i] - mx)
		xy += (x[i] - mx) * (y(i) - my)
	}
	return xy / xx
}

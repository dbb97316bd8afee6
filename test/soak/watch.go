package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"magellan/internal/zk/zktest"
	"magellan/test/magellan"
)

// sample is what a process holds at one time.
type sample struct {
	at    time.Duration
	value [4]float64
	err   error
}

// figures are what a sample has, and how much more of each there may be at the
// end than at the beginning: a part of it, or so many.
var figures = [4]struct {
	name  string
	unit  float64
	part  float64
	count float64
}{
	{"RSS, MiB", 1 << 20, 0.03, 0},
	{"goroutines", 1, 0.02, 3},
	{"watches on the server", 1, 0.001, 20}, // those of shops that change just now are not set
	{"file descriptors", 1, 0, 1},
}

type samples []sample

// watch takes a sample each second until ctx ends.
func watch(ctx context.Context, m *magellan.Process, server *zktest.Server) (all samples) {
	begin := time.Now()
	ticks := time.NewTicker(time.Second)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return all
		case <-ticks.C:
		}
		one := sample{at: time.Since(begin)}
		one.err = one.take(ctx, m, server)
		if ctx.Err() != nil {
			return all
		}
		all = append(all, one)
	}
}

func (s *sample) take(ctx context.Context, m *magellan.Process, server *zktest.Server) error {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.Pid()))
	if err != nil {
		return err
	}
	kilobytes, err1 := number(string(status), "VmRSS:")
	metrics, err2 := get(ctx, m.Admin+"/metrics")
	goroutines, err3 := number(string(metrics), "go_goroutines ")
	wchs, err4 := server.FourLetter("wchs")
	watches, err5 := number(wchs, "Total watches:")
	files, err6 := os.ReadDir(fmt.Sprintf("/proc/%d/fd", m.Pid()))
	s.value = [4]float64{kilobytes * 1024, goroutines, watches, float64(len(files))}
	return errors.Join(err1, err2, err3, err4, err5, err6)
}

// number reads the number that follows a word at the beginning of a line.
func number(text, word string) (float64, error) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, word); ok {
			if fields := strings.Fields(rest); len(fields) > 0 {
				return strconv.ParseFloat(fields[0], 64)
			}
		}
	}
	return 0, fmt.Errorf("no %q in %.100q", word, text)
}

func get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %.200s", url, res.Status, body)
	}
	return body, err
}

// leastJudged is how long figures must have been watched to say that they are not
// flat: before that a process warms up.
const leastJudged = 5 * time.Minute

// judge prints the figures and returns what is not flat. The first fifth of the
// time is for warming up; the fifth after that is compared with the last.
func (all samples) judge() error {
	var bad []error
	for _, s := range all {
		if s.err != nil {
			return fmt.Errorf("a sample could not be taken: %w", s.err)
		}
	}
	fifth := len(all) / 5
	if fifth < 2 {
		return errors.New("too few samples to tell: let it run for longer")
	}
	settled := all[fifth:]
	judged := all[len(all)-1].at-all[0].at >= leastJudged
	if !judged {
		fmt.Printf("too short to say what is flat: that takes %v\n", leastJudged)
	}
	for i, f := range figures {
		begin, end := settled[:fifth].median(i), settled[len(settled)-fifth:].median(i)
		fmt.Printf("%s: %.1f at the beginning, %.1f at the end, slope %+.2f an hour\n", f.name, begin/f.unit, end/f.unit, settled.slope(i)/f.unit)
		if judged && end-begin > max(f.part*begin, f.count) {
			bad = append(bad, fmt.Errorf("%s: not flat: %.1f and %.1f", f.name, begin/f.unit, end/f.unit))
		}
	}
	return errors.Join(bad...)
}

func (all samples) median(figure int) float64 {
	var values []float64
	for _, s := range all {
		values = append(values, s.value[figure])
	}
	return median(values)
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// slope is the median of the slopes between two samples (Theil and Sen), per
// hour: what garbage collections do to single samples does nothing to it.
func (all samples) slope(figure int) float64 {
	step := max(1, len(all)/500)
	var slopes []float64
	for i := 0; i < len(all); i += step {
		for j := i + step; j < len(all); j += step {
			slopes = append(slopes, (all[j].value[figure]-all[i].value[figure])/(all[j].at-all[i].at).Hours())
		}
	}
	return median(slopes)
}

// suspected is what the native profile says.
type suspected struct {
	number int
	text   string
}

func suspects(ctx context.Context, m *magellan.Process) (suspected, error) {
	var answer struct {
		Suspects    int
		SpanSeconds float64 `json:"span_seconds"`
		Samples     int
	}
	body, err := get(ctx, m.Admin+"/admin/jeprof/leaks")
	if err == nil {
		err = json.Unmarshal(body, &answer)
	}
	if err != nil {
		return suspected{}, err
	}
	text := fmt.Sprintf("%d suspects in %d samples over %.0f s\n", answer.Suspects, answer.Samples, answer.SpanSeconds)
	if answer.Suspects > 0 {
		text += string(body) + "\n"
	}
	return suspected{answer.Suspects, text}, nil
}

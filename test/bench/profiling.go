package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"time"

	"magellan/internal/childproc"
)

// unprofiled is the environment of a process that never samples.
const unprofiled = "MALLOC_CONF=prof:false"

// measureProfiling compares processes that sample their allocations, as magellan
// does, with others that differ in nothing else; and asks how long a profile takes.
func (r *run) measureProfiling(ctx context.Context) error {
	if err := r.measureSampling(ctx); err != nil {
		return err
	}
	if err := r.measureUnwinder(ctx); err != nil {
		return err
	}
	return r.measureDump(ctx)
}

// mallocLoad is the load on the server that mallocs.
const mallocConnections = 16

func (r *run) measureSampling(ctx context.Context) error {
	pairs := []struct {
		name    string
		start   func(name string, env ...string) (*server, error)
		load    load
		results [2][]loadResult // sampling, not
		rss     [2][]float64
	}{
		{name: "magellan, `GET /v1/shops/{shop}`", load: load{connections: 64, duration: r.readTime, file: r.reads},
			start: func(name string, env ...string) (*server, error) { return r.startMagellanAs(ctx, name, env) }},
		{name: fmt.Sprintf("a handler that mallocs and frees %d blocks", mallocsPerRequest), load: load{connections: mallocConnections, duration: r.readTime, file: r.reads},
			start: func(name string, env ...string) (*server, error) { return r.startBaseline("malloc", env...) }},
	}
	t := &table{head: []string{"process", "sampling: requests/s", "not: requests/s", "requests/s", "CPU us/request, sampling", "not", "RSS MiB, sampling", "not", "RSS"}}
	for i := range pairs {
		p := &pairs[i]
		var servers [2]*server
		for side, env := range [][]string{nil, {unprofiled}} {
			s, err := p.start([]string{"sampling", "not-sampling"}[side], env...)
			if err != nil {
				return err
			}
			if s.admin != "" {
				err = r.warmMagellan(ctx, s)
			} else {
				_, err = s.waitAnswers(ctx, "/")
			}
			if err != nil {
				return err
			}
			warm := p.load
			warm.duration = r.warm
			if _, err := r.wrk(ctx, s, warm); err != nil {
				return err
			}
			servers[side] = s
		}
		// The difference is a few parts of a thousand: it takes many rounds.
		for round := range 2 * r.loadRounds {
			for _, side := range rotated([]int{0, 1}, round) {
				result, err := r.wrk(ctx, servers[side], p.load)
				if err != nil {
					return err
				}
				rss, err := rssOf(servers[side].Pid())
				if err != nil {
					return err
				}
				p.results[side] = append(p.results[side], result)
				p.rss[side] = append(p.rss[side], float64(rss))
			}
			last := len(p.results[0]) - 1
			r.progress("profiling round %d: %s: %.0f : %.0f requests/s", round+1, p.name, p.results[0][last].perSecond(), p.results[1][last].perSecond())
		}
		r.stopAll()
		speed := func(side int) []float64 { return column(p.results[side], loadResult.perSecond) }
		cpu := func(side int) []float64 { return column(p.results[side], loadResult.cpuPerRequest) }
		t.add(p.name, number(median(speed(0)), 0), number(median(speed(1)), 0), number(ratio(speed(0), speed(1)), 3),
			number(median(cpu(0)), 1), number(median(cpu(1)), 1),
			mebibytes(median(p.rss[0])), mebibytes(median(p.rss[1])), number(ratio(p.rss[0], p.rss[1]), 3))
	}
	r.report.section("Sampling", fmt.Sprintf("Each process as it is by default, one sample each 512 KiB with C-and-Go stacks, beside the same with `%s`: "+
		"%d rounds of %v, each side first in turn. RSS is looked at after each round.", unprofiled, 2*r.loadRounds, r.readTime), t)
	for i, wanted := range []float64{0.99, 0.95} {
		p := pairs[i]
		r.report.goal(goal{what: "sampling: requests/s with over without, " + p.name, decimals: 3, wanted: wanted,
			got: ratio(column(p.results[0], loadResult.perSecond), column(p.results[1], loadResult.perSecond))})
	}
	r.report.goal(goal{what: "sampling: magellan's RSS with over without", decimals: 3, wanted: 1.02, atMost: true, got: ratio(pairs[0].rss[0], pairs[0].rss[1])})
	return nil
}

var unwinderLine = regexp.MustCompile(`BenchmarkUnwinder/(\d+)_Go_frames\S*\s.*?([\d.]+) hook-ns/sample\s+([\d.]+) hook/stock\s+([\d.]+) stock-ns/sample`)

// measureUnwinder runs the benchmark of package jemalloc, which can take the hook
// away within one process.
func (r *run) measureUnwinder(ctx context.Context) error {
	t := &table{head: []string{"Go frames below the C function", "hook, ns/sample", "jemalloc's own, ns/sample", "hook : its own"}}
	worst := 0.0
	rounds := map[string][3][]float64{}
	var order []string
	for range r.fillRounds {
		cmd := exec.Command(r.cmd.Unwinder, "-test.run=^$", "-test.bench=Unwinder", "-test.benchtime=1x", "-test.v")
		out, err := childproc.Run(ctx, cmd)
		if err != nil {
			return err
		}
		found := unwinderLine.FindAllStringSubmatch(string(out), -1)
		if len(found) == 0 {
			return fmt.Errorf("%s: no result in its output: %.2000s", r.cmd.Unwinder, out)
		}
		for _, m := range found {
			values := rounds[m[1]]
			if values[0] == nil {
				order = append(order, m[1])
			}
			for i := range values {
				v, err := strconv.ParseFloat(m[2+i], 64)
				if err != nil {
					return err
				}
				values[i] = append(values[i], v)
			}
			rounds[m[1]] = values
		}
	}
	for _, frames := range order {
		v := rounds[frames]
		worst = max(worst, median(v[1]))
		t.add(frames, number(median(v[0]), 0), number(median(v[2]), 0), number(median(v[1]), 3))
	}
	r.progress("unwinder: at most %.3f of jemalloc's own", worst)
	r.report.section("Unwinder", "What a sampled allocation and the free of it take, with the hook that walks C and Go and with jemalloc's own unwinder, "+
		"which ends where Go begins: alternating within one process that samples each allocation.", t)
	r.report.goal(goal{what: "unwinder: time of a sample, hook over jemalloc's own", decimals: 3, wanted: 1.1, atMost: true, got: worst})
	return nil
}

// measureDump asks a magellan for its first profile, and for more.
func (r *run) measureDump(ctx context.Context) error {
	const (
		warmDumps = 9
		// By itself magellan names its stacks first: for the dump that it keeps when it
		// has started, which can be switched off, and for the first of its samples, 15 s
		// after the start. It must be asked before that, so it does not get all shops.
		byItself = 15 * time.Second
		mostOf   = 20_000
	)
	var first, warm, extra []float64 // milliseconds, bytes
	late, shops := 0, min(r.hot, mostOf)
	for round := range r.fillRounds {
		started := time.Now()
		s, err := r.startMagellanAs(ctx, "magellan", []string{"MAGELLAN_HEAP_AUTO_DUMP=false"})
		if err != nil {
			return err
		}
		if err := r.fillMagellan(ctx, s, shops); err != nil {
			return err
		}
		if _, err := r.wrk(ctx, s, load{connections: 64, duration: r.warm, file: r.reads}); err != nil {
			return err
		}
		if time.Since(started) > byItself {
			late++
		}
		pid := s.Pid()
		// The kernel forgets the highest that was resident.
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
			return err
		}
		before, err := rssOf(pid)
		if err != nil {
			return err
		}
		for i := range 1 + warmDumps {
			began := time.Now()
			if _, _, err := get(ctx, s.admin+"/debug/pprof/native"); err != nil {
				return err
			}
			took := time.Since(began).Seconds() * 1000
			if i > 0 {
				warm = append(warm, took)
				continue
			}
			first = append(first, took)
			peak, err := statusField(pid, "VmHWM:")
			if err != nil {
				return err
			}
			extra = append(extra, float64(max(0, peak-before)))
		}
		r.progress("profile round %d: the first takes %.0f ms and %s MiB, more %.0f ms", round+1, first[round], mebibytes(extra[round]), median(warm))
		r.stopAll()
	}
	t := &table{head: []string{"profile", "ms", "more resident at its peak, MiB"}}
	t.add("the first", number(median(first), 0), mebibytes(median(extra)))
	t.add("further ones", number(median(warm), 1), "")
	tooLate := ""
	if late > 0 {
		tooLate = fmt.Sprintf(" %d of them were not ready within %v, and had named their stacks by themselves.", late, byItself)
	}
	r.report.section("A profile of the serving process", fmt.Sprintf("`GET /debug/pprof/native` of a magellan with %s shops in memory, dump, names and encoding included: "+
		"%d processes, each asked once and then %d times.", number(float64(2*shops), 0), r.fillRounds, warmDumps)+tooLate, t)
	r.report.goal(goal{what: "profile: the first, ms", wanted: 1000, atMost: true, got: median(first)})
	r.report.goal(goal{what: "profile: further ones, ms", decimals: 1, wanted: 100, atMost: true, got: median(warm)})
	r.report.goal(goal{what: "profile: more resident at the peak of the first, MiB", decimals: 1, wanted: 64, atMost: true, got: median(extra) / (1 << 20)})
	return nil
}

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// heaptrackPreload is the library that heaptrack itself preloads.
const heaptrackPreload = "/usr/lib/heaptrack/libheaptrack_preload.so"

// wayToRun is a way to run the same program.
type wayToRun struct {
	name string
	cmd  func(r *run, args ...string) *exec.Cmd
}

var waysToRun = []wayToRun{
	{"as it is", func(r *run, args ...string) *exec.Cmd {
		return exec.Command(r.cmd.Plain, args...)
	}},
	{"`magellan heap run`", func(r *run, args ...string) *exec.Cmd {
		return exec.Command(r.cmd.Magellan, append([]string{"heap", "run", "--", r.cmd.Plain}, args...)...)
	}},
	{"`magellan heap run --off`", func(r *run, args ...string) *exec.Cmd {
		return exec.Command(r.cmd.Magellan, append([]string{"heap", "run", "--off", "--", r.cmd.Plain}, args...)...)
	}},
	{"heaptrack", func(r *run, args ...string) *exec.Cmd {
		return withEnv([]string{"LD_PRELOAD=" + heaptrackPreload, "DUMP_HEAPTRACK_OUTPUT=/dev/null"}, exec.Command(r.cmd.Plain, args...))
	}},
}

// measureAgent runs programs that were not built for profiling as they are, under the
// agent, and under heaptrack.
func (r *run) measureAgent(ctx context.Context) error {
	if _, err := os.Stat(heaptrackPreload); err != nil {
		return fmt.Errorf("%w: run build/deps.sh bench", err)
	}
	requests := filepath.Join(r.dir, "plain")
	var paths strings.Builder
	for id := range 1000 {
		fmt.Fprintf(&paths, "/%d\n", id)
	}
	if err := os.WriteFile(requests, []byte(paths.String()), 0o600); err != nil {
		return err
	}
	t := &table{head: []string{"program", "requests/s", "it : as it is, requests/s", "p99 us", "CPU us/request", "it : as it is, CPU", "RSS MiB"}}
	for _, program := range []struct {
		service, about string
		wanted         float64
	}{
		{"sqlite", "mattn/go-sqlite3 behind net/http", 0.99},
		{"malloc", fmt.Sprintf("a handler that mallocs and frees %d blocks", mallocsPerRequest), 0.95},
	} {
		results, rss, err := r.measureWays(ctx, program.service, load{connections: mallocConnections, duration: r.readTime, file: requests})
		if err != nil {
			return err
		}
		speed := func(i int) []float64 { return column(results[i], loadResult.perSecond) }
		cpu := func(i int) []float64 { return column(results[i], loadResult.cpuPerRequest) }
		for i, way := range waysToRun {
			p99 := column(results[i], func(l loadResult) float64 { return l.P99 })
			t.add(program.about+", "+way.name, number(median(speed(i)), 0), number(ratio(speed(i), speed(0)), 3),
				number(median(p99), 0), number(median(cpu(i)), 1), number(ratio(cpu(i), cpu(0)), 3), mebibytes(median(rss[i])))
		}
		r.report.goal(goal{what: "agent: requests/s under heap run over none, " + program.about, decimals: 3, wanted: program.wanted, got: ratio(speed(1), speed(0))})
		r.report.goal(goal{what: "agent off: requests/s over none, " + program.about, decimals: 3, wanted: 0.995, got: ratio(speed(2), speed(0))})
	}
	r.report.section("Programs that were not built for it", fmt.Sprintf("The same binaries as they are, under the agent with one sample each 512 KiB, under the agent with sampling off, and with "+
		"heaptrack's library preloaded, which writes to /dev/null: %d rounds of %v, each first in turn. RSS is looked at after each round.", r.agentRounds(), r.readTime), t)
	return nil
}

// measureWays puts a load on a service that runs in each of the ways.
func (r *run) measureWays(ctx context.Context, service string, l load) (results [][]loadResult, rss [][]float64, err error) {
	servers := make([]*server, len(waysToRun))
	order := make([]int, len(waysToRun))
	results, rss = make([][]loadResult, len(waysToRun)), make([][]float64, len(waysToRun))
	for i, way := range waysToRun {
		order[i] = i
		if servers[i], err = r.startListening(service, way.cmd(r, service)); err != nil {
			return nil, nil, err
		}
		if _, err := servers[i].waitAnswers(ctx, "/1"); err != nil {
			return nil, nil, err
		}
		warm := l
		warm.duration = r.warm
		if _, err := r.wrk(ctx, servers[i], warm); err != nil {
			return nil, nil, err
		}
	}
	for round := range r.agentRounds() {
		for _, i := range rotated(order, round) {
			result, err := r.wrk(ctx, servers[i], l)
			if err != nil {
				return nil, nil, err
			}
			resident, err := rssOf(servers[i].Pid())
			if err != nil {
				return nil, nil, err
			}
			results[i], rss[i] = append(results[i], result), append(rss[i], float64(resident))
		}
		last := func(i int) float64 { return results[i][round].perSecond() / results[0][round].perSecond() }
		r.progress("agent round %d: %s: %.3f, off %.3f, heaptrack %.3f of none", round+1, service, last(1), last(2), last(3))
	}
	r.stopAll()
	return results, rss, nil
}

// agentRounds returns how many rounds there are. The differences are a few parts of a
// thousand, which takes many.
func (r *run) agentRounds() int {
	if r.cmd.Short {
		return r.loadRounds
	}
	return 2 * r.loadRounds
}

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// measureReads has wrk ask each server for one shop after the other.
func (r *run) measureReads(ctx context.Context) error {
	magellan, err := r.startMagellan(ctx)
	if err != nil {
		return err
	}
	if err := r.warmMagellan(ctx, magellan); err != nil {
		return err
	}
	servers := []*server{magellan}
	for _, start := range []func() (*server, error){
		func() (*server, error) { return r.startBaseline("echo") },
		func() (*server, error) { return r.startBaseline("nethttp") },
		r.startNginx,
		func() (*server, error) { return r.startBaseline("naive") },
		r.startGozk,
	} {
		s, err := start()
		if err != nil {
			return err
		}
		servers = append(servers, s)
	}
	body, err := os.ReadFile(r.bodyFile())
	if err != nil {
		return err
	}
	for _, s := range servers {
		got, err := s.waitAnswers(ctx, "/v1/shops/"+r.hotShop(0))
		if err != nil {
			return err
		}
		if len(got) < len(body)-1 || len(got) > len(body) { // the naive ones have no newline
			return fmt.Errorf("%s answers with %d bytes, magellan with %d", s.name, len(got), len(body))
		}
	}

	asked := make([]asked, len(servers))
	for i, s := range servers {
		asked[i].server, asked[i].file = s, r.reads
	}
	busyLoad := load{connections: 64, duration: r.readTime}
	if err := r.warmUp(ctx, asked, busyLoad); err != nil {
		return err
	}
	busy, err := r.takeTurns(ctx, asked, busyLoad)
	if err != nil {
		return err
	}
	alone, err := r.takeTurns(ctx, asked, load{connections: 1, duration: r.oneByOne, pinned: true})
	if err != nil {
		return err
	}
	busyLoad.file = r.reads
	if err := r.profile(ctx, magellan, "reads", busyLoad); err != nil {
		return err
	}
	r.reportReads(len(body), busy, alone)
	return nil
}

// readNames are the servers of measureReads in their order, of which the second
// is what magellan is to keep up with.
var readNames = []string{
	"magellan",
	"Echo, prebuilt body, path parameter",
	"net/http, prebuilt body",
	"nginx, static file",
	"naive: one go-zookeeper/zk read per request",
	"naive: one gozk read per request",
}

// asked is a server with the file of requests that it is asked, see wrk.lua.
type asked struct {
	*server
	file string
}

// warmUp puts the load on each server once.
func (r *run) warmUp(ctx context.Context, all []asked, l load) error {
	l.duration = r.warm
	for _, a := range all {
		l.file = a.file
		if _, err := r.wrk(ctx, a.server, l); err != nil {
			return err
		}
	}
	return nil
}

// takeTurns puts the load on each server in each round, and returns the results
// by server.
func (r *run) takeTurns(ctx context.Context, all []asked, l load) ([][]loadResult, error) {
	results := make([][]loadResult, len(all))
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	for round := range r.loadRounds {
		for _, i := range rotated(order, round) {
			l.file = all[i].file
			result, err := r.wrk(ctx, all[i].server, l)
			if err != nil {
				return nil, err
			}
			r.progress("c=%d round %d: %-10s %-12s %9.0f requests/s, p99 %6.0f us, %5.1f us CPU a request",
				l.connections, round+1, all[i].name, filepath.Base(l.file), result.perSecond(), result.P99, result.cpuPerRequest())
			results[i] = append(results[i], result)
		}
	}
	return results, nil
}

func (r *run) reportReads(bodySize int, busy, alone [][]loadResult) {
	p50 := func(l loadResult) float64 { return l.P50 }
	p99 := func(l loadResult) float64 { return l.P99 }
	var tables []*table
	for _, results := range [][][]loadResult{busy, alone} {
		t := &table{head: []string{"server", "requests/s", "p50 us", "p99 us", "CPU us/request", "bytes/answer", "magellan : it, requests/s", "magellan : it, p99", "magellan : it, CPU"}}
		for i, name := range readNames {
			cpu := number(median(column(results[i], loadResult.cpuPerRequest)), 1)
			if strings.HasPrefix(name, "naive") {
				cpu += " + " + number(median(column(results[i], loadResult.backendCPUPerRequest)), 1) + " in ZooKeeper"
			}
			t.add(name, number(median(column(results[i], loadResult.perSecond)), 0),
				number(median(column(results[i], p50)), 0), number(median(column(results[i], p99)), 0), cpu,
				number(median(column(results[i], loadResult.bytesPerAnswer)), 0),
				number(ratio(column(results[0], loadResult.perSecond), column(results[i], loadResult.perSecond)), 2),
				number(ratio(column(results[0], p99), column(results[i], p99)), 2),
				number(ratio(column(results[0], loadResult.cpuPerRequest), column(results[i], loadResult.cpuPerRequest)), 2))
		}
		tables = append(tables, t)
	}
	r.report.section("Reads, 64 connections", fmt.Sprintf("`GET /v1/shops/{shop}`: the body has %d bytes, names have %d. "+
		"wrk with one thread and keep-alive sends the same sequence of requests to all, drawn by zipf (s = %v) from the %s shops that are asked for, all of which magellan has in memory. "+
		"%d rounds of %v each, after %v of warming up. magellan's answers have more bytes: ETag, Age, X-Cache, X-Zxid and a request id.",
		bodySize, len(r.hotShop(0)), zipfS, number(float64(r.hot), 0), r.loadRounds, r.readTime, r.warm), tables[0])
	r.report.section("Reads, one connection", fmt.Sprintf("The same, wrk and the server bound to the same core, %d rounds of %v each.", r.loadRounds, r.oneByOne), tables[1])
	r.report.goal(goal{what: "reads: magellan's requests/s over Echo's", decimals: 3, wanted: 0.95,
		got: ratio(column(busy[0], loadResult.perSecond), column(busy[1], loadResult.perSecond))})
	r.report.goal(goal{what: "reads: magellan's p99 over Echo's", decimals: 3, wanted: 1, atMost: true,
		got: ratio(column(busy[0], p99), column(busy[1], p99))})
}

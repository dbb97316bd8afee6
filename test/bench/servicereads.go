package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// writeReads writes a file with the path of a GET in each line, drawn by zipf from the services.
func (f fleet) writeReads(dir string, draws int) (string, error) {
	file := filepath.Join(dir, "service-reads")
	random := rand.New(rand.NewPCG(seed, seed))
	zipf := rand.NewZipf(random, zipfS, 1, uint64(f.Services-1))
	shuffled := random.Perm(f.Services)
	return file, writeLines(file, draws, func(b []byte, _ int) []byte {
		return append(append(b, "/v1/services/"...), f.service(shuffled[zipf.Uint64()])...)
	})
}

// serviceReadNames are what reportServiceReads compares, in the order of measureServiceReads.
var serviceReadNames = []string{
	"magellan, `GET /v1/services/{name}`",
	"magellan, `GET /v1/shops/{shop}`",
	"Echo, prebuilt body of a service, path parameter",
}

// measureServiceReads has wrk ask one magellan for services and for shops in turn, and Echo for a
// body of a service's size.
func (r *run) measureServiceReads(ctx context.Context, f, one fleet) error {
	magellan, err := r.startServing(ctx, f, one)
	if err != nil {
		return err
	}
	if err := r.warmMagellan(ctx, magellan); err != nil {
		return err
	}
	var body []byte
	for i := range f.Services { // each is rendered once
		if body, _, err = get(ctx, magellan.url+"/v1/services/"+f.service(i)); err != nil {
			return err
		}
	}
	if err := os.WriteFile(r.bodyFile(), body, 0o644); err != nil {
		return err
	}
	echo, err := r.startBaseline("echo")
	if err != nil {
		return err
	}
	if _, err := echo.waitAnswers(ctx, "/v1/shops/"+r.hotShop(0)); err != nil {
		return err
	}
	reads, err := f.writeReads(r.dir, r.draws)
	if err != nil {
		return err
	}
	all := []asked{{magellan, reads}, {magellan, r.reads}, {echo, r.reads}}
	busy := load{connections: 64, duration: r.readTime}
	if err := r.warmUp(ctx, all, busy); err != nil {
		return err
	}
	results, err := r.takeTurns(ctx, all, busy)
	if err != nil {
		return err
	}
	r.reportServiceReads(f, results)
	busy.file = reads
	return r.profile(ctx, magellan, "service-reads", busy)
}

func (r *run) reportServiceReads(f fleet, results [][]loadResult) {
	t := &table{head: []string{"server", "requests/s", "p50 us", "p99 us", "CPU us/request", "bytes/answer", "services : it, requests/s", "services : it, CPU"}}
	for i, name := range serviceReadNames {
		t.add(name, number(median(column(results[i], loadResult.perSecond)), 0),
			number(median(column(results[i], func(l loadResult) float64 { return l.P50 })), 0),
			number(median(column(results[i], func(l loadResult) float64 { return l.P99 })), 0),
			number(median(column(results[i], loadResult.cpuPerRequest)), 1),
			number(median(column(results[i], loadResult.bytesPerAnswer)), 0),
			number(ratio(column(results[0], loadResult.perSecond), column(results[i], loadResult.perSecond)), 2),
			number(ratio(column(results[0], loadResult.cpuPerRequest), column(results[i], loadResult.cpuPerRequest)), 2))
	}
	r.report.section("Services: reads, 64 connections", fmt.Sprintf("One magellan with %s shops and %v in memory. wrk with one thread and keep-alive asks for services and for shops in turn, drawn by zipf (s = %v); "+
		"Echo has one service's body ready for each request. %d rounds of %v each, after %v of warming up.",
		number(float64(r.hot), 0), f, zipfS, r.loadRounds, r.readTime, r.warm), t)
	r.report.goal(goal{what: "services: requests/s over those of shops", wanted: 0.9, decimals: 2,
		got: ratio(column(results[0], loadResult.perSecond), column(results[1], loadResult.perSecond))})
}

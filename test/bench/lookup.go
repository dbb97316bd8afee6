package main

import (
	"context"
	"fmt"
)

const (
	lookupPath = "/v1/shops/lookup"
	// lookupShops is how many shops one lookup asks for.
	lookupShops = 1000
	// lookupConnections keep magellan busy without a queue that hides its time.
	lookupConnections = 8
)

// measureLookup has wrk ask magellan for many shops at a time.
func (r *run) measureLookup(ctx context.Context) error {
	magellan, err := r.startMagellan(ctx)
	if err != nil {
		return err
	}
	if err := r.warmMagellan(ctx, magellan); err != nil {
		return err
	}
	kinds := []struct {
		about, file, profile string
		results              []loadResult
	}{
		{about: fmt.Sprintf("numbers, such as %s", r.numberedShop(0)), file: r.numberedLookups, profile: "lookup-numbers"},
		{about: fmt.Sprintf("%d bytes", len(r.hotShop(0))), file: r.lookups, profile: "lookup-names"},
	}
	order := []int{0, 1}
	for round := -1; round < r.loadRounds; round++ { // the first is for warming up
		for _, i := range rotated(order, round+len(order)) {
			result, err := r.wrk(ctx, magellan, r.lookupLoad(kinds[i].file))
			if err != nil {
				return err
			}
			r.progress("lookup round %d: names %-28s %9.0f answers/s", round+1, kinds[i].about, answersPerSecond(result))
			if round >= 0 {
				kinds[i].results = append(kinds[i].results, result)
			}
		}
	}
	for _, k := range kinds {
		if err := r.profile(ctx, magellan, k.profile, r.lookupLoad(k.file)); err != nil {
			return err
		}
	}

	t := &table{head: []string{"names of the shops", "answers/s", "requests/s", "p50 us", "p99 us", "CPU us/answer", "bytes/answer"}}
	for _, k := range kinds {
		t.add(k.about, number(median(column(k.results, answersPerSecond)), 0), number(median(column(k.results, loadResult.perSecond)), 0),
			number(median(column(k.results, func(l loadResult) float64 { return l.P50 })), 0),
			number(median(column(k.results, func(l loadResult) float64 { return l.P99 })), 0),
			number(median(column(k.results, loadResult.cpuPerRequest))/lookupShops, 2),
			number(median(column(k.results, func(l loadResult) float64 { return l.bytesPerAnswer() / lookupShops })), 0))
	}
	r.report.section("Lookups", fmt.Sprintf("`POST /v1/shops/lookup` with %s shops in each request, %d connections, wrk with one thread on the same cores, %d rounds of %v each. "+
		"Together the requests ask for each shop of the %s in memory once, in random order, and then again.",
		number(lookupShops, 0), lookupConnections, r.loadRounds, r.lookupTime, number(float64(r.hot), 0)), t)
	r.report.goal(goal{what: fmt.Sprintf("lookups: answers/s, %s", kinds[0].about), wanted: 2e6, got: median(column(kinds[0].results, answersPerSecond))})
	return nil
}

func (r *run) lookupLoad(file string) load {
	return load{connections: lookupConnections, duration: r.lookupTime, file: file, post: lookupPath}
}

func answersPerSecond(l loadResult) float64 { return lookupShops * l.perSecond() }

package main

import (
	"context"
	"fmt"

	"magellan/internal/services"
)

// holdServices is not closed, as holdCache.
func (h *holdCmd) holdServices(ctx context.Context) (any, error) {
	s, err := openServices(ctx, h.Zookeeper, h.fleet)
	if err != nil {
		return nil, err
	}
	return s, s.waitKnown(ctx, h.fleet)
}

// holdServicesMap decodes the same records by the same code. An instance takes no room but its own.
func (h *holdCmd) holdServicesMap(context.Context) (any, error) {
	l, err := services.LayoutNamed("curator")
	if err != nil {
		return nil, err
	}
	m := map[string][]services.Instance{}
	for s := range h.Services {
		all := make([]services.Instance, h.Instances)
		for i := range all {
			if all[i], err = h.instance(l, s*h.Instances+i); err != nil {
				return nil, err
			}
		}
		m[h.service(s)] = all
	}
	return m, nil
}

// measureServiceMemory has both keep all instances, each in a process of its own.
func (r *run) measureServiceMemory(ctx context.Context, many, one fleet) error {
	var tables []*table
	for _, f := range []fleet{many, one} {
		holders := []holder{
			{name: fmt.Sprintf("magellan, %v", f), args: append([]string{"services", "--zookeeper", r.zookeeper.Addr()}, f.flags()...)},
			{name: "Go map, name to decoded instances", args: append([]string{"services-map"}, f.flags()...)},
		}
		if err := r.holdInTurn(ctx, holders); err != nil {
			return err
		}
		tables = append(tables, memoryTable(holders))
		r.report.goal(goal{what: fmt.Sprintf("memory, %v: magellan's RSS over the map's", f),
			got: ratio(holders[0].rss(), holders[1].rss()), wanted: 1.5, atMost: true, decimals: 2})
	}
	r.report.section("Services: memory", fmt.Sprintf("The decoded instances in memory, after a garbage collection, with all free pages given back to the system (%d rounds). "+
		"magellan is internal/cache and internal/services, with a watch on each znode. "+
		"The map is `map[string][]services.Instance` with the same instances, decoded from the same records by the same code; nobody keeps it true. "+
		"Go heap and native are what is live.", r.memoryRounds), tables...)
	return nil
}

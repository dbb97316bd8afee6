package main

import (
	"context"
	"fmt"
	"os/exec"

	"magellan/test/bench/client"
)

// fillServices opens a cache of services, and returns when all are in memory.
func fillServices(ctx context.Context, addr string, f fleet) (client.Result, error) {
	var s *serviceCache
	result, err := client.Time(1, func(r *client.Result) (err error) {
		s, err = openServices(ctx, addr, f)
		r.Reads = int64(f.znodes())
		return err
	})
	if err != nil {
		return client.Result{}, err
	}
	s.Close()
	return result, nil
}

// flags are the flags that give a child the services.
func (f fleet) flags() []string {
	return []string{"--dir", f.Dir, "--services", fmt.Sprint(f.Services), "--instances", fmt.Sprint(f.Instances)}
}

// measureServiceFill has magellan and the C program read the same services in turn.
func (r *run) measureServiceFill(ctx context.Context, many, one fleet) error {
	var tables []*table
	for _, f := range []fleet{many, one} {
		directories, err := f.writeDirectories(r.dir)
		if err != nil {
			return err
		}
		addr := r.zookeeper.Addr()
		clients := []fillClient{
			{name: fmt.Sprintf("magellan, %v", f), command: func() *exec.Cmd {
				return exec.Command(r.self, append([]string{"fill", "services", "--zookeeper", addr}, f.flags()...)...)
			}},
			{name: fmt.Sprintf("C program, libzookeeper, %d in flight", fillInFlight), command: func() *exec.Cmd {
				return exec.Command(r.cmd.FillC, addr, directories, fmt.Sprint(fillInFlight), "children")
			}},
		}
		if err := r.fillInTurn(ctx, clients, f.znodes()); err != nil {
			return err
		}
		tables = append(tables, fillTable(clients))
		r.report.goal(goal{what: fmt.Sprintf("fill, %v: magellan's reads/s over the C program's", f), wanted: 1, decimals: 2,
			got: ratio(clients[0].speeds(), clients[1].speeds())})
	}
	r.report.section("Services: cold fill", fmt.Sprintf("Each directory is listed, each znode below the mount is read, and all of it is watched. Records have %d bytes and paths %d. "+
		"magellan is its cache and internal/services: the time counts from before it opens its first session until all instances can be answered, decoded, over as many sessions as the watches need. "+
		"The C program has a session when its time begins, lists a directory and then reads its children with all that may be in flight, and throws away what it reads. %d rounds.",
		len(many.record(0, 0)), len(many.znode(0)), r.fillRounds), tables...)
	return nil
}

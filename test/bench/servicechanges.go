package main

import (
	"context"
	"fmt"
)

// newBuild sets the record of an instance to another build.
func (f fleet) newBuild(instance int) func(*writeC, int) (told, int64, error) {
	return func(writer *writeC, n int) (told, int64, error) {
		build := 1_000_000*(instance+1) + n // which no other instance has
		acknowledged, err := writer.set(f.znode(instance), f.record(instance, build))
		return told{text: toldBuild(build)}, acknowledged, err
	}
}

// registerOne registers one more instance of a service, and with the next change takes it back.
func (f fleet) registerOne(service int) func(*writeC, int) (told, int64, error) {
	return func(writer *writeC, n int) (t told, acknowledged int64, err error) {
		i := f.all() + service*1_000_000 + (n+1)/2
		id := f.id(i)
		path := f.directory(service) + "/" + id
		if t.text, t.gone = id, n%2 == 0; t.gone {
			acknowledged, err = writer.remove(path)
		} else {
			acknowledged, err = writer.create(path, f.record(i, 0))
		}
		return t, acknowledged, err
	}
}

// contended is the service that a contender looks at: one of its own if there are several.
func (f fleet) contended(contender int) int { return contender % f.Services }

// serviceRace is a kind of change that contenders see.
type serviceRace struct {
	what    string
	of      fleet
	change  func(f fleet, contender int) func(*writeC, int) (told, int64, error)
	first   func(f fleet) string // of what watch.c watches
	changes int                  // in each turn
}

// measureServiceChanges changes services again and again, and waits each time until it is seen.
func (r *run) measureServiceChanges(ctx context.Context, many, one fleet) error {
	ofData := func(f fleet, contender int) func(*writeC, int) (told, int64, error) {
		return f.newBuild(f.contended(contender)*f.Instances + contender)
	}
	ofInstances := func(f fleet, contender int) func(*writeC, int) (told, int64, error) {
		return f.registerOne(f.contended(contender))
	}
	changes := r.propagationChanges
	if r.cmd.Short {
		changes /= 3
	}
	znode := func(f fleet) string { return f.znode(0) }
	directory := func(f fleet) string { return f.directory(0) + "/" }
	races := []serviceRace{
		{"an instance has another record", many, ofData, znode, changes},
		{"an instance comes, and then goes", many, ofInstances, directory, changes},
		{"an instance has another record", one, ofData, znode, max(10, changes/50)},
	}
	writer, err := r.startWriteC()
	if err != nil {
		return err
	}
	magellan, err := r.startServing(ctx, many, one)
	if err != nil {
		return err
	}
	var tables []*table
	watches := 0
	for _, race := range races {
		f := race.of
		c, err := r.startWatchC(ctx, 1+many.all()+one.all(), func(i int) string {
			switch {
			case i == 0:
				return race.first(f)
			case i <= many.all():
				return many.znode(i - 1)
			}
			return one.znode(i - 1 - many.all())
		})
		if err != nil {
			return err
		}
		if watches, err = allWatchesOf(r.zookeeper); err != nil {
			return err
		}
		contenders := []contender{{name: "C program, zoo_awget loop", watch: c.watch}, {name: "magellan, long poll"}, {name: "magellan, stream"}}
		for i := range contenders {
			contenders[i].change, contenders[i].shared = race.change(f, i), f.Services == 1
			switch name := f.service(f.contended(i)); i {
			case 1:
				contenders[i].watch = pollClient{magellan, "/v1/services/" + name}.watch
			case 2:
				contenders[i].watch = streamClient{magellan, "service=" + name}.watch
			}
		}
		if err := r.seeInTurn(ctx, contenders, writer, race.changes); err != nil {
			return fmt.Errorf("%s: %w", race.what, err)
		}
		c.stop()
		t := propagationTable(contenders)
		t.head[0] = fmt.Sprintf("%v: %s", f, race.what)
		tables = append(tables, t)
		for i := 1; i < len(contenders) && f == many; i++ {
			r.report.goal(goal{what: fmt.Sprintf("services, from write to seen, %s: %s over the C program, p50", race.what, contenders[i].name),
				decimals: 2, wanted: 1.5, atMost: true, got: ratio(contenders[i].p50(), contenders[0].p50())})
		}
	}
	r.report.section("Services: from write to seen", fmt.Sprintf("As for shops: from when the writer had its acknowledgement to when the watcher had the new bytes, one change at a time and %v after the last was seen; "+
		"%d changes in each turn after %d that do not count, for the one service %d; %d rounds. magellan has all instances of both mounts in memory, and the C program has read the same: "+
		"%s watches by the server's own count (mntr). The C program has the bytes of one znode. A client of magellan has the whole answer, which has all instances of the service, and in the last table %s of them. "+
		"For instances that come and go the C program lists the directory again and reads the one that has come.",
		propagationPause, changes, propagationWarm, races[2].changes, r.propagationRounds, number(float64(watches), 0), number(float64(one.Instances), 0)), tables...)
	return nil
}

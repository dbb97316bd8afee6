package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
)

// serviceSizes are how many services with 20 instances each there are, and how many instances one
// service has.
func (r *run) serviceSizes() (many, one fleet) {
	if r.cmd.Short {
		return manyServices(500), oneService(1000)
	}
	return manyServices(10_000), oneService(10_000)
}

// measureServices measures what is answered from the znodes in which others register services, on a
// server of its own with some shops on it.
func (r *run) measureServices(ctx context.Context) (err error) {
	of := &run{sizes: r.sizes, cmd: r.cmd, self: r.self, dir: filepath.Join(r.dir, "services"), began: r.began}
	of.dataset = dataset{shops: 20_000, hot: 20_000, draws: 100_000}
	if err := os.Mkdir(of.dir, 0o755); err != nil {
		return err
	}
	if err := of.startZooKeeper(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, of.zookeeper.Close()) }()
	defer of.stopAll()
	if r.zookeeper == nil {
		r.machine = of.describeMachine(ctx)
	}
	many, one := r.serviceSizes()
	for _, f := range []fleet{many, one} {
		r.progress("services: loading %v", f)
		if err := f.load(ctx, of.zookeeper.Addr()); err != nil {
			return err
		}
	}
	for _, measure := range []func(context.Context, fleet, fleet) error{
		of.measureServiceFill, of.measureServiceMemory, of.measureServiceReads, of.measureServiceChanges, of.measureServiceRearm, of.measureChurn,
	} {
		if err := measure(ctx, many, one); err != nil {
			return err
		}
		of.stopAll()
	}
	r.report.sections = append(r.report.sections, of.report.sections...)
	r.report.goals = append(r.report.goals, of.report.goals...)
	return nil
}

// startServing starts magellan with shops and both mounts. All services are in memory when it is ready.
func (r *run) startServing(ctx context.Context, many, one fleet) (*server, error) {
	return r.startMagellan(ctx, "--services", many.mount(), "--services", one.mount())
}

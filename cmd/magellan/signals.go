package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// untilSignalled returns a context that ends with the first SIGINT or SIGTERM. The
// second signal kills the process, whatever is under way, because a user who signals
// twice does not want to wait. This is not left to the default action: until the default
// action is in force again, a second signal would be lost. stop releases all resources.
func untilSignalled() (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case <-signals:
			cancel()
		case <-ctx.Done():
			return
		}
		if again, ok := (<-signals).(syscall.Signal); ok {
			signal.Reset(again)
			_ = syscall.Kill(os.Getpid(), again)
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel()
	}
}

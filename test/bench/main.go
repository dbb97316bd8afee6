package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

func main() {
	var cli struct {
		Run   runCmd   `cmd:"" help:"Measure, and write the report."`
		Serve serveCmd `cmd:"" hidden:"" help:"A server to compare with."`
		Fill  fillCmd  `cmd:"" hidden:"" help:"Read and watch znodes once, and report the time."`
		Scale scaleCmd `cmd:"" hidden:"" help:"Keep shops in memory, restart their server, evict half of them."`
		Rearm rearmCmd `cmd:"" hidden:"" help:"Keep services in memory, and restart their server."`
		Hold  holdCmd  `cmd:"" hidden:"" help:"Keep shops in memory, and report the memory."`
	}
	k := kong.Parse(&cli, kong.Name("bench"), kong.Description("Measures magellan beside what people would use instead."), kong.UsageOnError())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	k.BindTo(ctx, (*context.Context)(nil))
	if err := k.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

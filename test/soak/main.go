// Command soak tells whether magellan keeps its promises, for hours where it is
// asked to.
//
//	soak proof    compares what HTTP clients see under faults with the promises
//	soak mutants  has the same find mistakes that are made on purpose
//	soak load     looks for growth under a steady load
//
// test/soak/run.sh builds what it needs and runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// command is one of the program's commands: it declares its flags, and returns
// what runs it.
type command func(*flag.FlagSet) func(context.Context) error

var commands = map[string]command{"proof": proofCommand, "mutants": mutantsCommand, "load": loadCommand}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := execute(ctx, os.Args[1:]); errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	} else if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

func execute(ctx context.Context, args []string) error {
	if len(args) == 0 || commands[args[0]] == nil {
		return errors.New("want a command: proof, mutants or load")
	}
	flags := flag.NewFlagSet("soak "+args[0], flag.ContinueOnError)
	run := commands[args[0]](flags)
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q is no flag", flags.Arg(0))
	}
	return run(ctx)
}

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"magellan/cgo/agent"
)

type heapRun struct {
	Sample   byteSize `placeholder:"SIZE" default:"512KiB" env:"MAGELLAN_HEAP_SAMPLE" help:"Mean number of allocated bytes between two samples. 1 samples each allocation."`
	Children bool     `env:"MAGELLAN_HEAP_CHILDREN" help:"Also sample the programs that the program starts. Those that a shell starts are sampled anyway."`
	Off      bool     `env:"MAGELLAN_HEAP_OFF" help:"Start without sampling: magellan heap sampling switches it on."`
	Command  []string `arg:"" passthrough:"partial" name:"command" help:"The program to start, and its arguments."`
}

// Help shows how it is used.
func (h *heapRun) Help() string {
	return `The program is started in place of magellan: it has the same process number, terminal and environment,
gets the signals, and its exit code is that of the command. It need not be built for it, may be
stripped, and nothing is written to disk. It must be a Go program with C code (cgo) that is linked
dynamically with glibc or musl, or a shell or script that starts such programs.

  magellan heap run -- ./shop --listen :8080
  magellan heap run --sample 64KiB -- sh -c 'exec ./shop'
  magellan heap ps
  magellan heap top --pid $(pidof shop)
  magellan heap top --pid $(pidof shop) --seconds 30 --stacks`
}

// Validate checks what kong does not.
func (h *heapRun) Validate() error {
	if len(h.Command) > 0 && h.Command[0] == "--" {
		h.Command = h.Command[1:] // kong leaves it there
	}
	switch {
	case len(h.Command) == 0:
		return errors.New("no command is given, such as magellan heap run -- ./shop --listen :8080")
	case h.Sample < 1:
		return errors.New("--sample: want at least 1")
	}
	return nil
}

// Run replaces this process by the program. It returns only if that fails.
func (h *heapRun) Run(con *console) error {
	cmd, err := agent.Command(agent.RunConfig{Args: h.Command, Sample: int64(h.Sample), Children: h.Children, Off: h.Off})
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission), errors.Is(err, exec.ErrNotFound), errors.Is(err, agent.ErrNoProgram):
		return &codedError{exitUsage, err}
	case err != nil:
		return err
	}
	defer cmd.Close()
	if isTerminal(con.err) {
		fmt.Fprintln(con.err, "magellan:", howToLook(cmd.Program))
	}
	// The program inherits which signals are ignored.
	signal.Reset()
	err = cmd.Exec()
	if errors.Is(err, syscall.ENOEXEC) {
		return fail(exitUsage, "%s is no program that this system can run: a script begins with #! and its interpreter", cmd.Path)
	}
	return &codedError{exitUsage, err}
}

// howToLook says how the program's memory can be looked at. In a program that is not Go,
// such as a shell, the agent does nothing.
func howToLook(p *agent.Program) string {
	if p.Go {
		return fmt.Sprintf("process %d runs under the agent: magellan heap top --pid %[1]d shows what its C code holds", os.Getpid())
	}
	return fmt.Sprintf("%s is no Go program; the Go programs that it starts run under the agent: magellan heap ps lists them", p.Path)
}

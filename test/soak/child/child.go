package child

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"magellan/internal/childproc"
)

// Process is a child that does not outlive this process.
type Process struct {
	*childproc.Process
	name, log string
}

// Start starts cmd with its output in the file log.
func Start(cmd *exec.Cmd, log string) (*Process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	p, err := childproc.Start(cmd)
	if err != nil {
		return nil, err
	}
	return &Process{Process: p, name: cmd.Path, log: log}, nil
}

// Check returns an error if the process has ended.
func (p *Process) Check() error {
	if ended := p.Ended(); ended != nil {
		return fmt.Errorf("%s has ended (%v); see %s", p.name, ended, p.log)
	}
	return nil
}

// Stop ends the process in order and returns an error if it ends in another way.
func (p *Process) Stop(patience time.Duration) error {
	if err := p.Check(); err != nil {
		return err
	}
	if err := p.Process.Stop(syscall.SIGTERM, patience); err != nil {
		return errors.Join(err, p.Check())
	}
	if !p.Ended().Success() {
		return p.Check()
	}
	return nil
}

package childproc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// Process is a child that was started. Its methods may be called at any time, from
// any goroutine.
type Process struct {
	cmd    *exec.Cmd
	output fmt.Stringer  // the end of what the child has written
	done   chan struct{} // closed when the child has ended
}

// Start starts cmd, whose SysProcAttr it sets. If cmd.Stderr is not set, the end of the
// child's standard error is in the errors of the methods.
func Start(cmd *exec.Cmd) (*Process, error) {
	output := &tail{}
	if cmd.Stderr == nil {
		cmd.Stderr = output
	}
	cmd.WaitDelay = time.Second // a grandchild may keep the pipe open for ever
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p := &Process{cmd: cmd, output: output, done: make(chan struct{})}
	started := make(chan error)
	// The kernel sends Pdeathsig when the thread that started the child ends, and
	// Go's threads do end (https://go.dev/issue/27505). So the child has a thread
	// of its own, which stays until the child has ended.
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in ProcessState
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// StartLogged starts cmd and appends its output and its standard error to a file. The end
// of the file is in the errors of the methods.
func StartLogged(cmd *exec.Cmd, file string) (*Process, error) {
	log, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	p, err := Start(cmd)
	if err != nil {
		return nil, err
	}
	p.output = logFile(file)
	return p, nil
}

// Run runs cmd to its end and returns its standard output. If ctx ends first, Run kills the
// child.
func Run(ctx context.Context, cmd *exec.Cmd) ([]byte, error) {
	var out bytes.Buffer
	cmd.Stdout = &out
	p, err := Start(cmd)
	if err != nil {
		return nil, err
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		_ = p.Signal(syscall.SIGKILL)
		<-p.done
		return nil, context.Cause(ctx)
	}
	if !p.Ended().Success() {
		return nil, fmt.Errorf("%s: %v: %s%s", cmd, p.Ended(), out.Bytes(), p.output)
	}
	return out.Bytes(), nil
}

// Pid is the process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// LastOutput returns the end of what the process has written.
func (p *Process) LastOutput() string { return p.output.String() }

// Ended returns how the process ended. The result is nil while the process runs.
func (p *Process) Ended() *os.ProcessState {
	select {
	case <-p.done:
		return p.cmd.ProcessState
	default:
		return nil
	}
}

// Check returns an error if the process has ended.
func (p *Process) Check() error {
	if ended := p.Ended(); ended != nil {
		return fmt.Errorf("%s has ended (%v): %s", p.name(), ended, p.output)
	}
	return nil
}

// Await calls done until done returns nil. Await fails if the process or ctx ends first. The
// error says that the program does not do what: "magellan does not [what]".
func (p *Process) Await(ctx context.Context, what string, done func() error) error {
	for {
		err := done()
		if err == nil {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-p.done:
			return p.Check()
		case <-ctx.Done():
			return fmt.Errorf("%s does not %s: %w: %w: %s", p.name(), what, context.Cause(ctx), err, p.output)
		}
	}
}

// Signal sends a signal. It returns os.ErrProcessDone if the process has ended.
func (p *Process) Signal(sig syscall.Signal) error { return p.cmd.Process.Signal(sig) }

// Stop sends sig to the process. If the process has not ended after patience, Stop kills it
// and returns an error. Stop returns when the process has ended, and may be called again.
func (p *Process) Stop(sig syscall.Signal, patience time.Duration) error {
	_ = p.Signal(sig) // the process may have ended already
	select {
	case <-p.done:
		return nil
	case <-time.After(patience):
		_ = p.Signal(syscall.SIGKILL)
		<-p.done
		return fmt.Errorf("%s did not end within %v of the signal %q", p.cmd.Path, patience, sig)
	}
}

// Finish ends the process with SIGTERM. It returns an error if the process had ended before
// the call, does not end within patience, or exits with another status than 0.
func (p *Process) Finish(patience time.Duration) error {
	if err := p.Check(); err != nil {
		return err
	}
	err := p.Stop(syscall.SIGTERM, patience)
	if err != nil || !p.Ended().Success() {
		return errors.Join(err, p.Check())
	}
	return nil
}

func (p *Process) name() string { return filepath.Base(p.cmd.Path) }

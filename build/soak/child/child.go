package child

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// Process is a child that does not outlive this process.
type Process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when it has ended
}

// Start starts cmd with its output in the file log.
func Start(cmd *exec.Cmd, log string) (*Process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	// The kernel kills it with the thread that started it: so that thread stays.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p := &Process{cmd: cmd, log: log, done: make(chan struct{})}
	started := make(chan error)
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
	return p, <-started
}

// Check returns an error if the process has ended.
func (p *Process) Check() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s has ended (%v); see %s", p.cmd.Path, p.cmd.ProcessState, p.log)
	default:
		return nil
	}
}

// Stop ends the process in order and returns an error if it ends in another way.
func (p *Process) Stop(patience time.Duration) error {
	if err := p.Check(); err != nil {
		return err
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.done
		return errors.Join(fmt.Errorf("%s does not stop within %v", p.cmd.Path, patience), p.Check())
	}
	if !p.cmd.ProcessState.Success() {
		return p.Check()
	}
	return nil
}

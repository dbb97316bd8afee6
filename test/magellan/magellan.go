package magellan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"magellan/internal/childproc"
)

// patience is how long magellan may take to start.
const patience = 90 * time.Second

// Serve is how to start one `magellan serve`.
type Serve struct {
	Binary string
	// Dir gets the files Name.ready and Name.log.
	Dir, Name string
	// Args are further arguments, and Env is further environment.
	Args, Env []string
}

// Process is a running `magellan serve`.
type Process struct {
	*childproc.Process
	URL, Admin string
}

// Start starts magellan on free ports and waits until it is ready. The caller ends the
// process.
func (s Serve) Start(ctx context.Context) (*Process, error) {
	ready := filepath.Join(s.Dir, s.Name+".ready")
	cmd := exec.Command(s.Binary, append([]string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
		"--drain-delay", "0s", "--ready-file", ready, "--start-timeout", patience.String()}, s.Args...)...)
	// A race ends a binary that was built with -race.
	cmd.Env = append(append(os.Environ(), "GORACE=halt_on_error=1"), s.Env...)
	p, err := childproc.StartLogged(cmd, filepath.Join(s.Dir, s.Name+".log"))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var addrs struct{ Listen, Admin string }
	err = p.Await(ctx, "write its --ready-file", func() error {
		text, err := os.ReadFile(ready)
		if err == nil {
			err = json.Unmarshal(text, &addrs)
		}
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", s.Name, err), p.Stop(syscall.SIGTERM, time.Second))
	}
	return &Process{Process: p, URL: "http://" + addrs.Listen, Admin: "http://" + addrs.Admin}, nil
}

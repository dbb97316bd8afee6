package child

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// patience is how long magellan may take to start.
const patience = 90 * time.Second

// Magellan is a running `magellan serve`.
type Magellan struct {
	*Process
	URL, Admin string
	Log        string
}

// StartMagellan starts `binary serve` with further arguments and waits until it
// is ready. Its files in dir begin with name.
func StartMagellan(ctx context.Context, binary, dir, name string, args ...string) (*Magellan, error) {
	ready, log := filepath.Join(dir, name+".ready"), filepath.Join(dir, name+".log")
	cmd := exec.Command(binary, append([]string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
		"--drain-delay", "0s", "--ready-file", ready, "--start-timeout", patience.String()}, args...)...)
	// A race ends a binary that was built with -race.
	cmd.Env = append(os.Environ(), "GORACE=halt_on_error=1")
	p, err := Start(cmd, log)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		var addrs struct{ Listen, Admin string }
		text, err := os.ReadFile(ready)
		if err == nil {
			err = json.Unmarshal(text, &addrs)
		}
		if err == nil {
			return &Magellan{Process: p, URL: "http://" + addrs.Listen, Admin: "http://" + addrs.Admin, Log: log}, nil
		}
		if ended := p.Check(); ended != nil {
			return nil, ended
		}
		select {
		case <-ctx.Done():
			_ = p.Stop(time.Second)
			return nil, fmt.Errorf("magellan is not ready: %w (%w); see %s", ctx.Err(), err, log)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

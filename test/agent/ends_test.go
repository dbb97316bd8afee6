package agent

import (
	"os/exec"
	"testing"
)

// TestEnds: a program ends under an agent as it does without.
func TestEnds(t *testing.T) {
	t.Parallel()
	host := source{dir: "host"}.build(t)
	for name, c := range map[string]struct{ command, ended string }{
		"end of input": {"", "exit status 0"},
		"exit":         {"exit 42", "exit status 42"},
		"panic":        {"panic", "exit status 2"},
		"crash":        {"crash", "exit status 2"},
		"abort":        {"kill 6", "exit status 2"},
		"terminated":   {"kill 15", "signal: terminated"},
		"killed":       {"kill 9", "signal: killed"},
		"stack":        {"kill 3", "exit status 2"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, cmd := range []*exec.Cmd{exec.Command(host), heapRun(t, everyBlock, host)} {
				p := start(t, cmd)
				p.do("keep 100 1000")
				p.ended = true
				if c.command == "" {
					p.in.Close()
				} else {
					p.send("%s", c.command)
				}
				select {
				case <-p.Done():
				case <-t.Context().Done():
				}
				if got := p.Process.Ended().String(); got != c.ended && got != c.ended+" (core dumped)" {
					t.Errorf("%v ended with %s, want %s: %s", cmd.Args, got, c.ended, p.LastOutput())
				}
			}
		})
	}
}

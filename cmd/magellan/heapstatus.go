package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"magellan/cgo/agent"
)

type heapStatus struct {
	agentFlags
}

// Run prints the status.
func (h *heapStatus) Run(ctx context.Context, con *console) error {
	client, err := agent.Find(h.PID)
	if err != nil {
		return agentFailed(ctx, h.PID, err)
	}
	asking, cancel := context.WithTimeout(ctx, h.Timeout)
	defer cancel()
	s, err := client.Status(asking)
	if err != nil {
		return agentFailed(ctx, h.PID, err)
	}
	program, _ := agent.InspectProcess(h.PID)
	describeAgent(con.out, h.PID, program, &s)
	return nil
}

// describeAgent writes a status as sentences.
func describeAgent(w io.Writer, pid int, program *agent.Program, s *agent.Status) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-9s "+format+"\n", append([]any{name}, args...)...)
	}
	if program != nil {
		line("program", "%s (%s), process %d", program.Path, orUnknown(program.GoVersion), pid)
	}
	entered := map[string]string{"preload": "when the program was started (LD_PRELOAD)"}[s.Entered]
	line("agent", "version %s, came into the process %s, uses about %s itself", orUnknown(s.Version), orUnknown(entered), size(s.OwnBytes))
	line("sampling", "%s", sampling(s))
	line("C holds", "~%s, estimated from the samples", size(s.LiveEstimate))
	line("samples", "%d live (%s) of %d that were taken; different stacks: %d", s.LiveObjects, size(s.LiveBytes), s.Objects, s.Stacks)
	if s.Unwinder == "c+go" {
		line("stacks", "C and Go functions")
	} else {
		line("stacks", "C functions only, because %s", orUnknown(s.UnwinderReason))
	}
	line("malloc", "that of %s", orUnknown(s.Malloc))
	all := limits(s)
	if len(all) == 0 {
		line("limits", "none: the agent sees all allocations that are made by malloc and its like")
	}
	for _, l := range all {
		line("limits", "%s", l)
	}
}

// limits says what keeps an agent from seeing everything.
func limits(s *agent.Status) (all []string) {
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if !s.First {
		add("calls of malloc go to %s and not to the agent, so most allocations are not seen: do not preload another library before the agent", orUnknown(s.FirstOther))
	}
	if !s.Active {
		add("sampling is off: what is allocated meanwhile is not seen, also not later")
	}
	if s.Missed > 0 {
		add("%d samples are missing, because the system had no memory for them", s.Missed)
	}
	if s.StacksDropped > 0 {
		add("%d stacks that hold nothing were dropped to save memory, so alloc_space and alloc_objects show them without functions", s.StacksDropped)
	}
	if s.WalksCut > 0 {
		var why []string
		for _, reason := range slices.Sorted(maps.Keys(s.WalkReasons)) {
			if n := s.WalkReasons[reason]; n > 0 {
				why = append(why, fmt.Sprintf("%s %d", reason, n))
			}
		}
		add("%d of %d stacks do not reach the start of their thread or goroutine (%s)", s.WalksCut, s.Walks, orUnknown(strings.Join(why, ", ")))
	}
	return all
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

package agent

import (
	"fmt"
	"strconv"
	"strings"
)

// Status is what an agent says about itself.
type Status struct {
	Version string // of the library's build, in hex
	PID     int    // as the process itself sees it
	UID     int    // effective, as the process itself sees it

	Active bool  // whether allocations are sampled now
	Sample int64 // mean number of allocated bytes between two samples

	// LiveObjects and LiveBytes count the samples whose memory was not freed. Objects and
	// Bytes count all samples since the profile began. These are samples, no estimates.
	LiveObjects, LiveBytes int64
	Objects, Bytes         int64

	// LiveEstimate is what C holds, in bytes, estimated from the live samples.
	LiveEstimate int64

	Stacks        int64 // how many different stacks the profile has
	StacksDropped int64 // stacks without live samples that were dropped to bound the memory
	Missed        int64 // samples that were lost because there was no memory for them
	OwnBytes      int64 // the memory that the agent itself uses, approximately

	// Unwinder is "c+go" if stacks have C and Go functions. If it is "c", they end at the
	// innermost Go function, and UnwinderReason has the reason.
	Unwinder, UnwinderReason string

	// Malloc is the file that has the process's own malloc. First reports whether the calls
	// of the process come to the agent. If not, FirstOther is the file to which they go.
	Malloc     string
	First      bool
	FirstOther string

	Entered string // how the agent came into the process: "preload"

	// The addresses of the program's Go code are from GoTextStart on, below GoTextEnd. Both are
	// 0 if they are not known.
	GoTextStart, GoTextEnd uint64

	// Walks counts the stacks that were taken. WalksCut counts those that do not reach the
	// start of their thread or goroutine. WalkReasons has the agent's counters of the
	// reasons, by name.
	Walks, WalksCut int64
	WalkReasons     map[string]int64
}

// protocol is the version of the protocol that this package speaks.
const protocol = "1"

// parseStatus parses lines "key value". Unknown keys are ignored: a later agent may have
// more.
func parseStatus(text string) (Status, error) {
	s := Status{WalkReasons: make(map[string]int64)}
	values := make(map[string]string)
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimRight(line, "\n"), " ")
		values[key] = printable(value)
	}
	if got := values["protocol"]; got != protocol {
		return s, fmt.Errorf("%w of protocol %s, but has %.20q: use the magellan with which the program was started", ErrProtocol, protocol, got)
	}
	var failed error
	number := func(key string) (n int64) {
		value, ok := values[key]
		if !ok {
			return 0
		}
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil && failed == nil {
			failed = fmt.Errorf("%w: its status has %s %.40q", ErrProtocol, key, value)
		}
		return n
	}
	s.Version = values["version"]
	s.PID, s.UID = int(number("pid")), int(number("uid"))
	s.Active, s.Sample = values["state"] == "on", number("sample")
	s.LiveObjects, s.LiveBytes = number("live_objects"), number("live_bytes")
	s.Objects, s.Bytes = number("objects"), number("bytes")
	s.LiveEstimate = number("live_estimate")
	s.Stacks, s.StacksDropped = number("stacks"), number("stacks_dropped")
	s.Missed, s.OwnBytes = number("missed"), number("own_bytes")
	s.Unwinder, s.UnwinderReason = values["unwinder"], values["unwinder_reason"]
	s.Malloc, s.First, s.FirstOther = values["malloc"], values["first"] == "yes", values["first_other"]
	s.Entered = values["entered"]
	if start, end, ok := strings.Cut(values["go_text"], "-"); ok {
		var errs [2]error
		s.GoTextStart, errs[0] = strconv.ParseUint(start, 0, 64)
		s.GoTextEnd, errs[1] = strconv.ParseUint(end, 0, 64)
		if errs[0] != nil || errs[1] != nil || s.GoTextStart > s.GoTextEnd {
			return s, fmt.Errorf("%w: its status has go_text %.40q", ErrProtocol, values["go_text"])
		}
	}
	s.Walks, s.WalksCut = number("walks"), number("walks_cut")
	for key := range values {
		if reason, ok := strings.CutPrefix(key, "walks_"); ok && reason != "cut" {
			s.WalkReasons[printable(reason)] = number(key)
		}
	}
	return s, failed
}

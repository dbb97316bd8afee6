package cache

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// clock has the times that mean something after this process has ended. Snapshots need them.
type clock interface {
	// Now is the time of the wall clock, which somebody may set.
	Now() time.Time
	// Boot is the name of the machine's present run, and the time since that run began,
	// which includes sleep and which nobody can set. The name is empty if the system
	// gives none.
	Boot() (id string, uptime time.Duration)
}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) Boot() (id string, uptime time.Duration) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", 0
	}
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return "", 0
	}
	return strings.TrimSpace(string(b)), time.Duration(ts.Nano())
}

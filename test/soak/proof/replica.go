package proof

import (
	"context"
	"strconv"
	"strings"
	"time"

	"magellan/internal/zk/zktest"
	"magellan/test/magellan"
)

// startPatience is how long anything may take to start or to come back.
const startPatience = 90 * time.Second

// replica is one magellan process, and its links.
type replica struct {
	*magellan.Process
	settings
	links *links
	// blind is until when it has had no link since its start, 0 if it had one from the start.
	blind instant
}

// settings are what replicas differ in.
type settings struct {
	cacheBytes  string
	maxStale    time.Duration
	shrinkGuard int
}

// Of the two replicas one has a cache that holds but half of the shops, gives up early, and
// has a shrink guard. The other has room for all, in several sessions.
var replicas = []settings{
	{"12KiB", 4 * time.Second, 50},
	{"16MiB", time.Hour, 0},
}

// newReplica returns a replica, which is to be started.
func newReplica(s settings, servers []*zktest.Server, now func() instant) (*replica, error) {
	links, err := newLinks(servers, now)
	if err != nil {
		return nil, err
	}
	return &replica{settings: s, links: links}, nil
}

// start starts it and waits until it is ready.
func (r *replica) start(ctx context.Context, binary, dir, name string, more ...string) (err error) {
	args := []string{
		"--servers", r.links.addrs(), "--root", layout.Root, "--services", strings.Join(mounts, ","),
		"--session-timeout", "4s", "--request-timeout", "2s",
		"--cache-bytes", r.cacheBytes, "--max-stale", r.maxStale.String(), "--shrink-guard", strconv.Itoa(r.shrinkGuard),
	}
	r.Process, err = magellan.Serve{Binary: binary, Dir: dir, Name: name, Args: append(args, more...)}.Start(ctx)
	return err
}

// close ends the replica, which has to end well.
func (r *replica) close() (err error) {
	if r.Process != nil {
		err = r.Finish(startPatience)
	}
	r.links.close()
	return err
}

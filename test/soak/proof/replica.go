package proof

import (
	"context"
	"fmt"
	"time"

	"magellan/internal/zk/zktest"
	"magellan/test/magellan"
)

// startPatience is how long anything may take to start or to come back.
const startPatience = 90 * time.Second

// replica is one magellan process, and its links.
type replica struct {
	*magellan.Process
	links    *links
	maxStale time.Duration
}

// The two replicas differ: one has a cache that holds but half of the shops, and
// gives up early; the other has room for all, in several sessions.
var replicas = []struct {
	cacheBytes string
	maxStale   time.Duration
}{
	{"12KiB", 4 * time.Second},
	{"16MiB", time.Hour},
}

// startReplica starts the i-th replica and waits until it is ready.
func startReplica(ctx context.Context, binary, dir string, i int, servers []*zktest.Server, now func() instant) (*replica, error) {
	links, err := newLinks(servers, now)
	if err != nil {
		return nil, err
	}
	m, err := magellan.Serve{Binary: binary, Dir: dir, Name: fmt.Sprint("replica-", i), Args: []string{
		"--servers", links.addrs(), "--root", layout.Root,
		"--session-timeout", "4s", "--request-timeout", "2s",
		// The guard is there to serve what ZooKeeper does not hold any more, and
		// half of the lists are gone now and then.
		"--shrink-guard", "0",
		"--cache-bytes", replicas[i].cacheBytes, "--max-stale", replicas[i].maxStale.String(),
	}}.Start(ctx)
	if err != nil {
		links.close()
		return nil, err
	}
	return &replica{Process: m, links: links, maxStale: replicas[i].maxStale}, nil
}

// close ends the replica, which has to end well.
func (r *replica) close() error {
	err := r.Finish(startPatience)
	r.links.close()
	return err
}

package proof

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"time"
)

// fault is something that happens to the servers or to a replica's links.
type fault struct {
	name string
	// rest is how long all is well before it, lasts how long it goes on.
	rest, lasts time.Duration
	// server is the one concerned; the leader or a follower where role says so,
	// and then server only chooses among the followers.
	server int
	role   role
	// replica is the one whose links are concerned, or that is stranded.
	replica int
	// amount is how bad it is, from 0 to 99.
	amount int
}

type role string

const (
	anyServer role = "server"
	leader    role = "leader"
	follower  role = "follower"
)

func (f fault) String() string {
	return fmt.Sprintf("%s for %v after %v (%s %d, replica %d, amount %d)", f.name, f.lasts, f.rest, f.role, f.server, f.replica, f.amount)
}

// choice is a kind of fault with its frequency and its length.
type choice struct {
	name     string
	weight   int
	shortest time.Duration
	longest  time.Duration
}

// The faults of the servers come one at a time, so that there mostly is a quorum;
// beside them come those of each replica's links, one at a time too.
var (
	serverFaults = []choice{
		{"kill", 4, 0, 3 * time.Second},
		{"pause", 5, 100 * time.Millisecond, 2 * time.Second},
		{"long pause", 1, 4 * time.Second, 12 * time.Second},
		{"stutter", 3, time.Second, 4 * time.Second},
		{"strand", 6, 2 * time.Second, 5 * time.Second},
		{"restart all", 1, 0, 2 * time.Second},
	}
	linkFaults = []choice{
		{"cut all", 5, 10 * time.Millisecond, 3 * time.Second},
		{"cut all for long", 2, 5 * time.Second, 8 * time.Second},
		{"cut one", 5, 10 * time.Millisecond, 3 * time.Second},
		{"slow", 4, 500 * time.Millisecond, 4 * time.Second},
		{"crumbs", 2, 500 * time.Millisecond, 3 * time.Second},
		{"half open", 5, 500 * time.Millisecond, 4 * time.Second},
		{"expire", 8, 0, time.Second},
	}
)

// longestRest is the longest that all is well on one track.
const longestRest = 1500 * time.Millisecond

// schedule returns the faults of one track, without end. Track 0 is that of the
// servers, track 1+i that of replica i's links. It follows from the seed alone.
func schedule(seed uint64, track int) iter.Seq[fault] {
	return func(yield func(fault) bool) {
		random := rand.New(rand.NewPCG(seed, uint64(track)))
		choices := serverFaults
		if track > 0 {
			choices = linkFaults
		}
		for {
			c := pick(random, choices)
			f := fault{
				name:    c.name,
				rest:    time.Duration(random.Int64N(int64(longestRest))),
				lasts:   c.shortest + time.Duration(random.Int64N(int64(c.longest-c.shortest))),
				server:  random.IntN(ensembleSize),
				role:    []role{anyServer, leader, follower}[random.IntN(3)],
				replica: track - 1,
				amount:  random.IntN(100),
			}
			switch {
			case track == 0:
				f.replica = random.IntN(len(replicas))
			default:
				f.role = anyServer
			}
			if f.name == "strand" || f.name == "stutter" {
				f.role = follower
			}
			if !yield(f) {
				return
			}
		}
	}
}

func pick(random *rand.Rand, choices []choice) choice {
	sum := 0
	for _, c := range choices {
		sum += c.weight
	}
	dice := random.IntN(sum)
	for _, c := range choices {
		if dice -= c.weight; dice < 0 {
			return c
		}
	}
	panic("unreachable")
}

package discovery

import "time"

// Basis is what an answer rests on: how well its parts are known (Meta), and which they
// are (Depends).
type Basis struct {
	Meta
	Depends
}

// Depends is what an answer is made of. A client that waits for another answer watches
// Topics, and asks again at the time Until. An error has a Depends as well, because what
// does not exist may be created.
type Depends struct {
	// Topics are those whose change may change the answer. A place that is not needed has
	// the zero Topic.
	Topics [2]Topic
	// Until is the time at which the answer changes without any change in ZooKeeper. It is
	// zero if there is no such time. Now is the time, by the same clock, at which the
	// answer was made.
	Until, Now time.Time
}

// DependsOn returns a dependence on at most two topics.
func DependsOn(topics ...Topic) (d Depends) {
	copy(d.Topics[:], topics)
	return d
}

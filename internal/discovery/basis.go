package discovery

import "time"

// Basis is what an answer rests on: how well that is known, and what it is.
type Basis struct {
	Meta
	Depends
}

// Depends is what an answer is made of. Who waits for another answer watches its
// topics, and looks again at Until. An answer that is an error has it too: what does
// not exist may come into being.
type Depends struct {
	// Topics are those whose change may change the answer. The zero Topic stands for
	// none.
	Topics [2]Topic
	// Until is when the answer changes by itself, zero if it does not; Now is the time,
	// by the same clock, at which that was so.
	Until, Now time.Time
}

// DependsOn returns a dependence on at most two topics.
func DependsOn(topics ...Topic) (d Depends) {
	copy(d.Topics[:], topics)
	return d
}

package proof

import (
	"fmt"
	"sync"
	"time"
)

// instant is a time on the monotonic clock of this process: since the run began.
type instant = time.Duration

// The values of a key that are no value.
const (
	absent     = ""
	unreadable = "?" // bytes that do not parse
)

// version is one state of a key, made by one transaction. It became current at
// some instant between from and by: when its write was called and when the
// writer knew of it.
type version struct {
	value    string
	zxid     int64
	from, by instant
}

func (v version) String() string {
	return fmt.Sprintf("%q (zxid %#x, written between %v and %v)", v.value, v.zxid, v.from, v.by)
}

// cacheStatus is the first letter of X-Cache.
type cacheStatus byte

const (
	hit      cacheStatus = 'H'
	miss     cacheStatus = 'M'
	updating cacheStatus = 'U'
	stale    cacheStatus = 'S'
)

// read is one answer about one key.
type read struct {
	replica    int
	begin, end instant
	value      string
	zxid       int64 // 0 where the answer has none of the key's own
	newest     int64 // the newest transaction of all keys that the answer is about; 0 as zxid
	age        time.Duration
	cache      cacheStatus
	fresh      bool  // asked with Cache-Control: no-cache
	floor      int64 // asked with X-Min-Zxid, 0 without
}

func (r read) String() string {
	how := ""
	if r.fresh {
		how = ", no-cache"
	}
	if r.floor != 0 {
		how += fmt.Sprintf(", X-Min-Zxid %#x", r.floor)
	}
	return fmt.Sprintf("%q (zxid %#x, Age %v, X-Cache %c%s) through replica %d, asked at %v, answered at %v",
		r.value, max(r.zxid, r.newest), r.age, r.cache, how, r.replica, r.begin, r.end)
}

// span is a time in which all links of a replica were cut.
type span struct{ from, to instant }

// history is what happened to one key in one round.
type history struct {
	key string
	// guarded: the shrink guard may go on serving what is deleted, see limits.
	guarded bool
	// versions are in the order of their transactions. The first is what the
	// round before has left, at both replicas.
	versions []version
	reads    []read
}

// Kind says which promise was broken.
type Kind string

// The promises.
const (
	Phantom    Kind = "phantom"
	Age        Kind = "age"
	BackInTime Kind = "back in time"
	Fresh      Kind = "fresh"
	Floor      Kind = "floor"
	MaxStale   Kind = "max-stale"
	Linear     Kind = "linearizable"
	Converged  Kind = "converged"
	Served     Kind = "served"
	Unknown    Kind = "not known"
)

// Violation is a promise that was not kept.
type Violation struct {
	Kind   Kind
	Key    string
	Detail string
}

func (v Violation) String() string { return fmt.Sprintf("%s: %s: %s", v.Kind, v.Key, v.Detail) }

// violations collects them from many goroutines: the first of each kind, as one
// bug shows a thousand times.
type violations struct {
	mu    sync.Mutex
	first []Violation
	count map[Kind]int
}

// maxShown is how many of a kind are kept.
const maxShown = 3

func (v *violations) add(kind Kind, key, format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.count == nil {
		v.count = map[Kind]int{}
	}
	if v.count[kind]++; v.count[kind] <= maxShown {
		v.first = append(v.first, Violation{kind, key, fmt.Sprintf(format, args...)})
	}
}

func (v *violations) take() []Violation {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.first
}

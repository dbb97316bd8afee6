package proof

import (
	"cmp"
	"slices"
	"time"
)

// granularity is what Age is rounded down by.
const granularity = time.Second

// leaderLag is what an answer to Cache-Control: no-cache may lack: ZooKeeper's
// leader answers a sync without a transaction that it has committed and not yet
// applied, which a follower may have acknowledged. It takes a millisecond, or longer
// where the leader has to wait for a processor.
const leaderLag = instant(100 * time.Millisecond)

// limits are what the check of a history has to know of the replicas.
type limits struct {
	// maxStale is each replica's --max-stale; 0 is no bound.
	maxStale []time.Duration
	// dark are the times in which each replica had no link at all, in order.
	dark [][]span
	// guard: the replica has a shrink guard. What it serves STALE may have been deleted, and seen to
	// be.
	guard []bool
	// blind is until when each replica has had no link since its start. Nothing was known to it.
	blind []instant
}

// check compares a history with the promises.
func check(h *history, l limits, found *violations) {
	byReplica := map[int][]read{}
	for _, r := range h.reads {
		byReplica[r.replica] = append(byReplica[r.replica], r)
		checkStaleness(h, r, l, found)
		if r.end < l.blind[r.replica] {
			found.add(Unknown, h.key, "%v, which has had no link since its start", r)
		}
	}
	for replica, reads := range byReplica {
		checkOrder(h, reads, h.guarded && l.guard[replica], found)
	}
	checkLinear(h, found)
}

// checkStaleness compares an answer's Age with --max-stale and with the clock of
// the one who cut the links.
func checkStaleness(h *history, r read, l limits, found *violations) {
	bound := l.maxStale[r.replica]
	if bound > 0 && r.age > bound {
		found.add(MaxStale, h.key, "%v, with --max-stale %v", r, bound)
	}
	for _, d := range l.dark[r.replica] {
		if r.begin < d.from || r.end >= d.to {
			continue // or it may have been answered by a link that was up
		}
		away := r.begin - d.from
		if r.age+granularity <= away {
			found.add(Age, h.key, "%v, when no link had been up for %v", r, away)
		}
		if bound > 0 && away > bound {
			found.add(MaxStale, h.key, "%v, when no link had been up for %v, with --max-stale %v", r, away, bound)
		}
	}
}

// checkOrder finds for each read of one replica the oldest version that it can
// have seen: one that matches the answer, that was current in the time that Age
// allows, and that is no older than what any earlier read must have seen. Where
// there are several, as all absences look the same, the oldest leaves most room
// to later reads; so if even that order fails, none would hold. guarded: the replica has a
// shrink guard, and the key is of a kind that it watches over.
func checkOrder(h *history, reads []read, guarded bool, found *violations) {
	slices.SortFunc(reads, func(a, b read) int { return cmp.Compare(a.begin, b.begin) })
	byEnd := make([]int, len(reads))
	for i := range byEnd {
		byEnd[i] = i
	}
	slices.SortFunc(byEnd, func(a, b int) int { return cmp.Compare(reads[a].end, reads[b].end) })
	seen := make([]int, len(reads)) // the version that each read has seen
	floor, ended, by := 0, 0, -1
	shown := 0 // as floor, of values that were no absence
	newest := read{}
	for i, r := range reads {
		for ; reads[byEnd[ended]].end < r.begin; ended++ {
			v := seen[byEnd[ended]]
			if v > floor {
				floor, by = v, byEnd[ended]
			}
			if h.versions[v].value != absent {
				shown = max(shown, v)
			}
			if one := reads[byEnd[ended]]; one.newest > newest.newest {
				newest = one
			}
		}
		if r.newest != 0 && r.newest < newest.newest {
			found.add(BackInTime, h.key, "%v, by its X-Zxid; before that %v", r, newest)
		}
		if guarded && r.cache == stale && r.value == absent {
			// X-Zxid is of the last list that was accepted. The answer may lack a key that was
			// deleted after that, by an owner that lives.
			r.newest = 0
		}
		least := floor
		if guarded && r.cache == stale && r.value != absent {
			// The guard has answers go on with the last value that was held of what was deleted, for as
			// long as their age allows, also if they were without it in between.
			least = shown
		}
		v, verdict := match(h.versions, r, least)
		if verdict != "" {
			v = floor
			earlier := ""
			if verdict == BackInTime && by >= 0 {
				earlier = "; before that " + reads[by].String()
			}
			found.add(verdict, h.key, "%v%s; %s", r, earlier, neighbours(h.versions, r, floor))
		}
		seen[i] = v
	}
}

// match returns the oldest version from floor on that r can have seen, or which
// promise that there is none breaks.
func match(versions []version, r read, floor int) (int, Kind) {
	fresh := r.fresh && r.cache != stale
	since := r.begin - r.age - granularity
	if fresh {
		since = r.begin - leaderLag
	}
	verdict := Phantom
	for i, v := range versions {
		if !v.fits(r) || v.from > r.end {
			continue
		}
		isLast := i+1 == len(versions)
		switch overwritten := !isLast && versions[i+1].by < since; {
		case overwritten && fresh:
			verdict = worse(verdict, Fresh)
		case overwritten:
			verdict = worse(verdict, Age)
		case r.floor != 0 && !isLast && versions[i+1].zxid <= r.floor:
			verdict = worse(verdict, Floor)
		case i < floor:
			verdict = worse(verdict, BackInTime)
		default:
			return i, ""
		}
	}
	return 0, verdict
}

// fits reports whether the read shows the version, by its value and its transaction.
func (v version) fits(r read) bool {
	switch {
	case v.value != r.value, r.newest != 0 && v.zxid > r.newest:
		return false
	case v.value == absent:
		return true
	default:
		return r.zxid == 0 || v.zxid == r.zxid
	}
}

// worse keeps the more telling verdict: the one about the version that comes
// closest to being allowed.
func worse(a, b Kind) Kind {
	rank := []Kind{Phantom, Age, Fresh, Floor, BackInTime}
	if slices.Index(rank, b) > slices.Index(rank, a) {
		return b
	}
	return a
}

// neighbours describes the versions around a read, for the message.
func neighbours(versions []version, r read, floor int) string {
	text := "versions known then:"
	last := 0
	for i, v := range versions {
		if v.from <= r.end {
			last = i
		}
	}
	for i := max(0, min(floor, last-4)); i <= last; i++ {
		if i > floor+1 && i < last-4 {
			continue
		}
		text += "\n    " + versions[i].String()
	}
	return text
}

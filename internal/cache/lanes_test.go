package cache

import (
	"fmt"
	"testing"
)

// idleSession is a session that starts nothing by itself and talks to nobody.
func idleSession(cfg Config) *session {
	cfg.Logger = quiet
	m, err := newMirror(cfg)
	if err != nil {
		panic(err)
	}
	s := &session{c: m.Cache}
	s.epoch.Store(&epoch{session: s})
	s.live.Store(true)
	return s
}

// TestLanesHaveTheirShare: however much waits in the other lanes, each lane gets its
// part of the starts, and nothing of it is lost where a lane is empty.
func TestLanesHaveTheirShare(t *testing.T) {
	all := []lane{background, watched, upkeep, callers}
	for _, tt := range []struct {
		waiting []lane
		want    map[lane]int // of 80 starts
	}{
		{all, map[lane]int{callers: 30, upkeep: 20, watched: 20, background: 10}},
		{[]lane{callers, background}, map[lane]int{callers: 70, background: 10}},
		{[]lane{callers, watched}, map[lane]int{callers: 60, watched: 20}},
		{[]lane{background}, map[lane]int{background: 80}},
	} {
		t.Run(fmt.Sprint(tt.waiting), func(t *testing.T) {
			s := idleSession(Config{InFlight: 1})
			for _, of := range tt.waiting {
				for range 100 {
					s.waiting[of].push(&load{s: s, lane: of, queued: true})
				}
			}
			got := map[lane]int{}
			for range 80 {
				l, ok := s.next().(*load)
				if !ok {
					t.Fatalf("nothing starts after %v", got)
				}
				got[l.place]++
				if s.next() != nil {
					t.Fatal("more is in flight than may be")
				}
				s.inFlight--
				if l.place == background {
					s.behind--
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("starts %v, want %v", got, tt.want)
			}
		})
	}
}

// TestBackgroundIsBounded: what nobody waits for never has more than its places in
// flight, also while it has all the turns.
func TestBackgroundIsBounded(t *testing.T) {
	s := idleSession(Config{InFlight: 1000})
	for range 2 * backgroundInFlight {
		s.waiting[background].push(&load{s: s, queued: true})
	}
	started := 0
	for s.next() != nil {
		started++
	}
	if started != backgroundInFlight {
		t.Errorf("%d in flight, want %d", started, backgroundInFlight)
	}
	s.waiting[callers].push(&load{s: s, lane: callers, queued: true})
	if s.next() == nil {
		t.Error("a caller's read waits for the background")
	}
}

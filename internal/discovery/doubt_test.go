package discovery_test

import (
	"fmt"
	"testing"
	"time"

	"magellan/internal/discovery"
)

// TestWholeDoubt: what is known of all records together is as old as the oldest, and
// nothing at all where one was never known.
func TestWholeDoubt(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	stale := func(name string, s, zxid int64) discovery.Doubt {
		return discovery.Doubt{Name: name, Reason: "reason of " + name, Held: true, Since: at(s), Zxid: zxid}
	}
	never := func(name string) discovery.Doubt { return discovery.Doubt{Name: name, Reason: "reason of " + name} }
	accepted := never("accepted")
	accepted.Accepted = true
	late := never("late") // not held, and all others were known without it
	late.Since = at(7)
	var many []discovery.Doubt
	for i := range 9 {
		many = append(many, never(fmt.Sprint(i)))
	}
	for _, tt := range []struct {
		name   string
		all    []discovery.Doubt
		none   bool
		since  time.Time
		zxid   int64
		reason string
	}{
		{name: "none", none: true},
		{name: "accepted ones only", all: []discovery.Doubt{accepted}, none: true},
		{name: "one", all: []discovery.Doubt{stale("a", 5, 9)}, since: at(5), zxid: 9, reason: "reason of a"},
		{name: "the oldest", all: []discovery.Doubt{stale("a", 5, 9), accepted, stale("b", 3, 10)}, since: at(3), zxid: 9, reason: "reason of a; reason of b"},
		{name: "one that came later", all: []discovery.Doubt{late, stale("a", 9, 9)}, since: at(7), reason: "reason of late; reason of a"},
		{name: "one that was never known", all: []discovery.Doubt{stale("a", 5, 9), never("b"), late}, reason: "reason of b"},
		{name: "many", all: many, reason: "reason of 0; reason of 1; reason of 2; reason of 3; reason of 4; and 4 more, which /admin/problems lists"},
	} {
		whole := discovery.NewDoubts(tt.all).Whole()
		if tt.none || whole == nil {
			if !tt.none || whole != nil {
				t.Errorf("%s: %+v", tt.name, whole)
			}
			continue
		}
		if !whole.Since.Equal(tt.since) || whole.Zxid != tt.zxid || whole.Reason != tt.reason {
			t.Errorf("%s: %+v", tt.name, whole)
		}
	}
}

package proof

import (
	"errors"
	"slices"
	"testing"
	"time"
)

// seconds makes times readable.
func seconds(s float64) instant { return instant(s * float64(time.Second)) }

// past is a key's versions: a, deleted, b, one that does not parse, c.
var past = []version{
	{value: "a", zxid: 1, from: 0, by: seconds(1)},
	{value: absent, zxid: 2, from: seconds(10), by: seconds(11)},
	{value: "b", zxid: 3, from: seconds(20), by: seconds(21)},
	{value: unreadable, zxid: 4, from: seconds(30), by: seconds(31)},
	{value: "c", zxid: 5, from: seconds(40), by: seconds(41)},
}

// at is a cached read of half a second.
func at(begin float64, value string, zxid int64) read {
	return read{begin: seconds(begin), end: seconds(begin + 0.5), value: value, zxid: zxid, cache: hit}
}

func (r read) aged(age float64) read    { r.age, r.cache = seconds(age), stale; return r }
func (r read) fresher() read            { r.fresh, r.cache = true, miss; return r }
func (r read) atLeast(zxid int64) read  { r.floor = zxid; return r }
func (r read) among(zxid int64) read    { r.newest = zxid; return r }
func (r read) through(replica int) read { r.replica = replica; return r }

func TestCheck(t *testing.T) {
	darkFrom50 := limits{maxStale: []time.Duration{5 * time.Second, 0}, dark: [][]span{{{seconds(50), seconds(70)}}, nil}}
	for name, c := range map[string]struct {
		reads   []read
		limits  limits
		guarded bool
		blind   instant
		want    []Kind
	}{
		"each version when it is current": {reads: []read{at(5, "a", 1), at(15, absent, 0), at(25, "b", 3), at(35, unreadable, 4), at(45, "c", 5)}},
		"an end that touches the next":    {reads: []read{at(11.9, "a", 1), at(9.9, absent, 0)}, want: []Kind{BackInTime}},
		"a value nobody wrote":            {reads: []read{at(5, "x", 1)}, want: []Kind{Phantom}},
		"another write's transaction":     {reads: []read{at(5, "a", 3)}, want: []Kind{Phantom}},
		"before it was written":           {reads: []read{at(15, "b", 3)}, want: []Kind{Phantom}},
		"after it was overwritten":        {reads: []read{at(13, "a", 1)}, want: []Kind{Age}},
		"the same with its age":           {reads: []read{at(13, "a", 1).aged(1)}},
		"the last good value":             {reads: []read{at(39, "b", 3).aged(8)}},
		"an absence that has ended":       {reads: []read{at(23, absent, 0)}, want: []Kind{Age}},
		"older than before":               {reads: []read{at(21, "b", 3), at(22, "a", 1).aged(12)}, want: []Kind{BackInTime}},
		"older through another replica":   {reads: []read{at(21, "b", 3), at(22, "a", 1).aged(12).through(1)}},
		"older, but under way together":   {reads: []read{at(21, "b", 3), at(21.2, "a", 1).aged(12)}},
		"fresh":                           {reads: []read{at(10.2, "a", 1).fresher(), at(10.8, absent, 0).fresher()}},
		"fresh, and the leader lags":      {reads: []read{at(11.05, "a", 1).fresher()}},
		"not fresh":                       {reads: []read{at(11.5, "a", 1).fresher()}, want: []Kind{Fresh, Linear}},
		"not fresh, and says so":          {reads: []read{func() read { r := at(12, "a", 1).aged(3); r.fresh = true; return r }()}},
		"two fresh ones, no order": {
			reads: []read{at(10.1, absent, 0).fresher(), func() read { r := at(10.75, "a", 1).fresher().through(1); r.end = seconds(10.8); return r }()},
			want:  []Kind{Linear},
		},
		"two fresh ones, the leader lags": {
			reads: []read{at(10.1, absent, 0).fresher(), func() read { r := at(10.65, "a", 1).fresher().through(1); r.end = seconds(10.8); return r }()},
		},
		"new enough":                   {reads: []read{at(25, "b", 3).atLeast(3)}},
		"absent, and new enough":       {reads: []read{at(15, absent, 0).atLeast(2)}},
		"not new enough":               {reads: []read{at(20.2, absent, 0).atLeast(3)}, want: []Kind{Floor}},
		"older than is allowed":        {reads: []read{at(46, "c", 5).aged(6)}, limits: darkFrom50, want: []Kind{MaxStale}},
		"without bound":                {reads: []read{at(46, "c", 5).aged(600).through(1)}, limits: darkFrom50},
		"in the dark":                  {reads: []read{at(53, "c", 5).aged(3)}, limits: darkFrom50},
		"in the dark, too young":       {reads: []read{at(53, "c", 5).aged(1)}, limits: darkFrom50, want: []Kind{Age}},
		"asked in the dark":            {reads: []read{at(69.8, "c", 5).fresher()}, limits: darkFrom50},
		"a service's, and newer ones":  {reads: []read{at(25, "b", 0).among(7)}},
		"a service's, from the future": {reads: []read{at(25, "b", 0).among(2)}, want: []Kind{Phantom}},
		"a service goes back":          {reads: []read{at(25, "b", 0).among(7), at(26, "b", 0).among(6)}, want: []Kind{BackInTime}},
		"a service through another":    {reads: []read{at(25, "b", 0).among(7), at(26, "b", 0).among(6).through(1)}},
		"a service at another's floor": {reads: []read{at(31, "b", 0).among(9).aged(3).atLeast(4)}, want: []Kind{Floor}},
		"a service before that floor":  {reads: []read{at(29, "b", 0).among(9).atLeast(3)}},
		"the guard holds back":         {reads: []read{at(13, absent, 0), at(15, "a", 1).aged(5)}, guarded: true},
		"no guard there":               {reads: []read{at(13, absent, 0).through(1), at(15, "a", 1).aged(5).through(1)}, guarded: true, want: []Kind{BackInTime}},
		"the guard, and does not say so": {
			reads:   []read{at(11.2, absent, 0), func() read { r := at(11.8, "a", 1); r.age = seconds(1); return r }()},
			guarded: true, want: []Kind{BackInTime},
		},
		"the guard, and too young":     {reads: []read{at(15, "a", 1).aged(2)}, guarded: true, want: []Kind{Age}},
		"the guard, for too long":      {reads: []read{at(18, "a", 1).aged(8)}, limits: darkFrom50, guarded: true, want: []Kind{MaxStale}},
		"the guard, what was replaced": {reads: []read{at(25, "b", 3), at(45, "c", 5), at(46, "b", 3).aged(17)}, guarded: true, want: []Kind{BackInTime}},
		"the guard, before the last time": {
			reads:   []read{at(11.2, absent, 0), at(25, "b", 3), at(26, "a", 1).aged(16)},
			guarded: true, want: []Kind{BackInTime},
		},
		"the guard, an old list":    {reads: []read{at(15, absent, 0).among(1).aged(2)}, guarded: true},
		"nothing was known yet":     {reads: []read{at(5, "a", 1)}, blind: seconds(6), want: []Kind{Unknown}},
		"something is known by now": {reads: []read{at(5, "a", 1)}, blind: seconds(5.2)},
		"in the dark for too long":  {reads: []read{at(56, "c", 5).aged(5.5)}, limits: darkFrom50, want: []Kind{MaxStale, MaxStale}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.limits.maxStale == nil {
				c.limits.maxStale, c.limits.dark = make([]time.Duration, 2), make([][]span, 2)
			}
			c.limits.guard, c.limits.blind = []bool{c.guarded, false}, []instant{c.blind, 0}
			var found violations
			check(&history{key: "k", guarded: c.guarded, versions: past, reads: c.reads}, c.limits, &found)
			var kinds []Kind
			for _, v := range found.take() {
				kinds = append(kinds, v.Kind)
			}
			slices.Sort(kinds)
			if !slices.Equal(kinds, c.want) {
				t.Errorf("found %v, want %v", found.take(), c.want)
			}
		})
	}
}

// TestUnderstand: what an answer says of a service's instances.
func TestUnderstand(t *testing.T) {
	var s *subject
	for _, one := range newSubjects() {
		if one.name == "curator-1" {
			s = one
		}
	}
	none := make([]string, instanceCount)
	for name, c := range map[string]struct {
		status  int
		body    string
		values  []string // nil: it says nothing
		phantom bool
		bad     bool
	}{
		"two instances": {status: 200, body: `{"instances":[{"id":"instance-0","metadata":{"n":"7"}},{"id":"instance-2","metadata":{"n":"9"}}]}`,
			values: []string{"7", absent, "9", absent}},
		"none":                {status: 200, body: `{"instances":[]}`, values: none},
		"no such service":     {status: 404, body: `{}`, values: none},
		"not known":           {status: 503, body: `{}`},
		"one that never was":  {status: 200, body: `{"instances":[{"id":"instance-9","metadata":{"n":"7"}}]}`, phantom: true},
		"one twice":           {status: 200, body: `{"instances":[{"id":"instance-0","metadata":{"n":"7"}},{"id":"instance-0","metadata":{"n":"7"}}]}`, bad: true},
		"one without its own": {status: 200, body: `{"instances":[{"id":"instance-0","metadata":{}}]}`, bad: true},
		"some cannot be read": {status: 200, body: `{"instances":[],"unreadable":1}`, bad: true},
		"no list":             {status: 200, body: `{}`, bad: true},
		"another status":      {status: 500, body: `{}`, bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			values, ok, err := s.understand(c.status, []byte(c.body))
			if !slices.Equal(values, c.values) || ok != (c.values != nil) || (err != nil) != (c.bad || c.phantom) || errors.Is(err, errPhantom) != c.phantom {
				t.Errorf("%q %v %v, want %q", values, ok, err, c.values)
			}
		})
	}
}

// TestScheduleFollowsFromSeed: and from nothing else; each fault comes about.
func TestScheduleFollowsFromSeed(t *testing.T) {
	take := func(seed uint64, track int) (faults []string) {
		for f := range schedule(seed, track) {
			if faults = append(faults, f.String()); len(faults) == 200 {
				break
			}
		}
		return faults
	}
	names := map[string]bool{}
	for track := range 3 {
		if !slices.Equal(take(7, track), take(7, track)) {
			t.Error("the same seed gives another schedule")
		}
		if slices.Equal(take(7, track), take(8, track)) {
			t.Error("another seed gives the same schedule")
		}
		for f := range schedule(7, track) {
			if names[f.name] = true; len(names) == len(serverFaults)+len(linkFaults) || track == 0 && len(names) == len(serverFaults) {
				break
			}
		}
	}
	for _, c := range slices.Concat(serverFaults, linkFaults) {
		if !names[c.name] {
			t.Errorf("no %q in the schedule", c.name)
		}
	}
}

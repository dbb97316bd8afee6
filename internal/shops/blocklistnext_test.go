package shops

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"
)

// chooser makes the choices of a story: choose(n) is one of n.
type chooser func(n int) int

// randomly chooses by chance.
func randomly(seed uint64) chooser {
	return rand.New(rand.NewPCG(seed, 1)).IntN
}

// byBytes chooses by what fuzzing finds; it reports whether there is more.
func byBytes(data *[]byte) chooser {
	return func(n int) int {
		if len(*data) == 0 {
			return 0
		}
		b := (*data)[0]
		*data = (*data)[1:]
		return int(b) % n
	}
}

// story is lists that change, as texts.
type story struct {
	choose chooser
	now    time.Time
	lists  map[string][]string // lines
}

func newStory(choose chooser) *story {
	return &story{choose: choose, now: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC), lists: map[string][]string{}}
}

func (s *story) time() time.Time { return s.now }

func (s *story) line() string {
	if s.choose(8) == 0 {
		return []string{"", "# nobody", "nonsense", "10.0.0.0/99"}[s.choose(4)]
	}
	addr := netip.AddrFrom4([4]byte{10, byte(s.choose(2)), 0, byte(s.choose(4))})
	if s.choose(4) == 0 {
		addr = netip.AddrFrom16([16]byte{0x20, 1, 15: byte(s.choose(4))})
	}
	line := netip.PrefixFrom(addr, s.choose(addr.BitLen()+1)).Masked().String()
	if s.choose(3) > 0 {
		end := s.now.Add(time.Duration(s.choose(60)-10) * time.Minute / 2)
		line += " expires=" + end.Format(time.RFC3339Nano)
	}
	if r := s.choose(4); r > 0 {
		line += fmt.Sprint(" reason=r", r)
	}
	return line
}

// change changes a few lines, or all, of one list.
func (s *story) change() {
	name := fmt.Sprint("list-", s.choose(3))
	lines := s.lists[name]
	switch s.choose(10) {
	case 0:
		delete(s.lists, name)
		return
	case 1: // another order
		lines = slices.Clone(lines)
		slices.Reverse(lines)
	case 2: // a new list, of some blocks
		lines = nil
		for range s.choose(300) {
			lines = append(lines, s.line())
		}
	case 3: // everything twice
		if len(lines) < 1000 {
			lines = append(slices.Clone(lines), lines...)
		}
	default:
		for range 1 + s.choose(3) {
			i := s.choose(len(lines) + 1)
			switch {
			case s.choose(2) == 0 || i == len(lines):
				lines = slices.Insert(slices.Clone(lines), i, s.line())
			default:
				lines = slices.Delete(slices.Clone(lines), i, i+1)
			}
		}
	}
	s.lists[name] = lines
}

// next follows with b, and also decodes everything anew.
func (s *story) next(t *testing.T, b *Blocklist, told bool) (*Blocklist, []BadCitizenList) {
	t.Helper()
	var incremental, anew []BadCitizenList
	for name, lines := range s.lists {
		var data []byte
		for _, line := range lines {
			data = append(append(data, line...), '\n')
		}
		i, ierr := b.DecodeBadCitizens(name, data, 1)
		a, aerr := DecodeBadCitizens(name, data, 1)
		if (ierr == nil) != (aerr == nil) || fmt.Sprint(i.LineErrors) != fmt.Sprint(a.LineErrors) || i.BadLines != a.BadLines ||
			!slices.Equal(slices.Collect(i.Entries()), slices.Collect(a.Entries())) {
			t.Fatalf("decoded after another list, %q is %v, %v, not %v, %v", data, i, ierr, a, aerr)
		}
		if ierr == nil {
			incremental, anew = append(incremental, i), append(anew, a)
		}
	}
	now := s.now
	if !told {
		now = time.Time{}
	}
	return b.Next(now, 1, incremental...), anew
}

// checkStory follows a story for some steps and compares each Blocklist with one
// that is made from scratch, and what history tells of versions with what they held.
func checkStory(t *testing.T, choose chooser, steps int) {
	s := newStory(choose)
	type seen struct {
		version Version
		held    []BadCitizen
	}
	var b *Blocklist
	var versions []seen
	var kept *Blocklist
	var keptEntries []BadCitizen
	for range steps {
		if choose(3) == 0 {
			s.now = s.now.Add(time.Duration(choose(20)) * time.Minute / 2)
		} else {
			s.change()
		}
		var lists []BadCitizenList
		b, lists = s.next(t, b, choose(4) > 0)
		scratch := NewBlocklist(1, lists...)
		var all []BadCitizen
		for _, list := range lists {
			all = slices.AppendSeq(all, list.Entries())
		}
		checkBlocklist(t, b, all, s.now)
		for range 20 {
			addr := netip.AddrFrom4([4]byte{10, byte(choose(3)), 0, byte(choose(5))})
			got, ok := b.Lookup(addr, s.now)
			want, wantOK := scratch.Lookup(addr, s.now)
			if got != want || ok != wantOK {
				t.Fatalf("Lookup(%v) = %v, %v; from scratch %v, %v", addr, got, ok, want, wantOK)
			}
		}

		version, at := b.Version(s.time)
		held := slices.Collect(b.Entries(at))
		for _, earlier := range versions {
			if earlier.version == version && !slices.Equal(earlier.held, held) {
				t.Fatal("one version has held different entries")
			}
			if steps, ok := version.Since(earlier.version); ok {
				if got := afterChanges(t, earlier.held, Net(steps)); !slices.Equal(got, held) {
					t.Fatalf("%v with %v is %v, want %v", earlier.held, Net(steps), got, held)
				}
			}
		}
		versions = append(versions, seen{version, held})
		if kept == nil || choose(10) == 0 {
			kept, keptEntries = b, slices.Collect(b.Entries(time.Time{}))
		}
		if !slices.Equal(keptEntries, slices.Collect(kept.Entries(time.Time{}))) {
			t.Fatal("a blocklist has changed after another followed it")
		}
	}
}

// afterChanges makes the list that changes make of another.
func afterChanges(t *testing.T, was []BadCitizen, changes []BlocklistChange) []BadCitizen {
	t.Helper()
	is := slices.Clone(was)
	for _, c := range changes {
		if old, ok := c.Was(); ok {
			i := slices.Index(is, old)
			if i < 0 {
				t.Fatalf("%v is said to go, and was not there", old)
			}
			is = slices.Delete(is, i, i+1)
		}
		if added, ok := c.Is(); ok {
			is = append(is, added)
		}
	}
	slices.SortFunc(is, func(x, y BadCitizen) int { return x.Prefix.Compare(y.Prefix) })
	return is
}

func TestBlocklistNext(t *testing.T) {
	for seed := range uint64(12) {
		checkStory(t, randomly(seed), 60)
	}
}

func FuzzBlocklistNext(f *testing.F) {
	f.Add([]byte("a story that changes a list and another, and lets time pass"))
	f.Add(bytes.Repeat([]byte{2, 7, 1, 9, 30, 255}, 60))
	f.Fuzz(func(t *testing.T, data []byte) {
		checkStory(t, byBytes(&data), min(len(data)/8, 40))
	})
}

// Two replicas that are told of the same changes at the same times, but are asked
// at others, go through the same versions.
func TestBlocklistVersionsAreTheSameEverywhere(t *testing.T) {
	for seed := range uint64(8) {
		s := newStory(randomly(seed))
		var a, b *Blocklist
		held := map[string]bool{} // what a has held
		for range 40 {
			s.change()
			a, _ = s.next(t, a, true)
			b, _ = s.next(t, b, true)
			for range 40 {
				s.now = s.now.Add(time.Duration(s.choose(3)) * time.Minute / 8)
				_, at := a.Version(s.time)
				held[fmt.Sprint(slices.Collect(a.Entries(at)))] = true
			}
		}
		version, at := b.Version(s.time)
		entries := slices.Collect(b.Entries(at))
		steps := version.Steps(MaxVersions)
		for len(steps) > 0 { // back to the first
			last := steps[len(steps)-1]
			steps = steps[:len(steps)-1]
			back := make([]BlocklistChange, len(last))
			for i, c := range last {
				back[i] = BlocklistChange{key: c.key, was: c.is, is: c.was}
			}
			entries = afterChanges(t, entries, back)
			delete(held, fmt.Sprint(entries))
		}
		delete(held, fmt.Sprint(slices.Collect(b.Entries(at))))
		if len(held) > 0 {
			t.Fatalf("seed %d: one replica has gone through %d versions that the other has not", seed, len(held))
		}
	}
}

func TestBlocklistHistoryIsBounded(t *testing.T) {
	now := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	b := NewBlocklist(1, mustList(t, "a", "10.0.0.0/8"))
	first, _ := b.Version(func() time.Time { return now })
	for i := range MaxVersions + 10 {
		b = b.Next(now, 1, mustList(t, "a", fmt.Sprintf("10.0.0.0/8 reason=%d", i)))
	}
	version, _ := b.Version(func() time.Time { return now })
	if _, ok := version.Since(first); ok {
		t.Error("a version is known after too many others")
	}
	if steps := version.Steps(2 * MaxVersions); len(steps) != MaxVersions {
		t.Errorf("%d steps are known, want %d", len(steps), MaxVersions)
	}

	var text []byte
	for i := range maxChanges {
		text = fmt.Appendf(text, "10.%d.%d.%d\n", i>>16, i>>8&255, i&255)
	}
	b = b.Next(now, 1, mustList(t, "a", string(text)))
	if version, _ := b.Version(func() time.Time { return now }); len(version.Steps(MaxVersions)) != 0 || b.history.changes != 0 {
		t.Errorf("more than %d changes are kept", maxChanges)
	}
	before, _ := b.Version(func() time.Time { return now })
	b = b.Next(now, 1, mustList(t, "a", string(text[:bytes.LastIndexByte(text[:len(text)/2], '\n')])))
	version, _ = b.Version(func() time.Time { return now })
	if steps, ok := version.Since(before); !ok || len(steps) != 1 {
		t.Errorf("after that, %d steps, %v", len(steps), ok)
	}
}

func TestBlocklistClockSetBack(t *testing.T) {
	now := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	b := NewBlocklist(1, mustList(t, "a", "10.0.0.0/8 expires=2026-12-01T00:00:10Z"))
	holds := func(now time.Time) (Version, int) {
		version, at := b.Version(func() time.Time { return now })
		return version, b.Len(at)
	}
	before, n := holds(now)
	if n != 1 {
		t.Fatal("the entry is not there")
	}
	after, n := holds(now.Add(10 * time.Second))
	if n != 0 || after == before {
		t.Errorf("the entry is there for longer than it should")
	}
	again, n := holds(now.Add(9 * time.Second))
	if n != 1 || again == before || again == after {
		t.Errorf("after the clock was set back: %d entries", n)
	}
	if _, ok := again.Since(after); ok {
		t.Error("the version has become another by going back in time")
	}
	// A change that is told of with an earlier time does not turn the clock back.
	now = now.Add(time.Minute)
	after, _ = holds(now)
	b = b.Next(now.Add(-time.Second), 2, mustList(t, "a", "10.0.0.0/8"))
	later, _ := holds(now)
	if steps, ok := later.Since(after); !ok || len(steps) != 1 {
		t.Errorf("a change with an earlier time: %d steps, %v", len(steps), ok)
	}
}

// A Blocklist that another has followed stays at its version.
func TestBlocklistThatIsOver(t *testing.T) {
	now := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	at := func(seconds int) func() time.Time {
		return func() time.Time { return now.Add(time.Duration(seconds) * time.Second) }
	}
	old := NewBlocklist(1, mustList(t, "a", "10.0.0.0/8 expires=2026-12-01T00:00:10Z"))
	before, _ := old.Version(at(0))
	is := old.Next(now, 2, mustList(t, "a", "10.0.0.0/8 expires=2026-12-01T00:00:10Z\n10.0.0.1"))
	if version, when := old.Version(at(20)); version != before || old.Len(when) != 1 {
		t.Errorf("the old one has gone on to %v", when)
	}
	version, when := is.Version(at(20))
	steps, ok := version.Since(before)
	if !ok || len(steps) != 2 || is.Len(when) != 1 {
		t.Errorf("the new one: %d steps, %v, %d entries", len(steps), ok, is.Len(when))
	}
	// A second one that follows it has a history of its own.
	fork := old.Next(now, 3, mustList(t, "a", "10.0.0.2"))
	if version, _ := fork.Version(at(20)); version == before || len(version.Steps(MaxVersions)) != 0 {
		t.Error("two have followed one another in one history")
	}
}

// What one changed line takes goes by the line, not by how many there are: it is
// measured by the memory that is allocated, as a machine may be busy.
func TestBlocklistNextTakesWhatHasChanged(t *testing.T) {
	texts := manyLines(60_000, true)
	lists := decodeAll(t, texts)
	now := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	var none *Blocklist
	b := none.Next(now, 1, lists...)
	allocated := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.TotalAlloc
	}
	before := allocated()
	const changes = 10
	for i := range changes {
		lines := bytes.SplitAfter(texts[0], []byte{'\n'})
		lines[1000*i] = fmt.Appendf(nil, "198.51.100.%d\n", i)
		text := bytes.Join(lines, nil)
		before += uint64(cap(text)) + uint64(cap(lines))*24
		list, err := b.DecodeBadCitizens("list-0", text, 2)
		if err != nil {
			t.Fatal(err)
		}
		b = b.Next(now, 2, append([]BadCitizenList{list}, lists[1:]...)...)
	}
	if each := (allocated() - before) / changes; each > 400<<10 {
		t.Errorf("a change of one line among 60,000 allocates %d bytes", each)
	}
	if _, listed := b.Lookup(netip.MustParseAddr("198.51.100.9"), now); !listed {
		t.Error("the last change is not there")
	}
}

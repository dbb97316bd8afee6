package cache

import (
	"fmt"
	"strings"
	"testing"

	"magellan/internal/discovery"
)

// TestFloodOfUnknownShops: whoever asks for shops that do not exist pushes out no
// shop that does, and their watches on the server stay few.
func TestFloodOfUnknownShops(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const many, room, unknown = 300, 320, 2000
	for i := range many {
		w.shop(fmt.Sprint("shop-", i), "ash1")
	}
	c := w.open(Config{MaxBytes: room * (entryBytes + 3*8)})
	fixed := w.watches()
	for i := range many {
		w.ask(fmt.Sprint("shop-", i))
	}
	c.keep.Wait()
	held, _ := c.index.len()
	for i := range unknown {
		if got, _ := w.ask(fmt.Sprint("unknown-", i)); got != "absent" {
			t.Fatalf("unknown shop is %s", got)
		}
	}
	for i := range many {
		if c.index.entry(c.hash(fmt.Sprint("shop-", i))) != nil {
			held--
		}
	}
	if held != 0 {
		t.Errorf("%d shops were pushed out", held)
	}
	w.eventually(func() string {
		entries, loading := c.index.len()
		absent, watches := c.absent.len(), w.watches()-fixed
		c.absent.mu.Lock()
		free := c.absent.max - c.absent.bytes
		c.absent.mu.Unlock()
		if free < 0 || free > entryBytes+3*16 || entries-absent > room || loading > 0 || watches != entries {
			return fmt.Sprintf("%d entries, %d absent with %d bytes free, %d watches on the server", entries, absent, free, watches)
		}
		return ""
	})

	// One that comes into being goes over to those that exist.
	w.ask("new")
	absent := c.absent.len()
	w.shop("new", "ash2")
	w.expect("new", "ash2", discovery.Hit)
	if c.absent.len() != absent-1 {
		t.Errorf("%d absent, want %d", c.absent.len(), absent-1)
	}
	w.delete(layout.Shop("new"))
	w.expect("new", "absent", discovery.Hit)
}

func TestAbsentees(t *testing.T) {
	var a absentees
	a.init(0)
	a.max = 3 * entryBytes
	entries := map[uint64]*entry{}
	add := func(hash uint64) uint64 {
		entries[hash] = &entry{}
		out, _ := a.add(hash, entries[hash])
		return out.hash
	}
	for hash := uint64(1); hash <= 3; hash++ {
		if out := add(hash); out != 0 {
			t.Errorf("%d goes for %d", out, hash)
		}
	}
	entries[1].heat.Add(1) // asked for since
	if out := add(4); out != 2 {
		t.Errorf("%d goes, want 2", out)
	}
	if !a.remove(3, entries[3]) || a.remove(3, entries[3]) || a.len() != 2 {
		t.Error("3 does not go, or goes twice")
	}
	if out := add(5); out != 0 {
		t.Errorf("%d goes although there is room", out)
	}
	if out := add(6); out != 1 && out != 4 {
		t.Errorf("%d goes", out)
	}
	if a.len() != 3 {
		t.Errorf("%d are in", a.len())
	}
}

// TestLongAbsentees: the longer the names are, the fewer are kept.
func TestLongAbsentees(t *testing.T) {
	var a absentees
	a.init(absentShare * 100 * entryBytes)
	add := func(hash uint64, name string) {
		for _, full := a.add(hash, &entry{name: name}); full; {
			_, full = a.excess()
		}
	}
	for hash := range uint64(1000) {
		add(hash, "")
	}
	if a.len() != 100 || a.bytes != a.max {
		t.Errorf("%d with %d of %d bytes", a.len(), a.bytes, a.max)
	}
	for hash := range uint64(1000) {
		add(1000+hash, strings.Repeat("x", 3*entryBytes))
	}
	if a.len() != 10 || a.bytes != a.max {
		t.Errorf("%d long ones with %d of %d bytes", a.len(), a.bytes, a.max)
	}
}

// TestAbsenteesWhoLeave: shops that come into being after they were asked for,
// for ever, leave nothing behind.
func TestAbsenteesWhoLeave(t *testing.T) {
	var a absentees
	a.init(1 << 20)
	stays := &entry{}
	a.add(1, stays)
	for hash := uint64(2); hash < 10_000; hash++ {
		e := &entry{}
		a.add(hash, e)
		a.remove(hash, e)
	}
	if n := a.order.len(); n > 100 {
		t.Errorf("%d stand in line, of which %d are in", n, a.len())
	}
	if !a.remove(1, stays) {
		t.Error("the one that stayed has gone")
	}
}

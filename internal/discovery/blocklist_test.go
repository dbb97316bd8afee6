package discovery

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

func mustList(t testing.TB, name, text string) BadCitizenList {
	t.Helper()
	list, err := DecodeBadCitizens(name, []byte(text), 1)
	if err != nil || list.BadLines > 0 {
		t.Fatal(err, list.LineErrors)
	}
	return list
}

func TestBlocklistLookup(t *testing.T) {
	noon := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	b := NewBlocklist(5,
		mustList(t, "b", `
			10.0.0.0/8 reason=eight
			10.1.0.0/16 reason=sixteen expires=2026-12-01T12:00:00Z
			10.1.2.0/24 reason=twentyfour expires=2026-12-01T11:00:00Z
			10.1.2.3 reason=host expires=2026-12-01T13:00:00Z
			192.0.2.1 reason=alone expires=2026-12-01T12:00:00Z
			2001:db8::/32 reason=six`),
		mustList(t, "a", "fe80::1 reason=link"))
	if b.Zxid() != 5 {
		t.Errorf("zxid %d", b.Zxid())
	}
	for _, test := range []struct {
		addr string
		now  time.Time
		want string
	}{
		{"10.1.2.3", noon, "host"},
		{"::ffff:10.1.2.3", noon, "host"},
		{"10.1.2.3", noon.Add(time.Hour), "eight"}, // falls through everything that expired
		{"10.1.2.4", noon.Add(-time.Nanosecond), "sixteen"},
		{"10.1.2.4", noon, "eight"}, // at the very instant it is over
		{"10.1.2.4", noon.Add(-2 * time.Hour), "twentyfour"},
		{"10.2.0.0", noon, "eight"},
		{"11.0.0.0", noon, ""},
		{"192.0.2.1", noon.Add(-1), "alone"},
		{"192.0.2.1", noon, ""},
		{"2001:db8:1::", noon, "six"},
		{"2001:db9::", noon, ""},
		{"fe80::1", noon, "link"},
		{"fe80::1%eth0", noon, ""},
	} {
		got, ok := b.Lookup(netip.MustParseAddr(test.addr), test.now)
		if ok != (test.want != "") || got.Reason != test.want {
			t.Errorf("Lookup(%s, %v) = %+v, %v, want %q", test.addr, test.now, got, ok, test.want)
		}
	}
	if got, ok := b.Lookup(netip.Addr{}, noon); ok {
		t.Errorf("the zero address is in %+v", got)
	}
}

func TestBlocklistSamePrefixOnSeveralLists(t *testing.T) {
	now := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		lists map[string]string
		want  string
	}{
		{map[string]string{"a": "1.1.1.1 reason=a expires=2030-01-01T00:00:00Z", "b": "1.1.1.1 reason=b"}, "b"},
		{map[string]string{"a": "1.1.1.1 reason=a expires=2030-01-01T00:00:00Z", "b": "1.1.1.1 reason=b expires=2031-01-01T00:00:00Z"}, "b"},
		{map[string]string{"a": "1.1.1.1 reason=a", "b": "1.1.1.1 reason=b"}, "a"},
		{map[string]string{"a": "1.1.1.1 reason=z\n1.1.1.1 reason=y"}, "y"},
		{map[string]string{"a": "1.1.1.1 reason=a expires=2020-01-01T00:00:00Z", "b": "1.1.1.1/24 reason=b"}, "b"},
	} {
		for range 8 { // a map's order differs from one time to the next
			var lists []BadCitizenList
			for name, text := range test.lists {
				lists = append(lists, mustList(t, name, text))
			}
			if got, ok := NewBlocklist(1, lists...).Lookup(netip.MustParseAddr("1.1.1.1"), now); !ok || got.Reason != test.want {
				t.Fatalf("%v: %+v, want %s", test.lists, got, test.want)
			}
		}
	}
}

func TestBlocklistEmpty(t *testing.T) {
	b := NewBlocklist(1)
	now := time.Now()
	for e := range b.Entries(now) {
		t.Errorf("entry %+v", e)
	}
	if _, ok := b.NextExpiry(now); ok || b.Len(now) != 0 {
		t.Error("an empty list has entries or expiries")
	}
	if _, ok := b.Lookup(netip.MustParseAddr("1.1.1.1"), now); ok {
		t.Error("an empty list has an address")
	}
}

// Random prefixes that cover one another, some expired, some equal.
func TestBlocklistAgainstOneByOne(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	now := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	for round := range 200 {
		lists := make([]BadCitizenList, 3)
		var all []BadCitizen
		for i := range lists {
			lists[i].Name = fmt.Sprint("list", i)
			for range random.IntN(40) {
				addr := netip.AddrFrom4([4]byte{10, byte(random.IntN(2)), 0, byte(random.IntN(4))})
				if random.IntN(4) == 0 {
					addr = netip.AddrFrom16([16]byte{0x20, 1, 15: byte(random.IntN(4))})
				}
				e := BadCitizen{
					Prefix: netip.PrefixFrom(addr, random.IntN(addr.BitLen()+1)).Masked(),
					List:   lists[i].Name, Reason: fmt.Sprint("reason", random.IntN(3)),
				}
				if random.IntN(3) > 0 {
					e.Expires = now.Add(time.Duration(random.IntN(9)-4) * time.Hour)
				}
				lists[i].Entries = append(lists[i].Entries, e)
			}
			all = append(all, lists[i].Entries...)
		}
		b := NewBlocklist(int64(round), lists...)
		for hour := -5; hour <= 5; hour++ {
			checkBlocklist(t, b, all, now.Add(time.Duration(hour)*time.Hour))
		}
	}
}

// millionEntries makes a million prefixes of 24 to 32 bits on 16 lists.
func millionEntries() []BadCitizenList {
	random := rand.New(rand.NewPCG(1, 2))
	lists := make([]BadCitizenList, 16)
	for i := range 1_000_000 {
		var addr [4]byte
		binary.BigEndian.PutUint32(addr[:], random.Uint32())
		l := &lists[i%len(lists)]
		l.Entries = append(l.Entries, BadCitizen{
			Prefix:  netip.PrefixFrom(netip.AddrFrom4(addr), 24+random.IntN(9)).Masked(),
			Reason:  "credential stuffing",
			Expires: time.Date(2030, 1, 1, 0, 0, random.IntN(1e6), 0, time.UTC),
		})
	}
	return lists
}

func BenchmarkBlocklistLookup(b *testing.B) {
	lists := millionEntries()
	blocklist := NewBlocklist(1, lists...)
	var hits, misses [1024]netip.Addr
	random := rand.New(rand.NewPCG(3, 4))
	for i := range hits {
		hits[i] = lists[i%16].Entries[i*7].Prefix.Addr()
		for !misses[i].IsValid() {
			var addr [4]byte
			binary.BigEndian.PutUint32(addr[:], random.Uint32())
			if _, listed := blocklist.Lookup(netip.AddrFrom4(addr), time.Time{}); !listed {
				misses[i] = netip.AddrFrom4(addr)
			}
		}
	}
	for _, bm := range []struct {
		name  string
		addrs *[1024]netip.Addr
		now   time.Time
		found bool
	}{
		{"listed", &hits, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), true},
		{"expired", &hits, time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC), false},
		{"not listed", &misses, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), false},
	} {
		b.Run(bm.name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, ok := blocklist.Lookup(bm.addrs[i%1024], bm.now); ok != bm.found {
					b.Fatal(bm.addrs[i%1024])
				}
			}
		})
	}
}

func BenchmarkNewBlocklist(b *testing.B) {
	lists := millionEntries()
	b.ReportAllocs()
	for b.Loop() {
		NewBlocklist(1, lists...)
	}
}

package shops

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"syscall"
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
			name := fmt.Sprint("list", i)
			var entries []BadCitizen
			for range random.IntN(40) {
				addr := netip.AddrFrom4([4]byte{10, byte(random.IntN(2)), 0, byte(random.IntN(4))})
				if random.IntN(4) == 0 {
					addr = netip.AddrFrom16([16]byte{0x20, 1, 15: byte(random.IntN(4))})
				}
				e := BadCitizen{
					Prefix: netip.PrefixFrom(addr, random.IntN(addr.BitLen()+1)).Masked(),
					List:   name, Reason: fmt.Sprint("reason", random.IntN(3)),
				}
				if random.IntN(3) > 0 {
					e.Expires = now.Add(time.Duration(random.IntN(9)-4) * time.Hour)
				}
				entries = append(entries, e)
			}
			lists[i] = listOf(t, name, entries...)
			all = append(all, entries...)
		}
		b := NewBlocklist(int64(round), lists...)
		for hour := -5; hour <= 5; hour++ {
			checkBlocklist(t, b, all, now.Add(time.Duration(hour)*time.Hour))
		}
	}
}

// listOf makes a list of entries.
func listOf(t testing.TB, name string, all ...BadCitizen) BadCitizenList {
	t.Helper()
	var text []byte
	for _, e := range all {
		text, _ = e.AppendText(text)
		text = append(text, '\n')
	}
	return mustList(t, name, string(text))
}

// millionEntries makes a million prefixes of 24 to 32 bits on 16 lists.
func millionEntries(b testing.TB) []BadCitizenList {
	random := rand.New(rand.NewPCG(1, 2))
	entries := make([][]BadCitizen, 16)
	for i := range 1_000_000 {
		var addr [4]byte
		binary.BigEndian.PutUint32(addr[:], random.Uint32())
		l := &entries[i%len(entries)]
		*l = append(*l, BadCitizen{
			Prefix:  netip.PrefixFrom(netip.AddrFrom4(addr), 24+random.IntN(9)).Masked(),
			Reason:  "credential stuffing",
			Expires: time.Date(2030, 1, 1, 0, 0, random.IntN(1e6), 0, time.UTC),
		})
	}
	lists := make([]BadCitizenList, len(entries))
	for i := range lists {
		lists[i] = listOf(b, fmt.Sprint("list", i), entries[i]...)
	}
	return lists
}

func BenchmarkBlocklistLookup(b *testing.B) {
	lists := millionEntries(b)
	blocklist := NewBlocklist(1, lists...)
	listed := slices.Collect(lists[0].Entries())
	var hits, misses [1024]netip.Addr
	random := rand.New(rand.NewPCG(3, 4))
	for i := range hits {
		hits[i] = listed[i*7].Prefix.Addr()
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
	lists := millionEntries(b)
	b.ReportAllocs()
	for b.Loop() {
		NewBlocklist(1, lists...)
	}
}

// manyLines makes the texts of n random entries, as many lists of up to 1 MB as
// they take: of bare prefixes, or with an expiry and a reason.
func manyLines(n int, bare bool) (texts [][]byte) {
	random := rand.New(rand.NewPCG(1, 2))
	var text []byte
	for range n {
		var addr [4]byte
		binary.BigEndian.PutUint32(addr[:], random.Uint32())
		e := BadCitizen{Prefix: netip.PrefixFrom(netip.AddrFrom4(addr), 24+random.IntN(9)).Masked()}
		if !bare {
			e.Reason, e.Expires = "credential stuffing", time.Date(2030, 1, 1, 0, 0, random.IntN(1e6), 0, time.UTC)
		}
		if len(text) > 1_000_000-100 {
			texts, text = append(texts, text), nil
		}
		text, _ = e.AppendText(text)
		text = append(text, '\n')
	}
	return append(texts, text)
}

func decodeAll(t testing.TB, texts [][]byte) (lists []BadCitizenList) {
	t.Helper()
	for i, text := range texts {
		list, err := DecodeBadCitizens(fmt.Sprint("list-", i), text, int64(i))
		if err != nil || list.BadLines > 0 {
			t.Fatal(err, list.LineErrors)
		}
		lists = append(lists, list)
	}
	return lists
}

// reportCPU reports the time on a processor, garbage collection included, which
// other programs on the machine have less part in than in the time that passes.
func reportCPU(b *testing.B) func() {
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := used()
	return func() { b.ReportMetric(float64((used()-before).Microseconds())/float64(b.N), "cpu-us/op") }
}

// BenchmarkBlocklistNext follows one changed list among 256,715 entries: what a
// change of n lines takes from the list's bytes to the next blocklist, and what a
// blocklist from scratch does.
func BenchmarkBlocklistNext(b *testing.B) {
	now := time.Date(2029, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, bare := range []bool{false, true} {
		texts := manyLines(256_715, bare)
		lists := decodeAll(b, texts)
		kind := "full lines"
		if bare {
			kind = "bare prefixes"
		}
		for _, changed := range []int{1, 100, 1000, 4000, 8000, 13000} {
			var other []byte
			for i := range changed {
				other = fmt.Appendf(other, "203.%d.%d.0/24\n", i>>8, i&255)
			}
			list := [2][]byte{texts[3], append(other, texts[3]...)}
			b.Run(fmt.Sprint(kind, "/", changed), func(b *testing.B) {
				b.ReportAllocs()
				lists := slices.Clone(lists)
				blocklist := NewBlocklist(1, lists...)
				defer reportCPU(b)()
				for i := 1; b.Loop(); i++ {
					lists[3], _ = blocklist.DecodeBadCitizens("list-3", list[i%2], 1)
					blocklist = blocklist.Next(now, 1, lists...)
				}
			})
		}
		b.Run(kind+"/from scratch", func(b *testing.B) {
			b.ReportAllocs()
			defer reportCPU(b)()
			for b.Loop() {
				NewBlocklist(1, lists...)
			}
		})
		blocklist := NewBlocklist(1, lists...)
		b.Run(kind+"/entries", func(b *testing.B) {
			b.ReportAllocs()
			defer reportCPU(b)()
			for b.Loop() {
				blocklist.Len(now)
			}
		})
	}
}

package shops

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"magellan/internal/discovery"
)

func TestParseBadCitizen(t *testing.T) {
	december := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	entry := func(prefix, reason string, expires time.Time) BadCitizen {
		return BadCitizen{Prefix: netip.MustParsePrefix(prefix), Reason: reason, Expires: expires}
	}
	for _, test := range []struct {
		line string
		want BadCitizen
	}{
		{`203.0.113.0/24 expires=2026-12-01T00:00:00Z reason="credential stuffing"`, entry("203.0.113.0/24", "credential stuffing", december)},
		{"203.0.113.7\n", entry("203.0.113.7/32", "", time.Time{})},
		{"  \t203.0.113.7  \r\n", entry("203.0.113.7/32", "", time.Time{})},
		{"203.0.113.7/24", entry("203.0.113.0/24", "", time.Time{})}, // host bits
		{"2001:DB8::1/32", entry("2001:db8::/32", "", time.Time{})},
		{"2001:db8::1", entry("2001:db8::1/128", "", time.Time{})},
		{"::ffff:203.0.113.7", entry("203.0.113.7/32", "", time.Time{})},
		{"::ffff:203.0.113.7/120", entry("203.0.113.0/24", "", time.Time{})},
		{"0.0.0.0/0", entry("0.0.0.0/0", "", time.Time{})},
		{"1.2.3.4 # reason=\"x\" \"", entry("1.2.3.4/32", "", time.Time{})},
		{"1.2.3.4 reason=a#b # c", entry("1.2.3.4/32", "a#b", time.Time{})},
		{`1.2.3.4 reason="a # b"#c`, BadCitizen{}},
		{`1.2.3.4 reason="a # b" #c`, entry("1.2.3.4/32", "a # b", time.Time{})},
		{`1.2.3.4 reason=scan`, entry("1.2.3.4/32", "scan", time.Time{})},
		{`1.2.3.4 reason=""`, entry("1.2.3.4/32", "", time.Time{})},
		{`1.2.3.4 reason=`, entry("1.2.3.4/32", "", time.Time{})},
		{`1.2.3.4 reason="say \"hi\" \\ \u00fc \ud83d\ude00 \/"`, entry("1.2.3.4/32", `say "hi" \ ü 😀 /`, time.Time{})},
		{`1.2.3.4 reason="a\n\t\u0000b"`, entry("1.2.3.4/32", "a   b", time.Time{})},
		{"1.2.3.4 reason=\"a\tb\"", entry("1.2.3.4/32", "a b", time.Time{})},
		{`1.2.3.4 score=7 by="the \"fraud\" team" expires=2026-12-01T01:00:00+01:00`, entry("1.2.3.4/32", "", december)},
	} {
		got, ok, err := ParseBadCitizen(test.line)
		if !test.want.Prefix.IsValid() {
			if err == nil {
				t.Errorf("%q: %+v, want an error", test.line, got)
			}
			continue
		}
		if err != nil || !ok || got != test.want {
			t.Errorf("%q: %+v, %v, %v; want %+v", test.line, got, ok, err, test.want)
		}
	}
	for _, line := range []string{"", "\n", "\r\n", " \t ", "# 1.2.3.4", "  #"} {
		if got, ok, err := ParseBadCitizen(line); ok || err != nil {
			t.Errorf("%q: %+v, %v, want nothing", line, got, err)
		}
	}
	for _, test := range []struct{ line, says string }{
		{"1.2.3", "neither an IP address nor"},
		{"1.2.3.4/33", "neither an IP address nor"},
		{"1.2.3.4/", "neither an IP address nor"},
		{"1.2.3.4/08", "neither an IP address nor"},
		{"01.2.3.4", "neither an IP address nor"},
		{"1.2.3.4#c", "neither an IP address nor"},
		{"example.com", "neither an IP address nor"},
		{"fe80::1%eth0", "zone"},
		{"fe80::1%eth0/64", "neither an IP address nor"},
		{"::ffff:1.2.3.4/95", "/96"},
		{"1.2.3.4 expires=tomorrow", "RFC 3339"},
		{"1.2.3.4 expires=2026-12-01", "RFC 3339"},
		{"1.2.3.4 expires=", "RFC 3339"},
		{"1.2.3.4 expires=9999-12-31T23:59:59-01:00", "RFC 3339"},
		{"1.2.3.4 expires=0001-01-01T00:00:00Z", "RFC 3339"}, // would mean never
		{"1.2.3.4 expires=2026-12-01T00:00:00Z expires=2026-12-01T00:00:00Z", "twice"},
		{"1.2.3.4 x=1 x=2", "twice"},
		{"1.2.3.4 ; SBL256894", "key=value"},
		{"1.2.3.4 spammer", "key=value"},
		{"1.2.3.4 =x", "key=value"},
		{`1.2.3.4 "x"=y`, "key=value"},
		{`1.2.3.4 reason="x`, "does not close"},
		{`1.2.3.4 reason="x\"`, "does not close"},
		{`1.2.3.4 reason="x"y`, "space after"},
		{`1.2.3.4 reason="\x41"`, "JSON string"},
		{"1.2.3.4 reason=\xff", "UTF-8"},
	} {
		if got, ok, err := ParseBadCitizen(test.line); err == nil || ok || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%q: %+v, error %v; want one that says %q", test.line, got, err, test.says)
		}
	}
}

func TestDecodeBadCitizens(t *testing.T) {
	list, err := DecodeBadCitizens("fraud", []byte("# ours\r\n\r\n1.2.3.4 reason=a\r\n1.2.3\n5.6.0.0/16 reason=a\nx\n7.7.7.7"), 9)
	if err != nil {
		t.Fatal(err)
	}
	if list.Name != "fraud" || list.Zxid != 9 || list.Len() != 3 {
		t.Fatalf("%+v", list)
	}
	entries := slices.Collect(list.Entries())
	for i, prefix := range []string{"1.2.3.4/32", "5.6.0.0/16", "7.7.7.7/32"} {
		if e := entries[i]; e.Prefix.String() != prefix || e.List != "fraud" {
			t.Errorf("entry %d is %+v, want %s of fraud", i, e, prefix)
		}
	}
	if list.BadLines != 2 || len(list.LineErrors) != 2 || list.LineErrors[0].Line != 4 || list.LineErrors[1].Line != 6 {
		t.Errorf("bad lines %d: %v, want lines 4 and 6", list.BadLines, list.LineErrors)
	}
	if text := list.LineErrors[0].Error(); !strings.Contains(text, "line 4") || !strings.Contains(text, "1.2.3") {
		t.Errorf("%q names neither line nor address", text)
	}
}

// A list of many blocks counts its lines through all of them.
func TestDecodeManyLines(t *testing.T) {
	var text []byte
	for i := range 3000 {
		if i == 2000 || i == 2900 {
			text = append(text, "nonsense"...)
		}
		text = fmt.Appendf(text, "10.0.%d.%d\n", i>>8, i&255)
	}
	list, err := DecodeBadCitizens("l", text, 1)
	if err != nil || list.Len() != 2998 || list.BadLines != 2 || list.LineErrors[0].Line != 2001 || list.LineErrors[1].Line != 2901 {
		t.Errorf("%d entries, %d bad lines: %v, %v", list.Len(), list.BadLines, list.LineErrors, err)
	}
}

func TestDecodeBadCitizensThatAreNone(t *testing.T) {
	for _, data := range []string{"", "\n\n", "# nobody"} {
		if list, err := DecodeBadCitizens("l", []byte(data), 1); err != nil || list.Len() != 0 || list.BadLines != 0 {
			t.Errorf("%q: %+v, %v; want an empty list", data, list, err)
		}
	}
	for _, data := range []string{`{"open":true}`, "\x00\x01", "# a\n" + strings.Repeat("x\n", 1000)} {
		list, err := DecodeBadCitizens("l", []byte(data), 1)
		var decodeErr *DecodeError
		if !errors.As(err, &decodeErr) || !errors.Is(err, discovery.ErrBadData) || decodeErr.Name != "l" {
			t.Errorf("%.20q: error %v", data, err)
		}
		if list.BadLines == 0 || len(list.LineErrors) != min(list.BadLines, 100) {
			t.Errorf("%.20q: %d bad lines, %d errors kept", data, list.BadLines, len(list.LineErrors))
		}
	}
}

func FuzzParseBadCitizens(f *testing.F) {
	f.Add([]byte("# c\n203.0.113.0/24 expires=2026-12-01T00:00:00Z reason=\"credential stuffing\"\r\n"))
	f.Add([]byte("::ffff:1.2.3.4/120 reason=\"\\u00fc\\\\\\\"\" x=y\n2001:db8::/32 expires=2026-12-01T00:00:00.5+23:59"))
	f.Add([]byte(bom + "1.2.3.4\n"))
	f.Add([]byte("0.0.0.0/0\n::/0\n1.2.3.4 reason=a=\"b"))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := DecodeBadCitizens("l", data, 1)
		if err != nil && (list.Len() > 0 || !errors.Is(err, discovery.ErrBadData)) {
			t.Fatalf("%d entries and the error %v", list.Len(), err)
		}
		for e := range list.Entries() {
			switch {
			case !e.Prefix.IsValid() || e.Prefix != e.Prefix.Masked() || e.Prefix.Addr().Is4In6():
				t.Fatalf("prefix %v", e.Prefix)
			case strings.IndexFunc(e.Reason, unicode.IsControl) >= 0:
				t.Fatalf("reason %q", e.Reason)
			}
			if _, err := e.Expires.MarshalJSON(); err != nil {
				t.Fatalf("expires %v: %v", e.Expires, err)
			}
			// What is written is read as the same entry.
			line, err := e.AppendText(nil)
			if err != nil {
				t.Fatal(err)
			}
			again, ok, err := ParseBadCitizen(string(line))
			again.List = e.List
			if err != nil || !ok || again != e {
				t.Fatalf("%+v is written %q, read as %+v, %v, %v", e, line, again, ok, err)
			}
		}
		// The union of what fuzzing finds is sound as well.
		now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
		checkBlocklist(t, NewBlocklist(1, list), slices.Collect(list.Entries()), now)
	})
}

// checkBlocklist compares a blocklist with what follows from its entries, one
// after the other.
func checkBlocklist(t *testing.T, b *Blocklist, all []BadCitizen, now time.Time) {
	t.Helper()
	best := make(map[netip.Prefix]BadCitizen)
	var next time.Time
	for _, e := range all {
		if e.Expired(now) {
			continue
		}
		if other, ok := best[e.Prefix]; !ok || preferred(e, other) {
			best[e.Prefix] = e
		}
	}
	for _, e := range best {
		if !e.Expires.IsZero() && (next.IsZero() || e.Expires.Before(next)) {
			next = e.Expires
		}
	}
	entries := slices.Collect(b.Entries(now))
	if len(entries) != len(best) || b.Len(now) != len(best) {
		t.Fatalf("%d entries, Len %d, want %d", len(entries), b.Len(now), len(best))
	}
	for i, e := range entries {
		if e != best[e.Prefix] {
			t.Fatalf("entry %+v, want %+v", e, best[e.Prefix])
		}
		if i > 0 && entries[i-1].Prefix.Compare(e.Prefix) >= 0 {
			t.Fatalf("%v stands before %v", entries[i-1].Prefix, e.Prefix)
		}
		longest := BadCitizen{}
		for prefix, e2 := range best {
			if prefix.Contains(e.Prefix.Addr()) &&
				(!longest.Prefix.IsValid() || prefix.Bits() > longest.Prefix.Bits()) {
				longest = e2
			}
		}
		if got, ok := b.Lookup(e.Prefix.Addr(), now); !ok || got != longest {
			t.Fatalf("Lookup(%v) = %+v, %v, want %+v", e.Prefix.Addr(), got, ok, longest)
		}
	}
	if got, ok := b.NextExpiry(now); ok != !next.IsZero() || !got.Equal(next) {
		t.Fatalf("NextExpiry = %v, %v, want %v", got, ok, next)
	}
}

// preferred is the rule of Blocklist's comment.
func preferred(a, b BadCitizen) bool {
	switch {
	case a.Expires.IsZero() != b.Expires.IsZero():
		return a.Expires.IsZero()
	case !a.Expires.Equal(b.Expires):
		return a.Expires.After(b.Expires)
	case a.List != b.List:
		return a.List < b.List
	}
	return a.Reason < b.Reason
}

func BenchmarkDecodeBadCitizens(b *testing.B) {
	var data []byte
	n := 0
	for ; len(data) < 1<<20-100; n++ {
		data = fmt.Appendf(data, "%d.%d.%d.0/24 expires=2026-12-01T00:00:00Z reason=\"credential stuffing\"\n", n>>16, n>>8&255, n&255)
	}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		list, err := DecodeBadCitizens("l", data, 1)
		if err != nil || list.Len() != n {
			b.Fatal(list.Len(), err)
		}
	}
}

package httpapi

import (
	"iter"
	"net/netip"
	"strconv"
	"time"

	"magellan/internal/shops"
)

// badCitizensFormat is a value of the query parameter "format": the text before the
// entries, between them and behind them, and the text of each entry.
type badCitizensFormat struct {
	name                  string
	contentType           []string
	head, separator, tail string
	entry                 func(dst []byte, e *shops.BadCitizen) []byte
	// delta writes what has changed; nil if the format has no way to.
	delta func(dst []byte, d *badCitizensDelta) []byte
}

// badCitizensDelta is the difference between two versions of the list. removed and added
// are in the list's order. An entry that has changed is in both.
type badCitizensDelta struct {
	from, to       uint64 // their hashes
	removed, added []shops.BadCitizen
}

// badCitizensFormats are the formats; the first is the default.
var badCitizensFormats = [...]badCitizensFormat{
	{name: "json", contentType: contentJSON, head: `{"entries":[`, separator: ",", tail: "]}\n", entry: appendBadCitizen, delta: jsonDelta},
	{name: "text", contentType: contentText, entry: textEntry, delta: textDelta},
	{name: "nginx", contentType: contentText, entry: nginxEntry},
	{name: "ipset", contentType: contentText, head: ipsetHead, tail: ipsetTail, entry: ipsetEntry, delta: ipsetDelta},
}

// render writes a whole list. size is how many bytes it is expected to take.
func (f *badCitizensFormat) render(entries iter.Seq[shops.BadCitizen], size int) []byte {
	dst := append(make([]byte, 0, size), f.head...)
	first := true
	for e := range entries {
		if !first {
			dst = append(dst, f.separator...)
		}
		first = false
		dst = f.entry(dst, &e)
	}
	return append(dst, f.tail...)
}

// appendBadCitizen appends an entry. It leaves out reason and expires if the entry has none.
func appendBadCitizen(dst []byte, e *shops.BadCitizen) []byte {
	dst = append(dst, `{"prefix":"`...)
	dst = e.Prefix.AppendTo(dst)
	dst = appendString(append(dst, `","list":`...), e.List)
	if e.Reason != "" {
		dst = appendString(append(dst, `,"reason":`...), e.Reason)
	}
	if !e.Expires.IsZero() {
		dst = append(dst, `,"expires":"`...)
		dst = e.Expires.UTC().AppendFormat(dst, time.RFC3339Nano)
		dst = append(dst, '"')
	}
	return append(dst, '}')
}

func jsonDelta(dst []byte, d *badCitizensDelta) []byte {
	dst = appendHex64(append(dst, `{"from":"`...), d.from)
	dst = appendHex64(append(dst, `","to":"`...), d.to)
	dst = append(dst, `","removed":[`...)
	for i := range d.removed {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendBadCitizen(dst, &d.removed[i])
	}
	dst = append(dst, `],"added":[`...)
	for i := range d.added {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendBadCitizen(dst, &d.added[i])
	}
	return append(dst, "]}\n"...)
}

// textEntry writes an entry as a line of a list in ZooKeeper.
func textEntry(dst []byte, e *shops.BadCitizen) []byte {
	dst, _ = e.AppendText(dst)
	return append(dst, '\n')
}

// textDelta writes the removed lines, each behind a "-", and the added lines, each behind
// a "+". Its first line tells a delta from a list: no list begins like that.
func textDelta(dst []byte, d *badCitizensDelta) []byte {
	dst = appendHex64(append(dst, "# delta "...), d.from)
	dst = append(appendHex64(append(dst, ' '), d.to), '\n')
	for i := range d.removed {
		dst = textEntry(append(dst, '-'), &d.removed[i])
	}
	for i := range d.added {
		dst = textEntry(append(dst, '+'), &d.added[i])
	}
	return dst
}

// nginxEntry writes a line of a file for nginx's include.
func nginxEntry(dst []byte, e *shops.BadCitizen) []byte {
	return append(appendPrefix(append(dst, "deny "...), e.Prefix), ";\n"...)
}

// appendPrefix appends an address if the prefix is a single one, and CIDR otherwise.
func appendPrefix(dst []byte, p netip.Prefix) []byte {
	if p.IsSingleIP() {
		return p.Addr().AppendTo(dst)
	}
	return p.AppendTo(dst)
}

// The format ipset is a file for "ipset restore". The file fills new sets and swaps them
// with the old ones, so that the kernel never has half a list. It can be restored any
// number of times. A delta is such a file as well, and changes the existing sets.
//
// Entries get no timeout. A timeout is the number of seconds left, so the bytes and the
// ETag would change every second. The client fetches the list again instead.

// ipsetMaxElem is the most entries that one of our IP sets can have. It is the same in
// every file, because ipset refuses to create a set that exists with another maximum.
const ipsetMaxElem = 1 << 24

const ipset4, ipset6 = "magellan-bad-citizens-v4", "magellan-bad-citizens-v6"

var (
	ipsetHead = ipsetCreate(ipset4, "inet") + ipsetCreate(ipset6, "inet6")
	ipsetTail = ipsetSwap(ipset4) + ipsetSwap(ipset6)
)

func ipsetCreate(set, family string) (lines string) {
	for _, name := range []string{set, set + "-new"} {
		lines += "create " + name + " hash:net family " + family + " maxelem " + strconv.Itoa(ipsetMaxElem) + " -exist\n"
	}
	return lines + "flush " + set + "-new\n"
}

func ipsetSwap(set string) string {
	return "swap " + set + "-new " + set + "\ndestroy " + set + "-new\n"
}

func ipsetEntry(dst []byte, e *shops.BadCitizen) []byte {
	if e.Prefix.Bits() > 0 {
		return ipsetLine(dst, "add ", "-new ", e.Prefix)
	}
	// hash:net takes no /0, so two halves stand for all addresses.
	low, high := netip.MustParsePrefix("0.0.0.0/1"), netip.MustParsePrefix("128.0.0.0/1")
	if e.Prefix.Addr().Is6() {
		low, high = netip.MustParsePrefix("::/1"), netip.MustParsePrefix("8000::/1")
	}
	return ipsetLine(ipsetLine(dst, "add ", "-new ", low), "add ", "-new ", high)
}

func ipsetLine(dst []byte, command, suffix string, p netip.Prefix) []byte {
	set := ipset4
	if p.Addr().Is6() {
		set = ipset6
	}
	dst = append(append(append(dst, command...), set...), suffix...)
	return append(appendPrefix(dst, p), " -exist\n"...)
}

// ipsetDelta returns nil if a /0 or a /1 was added or removed. A /0 is in the set as two
// halves, so the set cannot tell whether a /1 that is removed still belongs to a /0.
func ipsetDelta(dst []byte, d *badCitizensDelta) []byte {
	for i, entries := range [...][]shops.BadCitizen{d.removed, d.added} {
		command := [...]string{"del ", "add "}[i]
		for _, e := range entries {
			if e.Prefix.Bits() <= 1 {
				return nil
			}
			dst = ipsetLine(dst, command, " ", e.Prefix)
		}
	}
	return dst
}

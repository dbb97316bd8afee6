package httpapi

import (
	"iter"
	"net/netip"
	"strconv"
	"time"

	"magellan/internal/shops"
)

// badCitizensFormat is a value of the query parameter "format": what stands before
// the entries, between them, and behind them, and each entry.
type badCitizensFormat struct {
	name                  string
	contentType           []string
	head, separator, tail string
	entry                 func(dst []byte, e *shops.BadCitizen) []byte
	// delta writes what has changed; nil if the format has no way to.
	delta func(dst []byte, d *badCitizensDelta) []byte
}

// badCitizensDelta is what makes one version of the list another. Both lists are
// ordered as the list is; an entry that has changed is in both.
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

// render writes all of a list. It is expected to take so many bytes.
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

// appendBadCitizen appends an entry; reason and expires are left out where it
// has none.
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

// textEntry writes a line as a list in ZooKeeper is made of.
func textEntry(dst []byte, e *shops.BadCitizen) []byte {
	dst, _ = e.AppendText(dst)
	return append(dst, '\n')
}

// textDelta writes lines that go, each behind a "-", and lines that come, each
// behind a "+". No list begins as its first line does.
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

// appendPrefix appends an address where the prefix is one, CIDR otherwise.
func appendPrefix(dst []byte, p netip.Prefix) []byte {
	if p.IsSingleIP() {
		return p.Addr().AppendTo(dst)
	}
	return p.AppendTo(dst)
}

// The format ipset is a file for "ipset restore". It fills new sets and swaps
// them with the old ones, so that the kernel never sees half a list, and can be
// restored again and again. A delta is such a file as well, for the sets that are
// there.
//
// Entries get no timeout: the seconds left are others in each second, and with
// them the bytes and the ETag. The list is to be fetched again instead.

// ipsetMaxElem is the most entries an IP set of ours can have. It is the same in
// every file: ipset refuses to create a set that exists with another one.
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
	// hash:net has no /0: everything is two halves.
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

// ipsetDelta returns nil where a half of everything has come or gone: the set has
// that for an entry /0 as well, so it is not told whether it is to stay.
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

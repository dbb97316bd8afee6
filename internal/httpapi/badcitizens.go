package httpapi

import (
	"fmt"
	"iter"
	"net/netip"
	"strconv"
	"time"

	"magellan/internal/discovery"
)

// badCitizensFormat is a value of the query parameter "format".
type badCitizensFormat struct {
	name        string
	contentType []string
	render      func(entries iter.Seq[discovery.BadCitizen]) []byte
}

// badCitizensFormats are the formats; the first is the default.
var badCitizensFormats = [...]badCitizensFormat{
	{"json", contentJSON, renderJSON},
	{"text", contentText, renderText},
	{"nginx", contentText, renderNginx},
	{"ipset", contentText, renderIPSet},
}

// badCitizensKey stands for what is left of a list at some time: entries leave in
// the order of their expiries, so that their number tells which are there.
type badCitizensKey struct {
	list *discovery.Blocklist
	live int
}

// getBadCitizens answers GET /v1/bad-citizens.
func (s *Server) getBadCitizens(x *exchange) error {
	format, err := x.badCitizensFormat()
	if err != nil {
		return err
	}
	if x.depends != nil {
		x.depends.on(discovery.BlocklistTopic())
	}
	answer, meta, err := s.service.BadCitizens(x.ctx, x.readOptions())
	if err != nil {
		return x.failWith(meta, err)
	}
	list, now := answer.Blocklist, answer.Now
	if x.depends != nil {
		if at, ok := list.NextExpiry(now); ok {
			x.depends.expires(at, now)
		}
	}
	rendered := s.badCitizens.get(badCitizensKey{list, list.Len(now)}, format,
		func() []byte { return badCitizensFormats[format].render(list.Entries(now)) })
	x.setMeta(meta)
	return x.sendKept(badCitizensFormats[format].contentType, rendered)
}

// badCitizensFormat returns the index of the format asked for.
func (x *exchange) badCitizensFormat() (int, error) {
	if x.r.URL.RawQuery == "" {
		return 0, nil
	}
	values, err := x.query("format")
	if err != nil {
		return 0, err
	}
	name, err := single(values, "format")
	if err != nil || !values.Has("format") {
		return 0, err
	}
	for i := range badCitizensFormats {
		if badCitizensFormats[i].name == name {
			return i, nil
		}
	}
	return 0, badRequest(fmt.Sprintf("format %q is none of json, text, nginx, ipset", name))
}

func renderJSON(entries iter.Seq[discovery.BadCitizen]) []byte {
	dst := []byte(`{"entries":[`)
	comma := false
	for entry := range entries {
		if comma {
			dst = append(dst, ',')
		}
		comma = true
		dst = appendBadCitizen(dst, &entry)
	}
	return append(dst, "]}\n"...)
}

// appendBadCitizen appends an entry; reason and expires are left out where it
// has none.
func appendBadCitizen(dst []byte, e *discovery.BadCitizen) []byte {
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

// renderText writes the lines that a list in ZooKeeper is made of.
func renderText(entries iter.Seq[discovery.BadCitizen]) []byte {
	dst := []byte{}
	for entry := range entries {
		dst, _ = entry.AppendText(dst)
		dst = append(dst, '\n')
	}
	return dst
}

// renderNginx writes a file for nginx's include.
func renderNginx(entries iter.Seq[discovery.BadCitizen]) []byte {
	dst := []byte{}
	for entry := range entries {
		dst = append(dst, "deny "...)
		dst = appendPrefix(dst, entry.Prefix)
		dst = append(dst, ";\n"...)
	}
	return dst
}

// appendPrefix appends an address where the prefix is one, CIDR otherwise.
func appendPrefix(dst []byte, p netip.Prefix) []byte {
	if p.IsSingleIP() {
		return p.Addr().AppendTo(dst)
	}
	return p.AppendTo(dst)
}

// ipsetMaxElem is the most entries an IP set of ours can have. It is the same in
// every file: ipset refuses to create a set that exists with another one.
const ipsetMaxElem = 1 << 24

// renderIPSet writes a file for "ipset restore". It fills new sets and swaps
// them with the old ones, so that the kernel never sees half a list, and can be
// restored again and again.
//
// Entries get no timeout: the seconds left are others in each second, and with
// them the bytes and the ETag. The list is to be fetched again instead.
func renderIPSet(entries iter.Seq[discovery.BadCitizen]) []byte {
	dst := []byte{}
	sets := [...]struct{ name, family string }{{"magellan-bad-citizens-v4", "inet"}, {"magellan-bad-citizens-v6", "inet6"}}
	for _, set := range sets {
		for _, name := range []string{set.name, set.name + "-new"} {
			dst = append(dst, "create "+name+" hash:net family "+set.family+" maxelem "...)
			dst = strconv.AppendInt(dst, ipsetMaxElem, 10)
			dst = append(dst, " -exist\n"...)
		}
		dst = append(dst, "flush "+set.name+"-new\n"...)
	}
	add := func(p netip.Prefix) {
		set := &sets[0]
		if p.Addr().Is6() {
			set = &sets[1]
		}
		dst = append(dst, "add "...)
		dst = append(dst, set.name...)
		dst = append(dst, "-new "...)
		dst = appendPrefix(dst, p)
		dst = append(dst, " -exist\n"...)
	}
	for entry := range entries {
		if p := entry.Prefix; p.Bits() > 0 {
			add(p)
			continue
		}
		// hash:net has no /0: everything is two halves.
		low, high := netip.MustParsePrefix("0.0.0.0/1"), netip.MustParsePrefix("128.0.0.0/1")
		if entry.Prefix.Addr().Is6() {
			low, high = netip.MustParsePrefix("::/1"), netip.MustParsePrefix("8000::/1")
		}
		add(low)
		add(high)
	}
	for _, set := range sets {
		dst = append(dst, "swap "+set.name+"-new "+set.name+"\ndestroy "+set.name+"-new\n"...)
	}
	return dst
}

// getBadCitizen answers GET /v1/bad-citizens/{ip}.
func (s *Server) getBadCitizen(x *exchange) error {
	ip, err := x.param()
	if err != nil {
		return err
	}
	if x.depends != nil {
		x.depends.on(discovery.BlocklistTopic())
	}
	answer, meta, err := s.service.BadCitizen(x.ctx, ip, x.readOptions())
	if err != nil {
		return x.failWith(meta, err)
	}
	if x.depends != nil && !answer.Entry.Expires.IsZero() {
		x.depends.expires(answer.Entry.Expires, answer.Now)
	}
	dst := append(x.body[:0], `{"ip":"`...)
	dst = answer.Addr.AppendTo(dst)
	dst = strconv.AppendBool(append(dst, `","listed":`...), answer.Listed)
	if answer.Listed {
		dst = appendBadCitizen(append(dst, `,"entry":`...), &answer.Entry)
	}
	x.body = append(dst, "}\n"...)
	return x.answer(meta, contentJSON, x.body)
}

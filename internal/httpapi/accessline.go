package httpapi

import (
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// access is one line of the access log.
type access struct {
	time                                     time.Time // of the request
	took                                     time.Duration
	remote                                   string // address and port of the connection
	client                                   string // the address that the request came from, as far as known
	method, uri, proto                       string // empty if it was no HTTP
	status                                   int
	bytes                                    int64 // of the body, as it was sent
	referer, userAgent, requestID, cache, to string
}

// logAccess adds a line about a request that has ended.
func (x *exchange) logAccess(took time.Duration) {
	log := x.server.access
	header := x.w.Header()
	localAddr, _ := x.r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	a := access{
		time: x.start, took: took, remote: x.r.RemoteAddr, client: x.server.proxies.client(isUnix(localAddr), x.r.RemoteAddr, x.r.Header),
		method: x.r.Method, uri: x.r.RequestURI, proto: x.r.Proto, status: x.status, bytes: x.bytes,
		referer: first(x.r.Header["Referer"]), userAgent: first(x.r.Header["User-Agent"]),
		requestID: first(header["X-Request-Id"]), cache: first(header["X-Cache"]), to: x.route.path,
	}
	x.line = a.append(x.line[:0], log.format)
	log.add(x.line)
	if cap(x.line) > maxKeptBody {
		x.line = nil
	}
}

// first returns the first value of a header, "" if there is none.
func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

func (a *access) append(dst []byte, format AccessFormat) []byte {
	if format == AccessCombined {
		return a.appendCombined(dst)
	}
	return a.appendJSON(dst)
}

// appendJSON leaves out empty members, except for those that every line has.
func (a *access) appendJSON(dst []byte) []byte {
	dst = append(dst, `{"time":"`...)
	dst = a.time.UTC().AppendFormat(dst, "2006-01-02T15:04:05.000000Z07:00")
	dst = appendString(append(dst, `","client":`...), a.client)
	dst = appendString(append(dst, `,"remote":`...), a.remote)
	dst = strconv.AppendInt(append(dst, `,"status":`...), int64(a.status), 10)
	dst = strconv.AppendInt(append(dst, `,"bytes":`...), a.bytes, 10)
	dst = strconv.AppendFloat(append(dst, `,"seconds":`...), a.took.Seconds(), 'f', 6, 64)
	for _, m := range [...]struct{ name, value string }{
		{"method", a.method}, {"uri", a.uri}, {"proto", a.proto}, {"route", a.to}, {"cache", a.cache},
		{"request_id", a.requestID}, {"referer", a.referer}, {"user_agent", a.userAgent},
	} {
		if m.value != "" {
			dst = append(append(append(dst, `,"`...), m.name...), `":`...)
			dst = appendString(dst, m.value)
		}
	}
	return append(dst, "}\n"...)
}

func (a *access) appendCombined(dst []byte) []byte {
	dst = appendEscaped(dst, a.client)
	dst = a.time.AppendFormat(append(dst, " - - ["...), "02/Jan/2006:15:04:05 -0700")
	dst = append(dst, `] "`...)
	if a.method == "" {
		dst = append(dst, '-')
	} else {
		dst = appendEscaped(dst, a.method)
		dst = appendEscaped(append(dst, ' '), a.uri)
		dst = appendEscaped(append(dst, ' '), a.proto)
	}
	dst = strconv.AppendInt(append(dst, `" `...), int64(a.status), 10)
	dst = append(dst, ' ')
	if a.bytes == 0 {
		dst = append(dst, '-')
	} else {
		dst = strconv.AppendInt(dst, a.bytes, 10)
	}
	for _, s := range [...]string{a.referer, a.userAgent} {
		dst = append(dst, ` "`...)
		if s == "" {
			dst = append(dst, '-')
		}
		dst = append(appendEscaped(dst, s), '"')
	}
	return append(dst, '\n')
}

// appendEscaped appends text as Apache does between quotes. So nothing that a client
// sends can end a field or a line, or control a terminal.
func appendEscaped(dst []byte, s string) []byte {
	const digits = "0123456789abcdef"
	for _, c := range []byte(s) {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20 || c >= 0x7f:
			dst = append(dst, '\\', 'x', digits[c>>4], digits[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// proxies are the trusted proxies: if one of them names the address that a request came
// from, that address is logged.
type proxies struct {
	prefixes []netip.Prefix
	unix     bool // everybody who connects to a unix socket is a trusted proxy
}

func (p proxies) has(addr netip.Addr) bool {
	for _, prefix := range p.prefixes {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// unixClient is what stands for the address of a unix socket's peer, as in nginx's logs.
// The peer's own name of its end is not used: it can be any text, such as 192.0.2.1:80.
const unixClient = "unix:"

func isUnix(addr net.Addr) bool { return addr != nil && addr.Network() == "unix" }

// client returns the address that a request with this header came from. That is the
// address of the connection's peer (remote), unless the peer is a trusted proxy. A
// trusted proxy names the address in the header: the last one that is not a trusted
// proxy's itself counts, as anybody could have written those before it. unix: the
// connection came by a unix socket.
//
// A proxy writes X-Forwarded-For or Forwarded (RFC 7239), and may pass on the other of
// the two as a client wrote it. So if a request has both and they differ, neither counts.
func (p proxies) client(unix bool, remote string, header http.Header) string {
	var addr netip.Addr // stays the zero one for a unix socket
	if !unix {
		peer, err := netip.ParseAddrPort(remote)
		if err != nil {
			return remote
		}
		addr = peer.Addr().Unmap()
	}
	if trusted := unix && p.unix || !unix && p.has(addr); trusted {
		addr = p.named(addr, header)
	}
	if !addr.IsValid() {
		return unixClient
	}
	return addr.String()
}

// named returns the address that a trusted proxy names, its own addr if it names none.
func (p proxies) named(addr netip.Addr, header http.Header) netip.Addr {
	plain, standard := header["X-Forwarded-For"], header["Forwarded"]
	byPlain, byStandard := p.last(addr, plain, parseForwardedAddr), p.last(addr, standard, parseForwardedFor)
	switch {
	case standard == nil:
		addr = byPlain
	case plain == nil || byPlain == byStandard:
		addr = byStandard
	}
	return addr
}

// last goes through a list of addresses from its end, for as long as they belong to
// trusted proxies that passed the request on. It returns the first address that does not.
// If it meets something that is no address, it returns the address after that.
func (p proxies) last(addr netip.Addr, values []string, parse func(string) (netip.Addr, bool)) netip.Addr {
	for i := len(values) - 1; i >= 0; i-- {
		for rest := values[i]; ; {
			comma, ok := lastOutside(rest, ',')
			if !ok {
				return addr
			}
			next, ok := parse(trimBlanks(rest[comma+1:]))
			if !ok {
				return addr
			}
			if addr = next; !p.has(addr) {
				return addr
			}
			if comma < 0 {
				break
			}
			rest = rest[:comma]
		}
	}
	return addr
}

// lastOutside returns the index of the last sep in s that is not in a quoted string, -1 if
// there is none. Separators in quoted strings do not count because a proxy writes between
// quotes what a client has sent. ok is false if a quote behind that index has no
// counterpart.
//
// The search begins at the end, where the nearest proxy writes. So a client that opens a
// quote further in front cannot make the proxy's own text part of a quoted string.
func lastOutside(s string, sep byte) (at int, ok bool) {
	quoted := false
	for i := len(s) - 1; i >= 0; i-- {
		switch c := s[i]; {
		case c == sep && !quoted:
			return i, true
		case c != '"':
		case !escaped(s[:i]):
			quoted = !quoted
		case !quoted:
			return -1, false // it ends no string
		}
	}
	return -1, !quoted
}

// escaped reports whether a byte that follows s in a quoted string is escaped by a
// backslash at the end of s.
func escaped(s string) bool {
	return (len(s)-len(strings.TrimRight(s, `\`)))%2 == 1
}

// parseForwardedAddr reads an address, with or without a port.
func parseForwardedAddr(s string) (netip.Addr, bool) {
	if addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")); err == nil {
		return addr.Unmap(), addr.Zone() == ""
	}
	addr, err := netip.ParseAddrPort(s)
	return addr.Addr().Unmap(), err == nil && addr.Addr().Zone() == ""
}

// parseForwardedFor reads the address in an element of the header Forwarded. An element
// has at most one.
func parseForwardedFor(s string) (addr netip.Addr, ok bool) {
	for more := true; more; {
		at, balanced := lastOutside(s, ';')
		name, value, _ := strings.Cut(trimBlanks(s[at+1:]), "=")
		switch is := strings.EqualFold(name, "for"); {
		case !balanced, is && ok:
			return netip.Addr{}, false
		case is:
			if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
				value = value[1 : n-1]
			}
			if addr, ok = parseForwardedAddr(value); !ok {
				return netip.Addr{}, false
			}
		}
		if more = at >= 0; more {
			s = s[:at]
		}
	}
	return addr, ok
}

package httpapi

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"

	"magellan/internal/services"
)

// serviceFormat is a value of the query parameter "format" of a service.
type serviceFormat struct {
	name        string
	contentType []string
	// takes: an instance with this status is in the answer, unless the client asks for
	// statuses. nil takes all.
	takes func(services.Status) bool
	// render writes the instances that are wanted.
	render func(dst []byte, instances []wantedInstance) []byte
}

// wantedInstance is an instance with the service that it is of.
type wantedInstance struct {
	of *services.Service
	*services.Member
}

var contentCSV = []string{"text/csv; charset=utf-8; header=present"}

// serviceFormats are the formats besides JSON, which is the default.
var serviceFormats = [...]serviceFormat{
	{name: "text", contentType: contentText, takes: isUp, render: eachInstance(textInstance)},
	{name: "nginx", contentType: contentText, render: nginxUpstream},
	{name: "haproxy", contentType: contentText, render: haproxyServers},
	{name: "csv", contentType: contentCSV, render: csvTable},
}

func isUp(s services.Status) bool { return s == services.Up }

// serviceFormatNamed returns a format, nil for JSON.
func serviceFormatNamed(q *question) (*serviceFormat, error) {
	name, err := q.single("format")
	if err != nil || !q.query.Has("format") || name == "json" {
		return nil, err
	}
	for i := range serviceFormats {
		if serviceFormats[i].name == name {
			return &serviceFormats[i], nil
		}
	}
	return nil, badRequest(fmt.Sprintf("format %q is none of json, text, nginx, haproxy, csv", name))
}

// compose answers with the instances in the format.
func (f *serviceFormat) compose(a *answer, found services.Answer, filter *instanceFilter) {
	var wanted []wantedInstance
	for s := range found.All {
		for i := range s.Members {
			m := &s.Members[i]
			if filter.takes(m.Instance) && (f.takes == nil || filter.hasStatuses() || f.takes(m.Status)) {
				wanted = append(wanted, wantedInstance{s, m})
			}
		}
	}
	a.compose(f.contentType, f.render(a.buf[:0], wanted))
}

// eachInstance renders a line for each instance.
func eachInstance(line func(dst []byte, w wantedInstance) []byte) func([]byte, []wantedInstance) []byte {
	return func(dst []byte, all []wantedInstance) []byte {
		for _, w := range all {
			dst = line(dst, w)
		}
		return dst
	}
}

// textInstance writes an address as clients take it: HOST:PORT, with IPv6 in brackets. Without a
// port it is the bare host.
func textInstance(dst []byte, w wantedInstance) []byte {
	return append(appendHostPort(dst, w.Main()), '\n')
}

func appendHostPort(dst []byte, e services.Endpoint) []byte {
	if strings.Contains(e.Host, ":") && e.Port != 0 {
		dst = append(append(append(dst, '['), e.Host...), ']')
	} else {
		dst = append(dst, e.Host...)
	}
	if e.Port != 0 {
		dst = strconv.AppendUint(append(dst, ':'), uint64(e.Port), 10)
	}
	return dst
}

// nginxNobody is what an upstream has if there is no instance: nginx refuses to start with an
// upstream that has no server.
const nginxNobody = "server 127.0.0.1:1 down;\n"

// nginxUpstream writes the lines of an upstream block, for nginx's include. An instance that takes
// no requests is there as down, so that the hashing of others does not move. nginx does not start
// with a name that does not resolve, so that instances with names are left out.
func nginxUpstream(dst []byte, all []wantedInstance) []byte {
	any := false
	for _, w := range all {
		e := w.Main()
		if _, err := netip.ParseAddr(e.Host); err != nil {
			dst = append(dst, "# left out, because a name that does not resolve stops nginx: "...)
			dst = append(strconv.AppendQuoteToASCII(dst, e.Host), '\n')
			continue
		}
		dst = appendAuthority(append(dst, "server "...), e)
		any = true
		weight, down := wholeWeight(w.Instance), w.Status != services.Up
		switch {
		case down || weight == 0:
			dst = append(dst, " down"...)
		case weight != 1:
			dst = strconv.AppendInt(append(dst, " weight="...), int64(weight), 10)
		}
		dst = append(dst, ";\n"...)
	}
	if !any {
		dst = append(dst, nginxNobody...)
	}
	return dst
}

// appendAuthority appends HOST:PORT, in which an IPv6 address has brackets also if there is no port.
func appendAuthority(dst []byte, e services.Endpoint) []byte {
	if strings.Contains(e.Host, ":") && e.Port == 0 {
		return append(append(append(dst, '['), e.Host...), ']')
	}
	return appendHostPort(dst, e)
}

// wholeWeight is the weight as a whole number, at most 65,535. 0 is only for an instance whose
// record has no weight above 0.
func wholeWeight(i *services.Instance) int {
	switch {
	case !i.Weighted:
		return 1
	case !(i.Weight > 0): // or not a number
		return 0
	default:
		return int(max(1, math.Round(min(i.Weight, 65535))))
	}
}

// maxHAProxyWeight is the greatest weight of a server of HAProxy.
const maxHAProxyWeight = 256

// haproxyServers writes the server lines of a backend section. The names of servers are made of
// the instances' IDs, and each is there once. An instance that takes no requests is disabled.
// init-addr none has HAProxy start although a name does not resolve. TLS is left to a
// default-server line, because "ssl" without the file of an authority stops HAProxy.
func haproxyServers(dst []byte, all []wantedInstance) []byte {
	taken := map[string]bool{}
	for _, w := range all {
		e := w.Main()
		dst = append(append(append(dst, "server "...), haproxyName(taken, w.ID)...), ' ')
		dst = appendAuthority(dst, e)
		if w.Weighted {
			dst = strconv.AppendInt(append(dst, " weight "...), int64(min(wholeWeight(w.Instance), maxHAProxyWeight)), 10)
		}
		if w.Status != services.Up {
			dst = append(dst, " disabled"...)
		}
		if _, err := netip.ParseAddr(e.Host); err != nil {
			dst = append(dst, " init-addr last,libc,none"...)
		}
		dst = append(dst, '\n')
	}
	return dst
}

// haproxyName makes a name of an ID of the characters that HAProxy allows in one. If the name is
// taken, a number is appended.
func haproxyName(taken map[string]bool, id string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '_', r == '.', r == ':':
			return r
		}
		return '_'
	}, id)
	unique := name
	for n := 2; taken[unique]; n++ {
		unique = name + "_" + strconv.Itoa(n)
	}
	taken[unique] = true
	return unique
}

const csvHeader = "service,id,address,port,tls,status,weight,zone,tags,mount,znode\r\n"

// csvTable writes a table as RFC 4180 has it. Tags are separated by spaces.
func csvTable(dst []byte, all []wantedInstance) []byte {
	dst = append(dst, csvHeader...)
	for _, w := range all {
		e := w.Main()
		dst = append(appendCSV(dst, w.of.Name), ',')
		dst = append(appendCSV(dst, w.ID), ',')
		dst = append(appendCSV(dst, e.Host), ',')
		if e.Port != 0 {
			dst = strconv.AppendUint(dst, uint64(e.Port), 10)
		}
		dst = append(strconv.AppendBool(append(dst, ','), e.TLS), ',')
		dst = append(append(dst, w.Status.String()...), ',')
		if w.Weighted {
			dst = appendFloat(dst, w.Weight)
		}
		dst = append(appendCSV(append(dst, ','), w.Zone), ',')
		dst = append(appendCSV(dst, strings.Join(w.Tags, " ")), ',')
		dst = append(appendCSV(dst, w.of.Mount.Path), ',')
		dst = append(appendCSV(dst, w.of.Znode(w.Member)), "\r\n"...)
	}
	return dst
}

// appendCSV appends a field, in quotes if it needs them.
func appendCSV(dst []byte, s string) []byte {
	if !strings.ContainsAny(s, "\",\r\n") {
		return append(dst, s...)
	}
	dst = append(dst, '"')
	dst = append(dst, strings.ReplaceAll(s, `"`, `""`)...)
	return append(dst, '"')
}

package services

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// plain is the layout of home-made registrations, for which there is no common source. A
// znode's bytes are one of these:
//
//   - an address: HOST:PORT, [IPv6]:PORT, HOST, IPv6, http://HOST:PORT or https://HOST:PORT;
//   - a JSON object with the field host, address or ip, and mostly the field port. The field
//     weight is the instance's weight, and all other fields become metadata;
//   - a JSON array of such addresses and objects, each of which is an instance.
//
// If the znode has no bytes, its name is the address. Then it has to be HOST:PORT or an IP
// address, because the name of a directory could be that of a host.
var plain = Layout{
	Name:    "plain",
	Summary: "home-made registrations: HOST:PORT, or JSON with a host and a port",
	Decode:  decodePlain,
	Typical: typicalPlain,
}

// plainHosts are the names that the field of the host may have. The first of them that is
// there is used.
var plainHosts = []string{"host", "address", "ip"}

// typicalPlain: each instance has a port, and a host that is no number, as the one of 12:30 is.
func typicalPlain(_ Znode, r Record) bool {
	for i := range r.Instances {
		e := r.Instances[i].Main()
		if _, err := netip.ParseAddr(e.Host); e.Port == 0 || err != nil && onlyDigitsAndDots(e.Host) {
			return false
		}
	}
	return len(r.Instances) > 0
}

func decodePlain(z Znode) (Record, error) {
	if len(z.Data) == 0 {
		return decodePlainName(z)
	}
	text, err := recordText(z.Data)
	if err != nil {
		return Record{}, err
	}
	switch c := text[0]; {
	case c == '{', c == '"', c == '[' && !isIPv6(text): // an IPv6 address in brackets is not JSON
		return decodePlainJSON(z, text)
	case !onlyDigitsAndDots(text) && isJSON(text): // null, true, false or a number
		return Record{}, errors.New("neither an address nor a JSON object or array")
	}
	e, err := parseAddress(text)
	if err != nil {
		return Record{}, err
	}
	return oneInstance(z, z.Name, Instance{Endpoints: []Endpoint{e}}, nil)
}

func decodePlainJSON(z Znode, text string) (Record, error) {
	d, err := parseJSON(text)
	if err != nil {
		return Record{}, err
	}
	defer d.free()
	if d.root().kind() == '[' {
		return decodePlainList(z, d.root())
	}
	i, m, err := plainInstance(d.root())
	if err != nil {
		return Record{}, err
	}
	return oneInstance(z, z.Name, i, m)
}

// isIPv6 is true for [IPv6] and what follows it.
func isIPv6(text string) bool {
	inside, _, found := strings.Cut(text[1:min(len(text), 64)], "]")
	_, err := netip.ParseAddr(inside)
	return found && err == nil
}

// decodePlainName reads the name of a znode that has no bytes.
func decodePlainName(z Znode) (Record, error) {
	e, err := parseHostPort(z.Name)
	if err != nil {
		return Record{}, err
	}
	if _, err := netip.ParseAddr(e.Host); err != nil && e.Port == 0 {
		return Record{}, errors.New("the znode holds no data, and its name is neither HOST:PORT nor an IP address")
	}
	return oneInstance(z, z.Name, Instance{Endpoints: []Endpoint{e}}, nil)
}

// decodePlainList reads an array. An instance's ID is the znode's name and its address, which
// does not change if the order of the array does. Of two equal addresses the first counts.
// An empty array is a record without an instance.
func decodePlainList(z Znode, list value) (Record, error) {
	count := 0
	for e := list.elements(); e.more(); {
		count++
	}
	if count > maxEndpoints {
		return Record{}, fmt.Errorf("the array has %d elements, more than %d", count, maxEndpoints)
	}
	seen := make(map[Endpoint]bool, count)
	var instances []Instance
	element := 0
	for e := list.elements(); e.more(); {
		element++
		i, m, err := plainInstance(e.value)
		if err == nil && !seen[i.Main()] {
			seen[i.Main()] = true
			if err = completeInstance(z, plainID(z.Name, i.Main()), &i, m); err == nil {
				instances = append(instances, i)
			}
		}
		if err != nil {
			return Record{}, fmt.Errorf("element %d: %w", element, err)
		}
	}
	return Record{Instances: exact(instances)}, nil
}

func plainID(name string, e Endpoint) string {
	if e.TLS {
		return name + "/https://" + hostPort(e)
	}
	return name + "/" + hostPort(e)
}

// plainInstance reads a JSON string or object.
func plainInstance(v value) (i Instance, m metadata, err error) {
	var e Endpoint
	switch v.kind() {
	case '"':
		if e, err = parseAddress(v.text()); err != nil {
			return i, nil, err
		}
		i.Endpoints = []Endpoint{e}
		return i, nil, nil
	case '{':
	case 'n':
		return i, nil, errors.New("neither an address nor a JSON object")
	default:
		return i, nil, errors.New("not a JSON object")
	}
	f := v.fields()
	key := plainHosts[0]
	for _, k := range plainHosts {
		if f.has(k) {
			key = k
			break
		}
	}
	if e, err = f.endpoint(key, "port"); err != nil {
		return i, nil, err
	}
	i.Endpoints = []Endpoint{e}
	i.Weight, i.Weighted = f.weight("weight")
	m = room(f, 0)
	m.addAll(f, key, "port")
	return i, m, nil
}

// parseAddress parses an address, which may be that of a URL.
func parseAddress(s string) (Endpoint, error) {
	s = strings.TrimSpace(s)
	scheme, rest, found := strings.Cut(s, "://")
	if !found {
		return parseHostPort(s)
	}
	tls := strings.EqualFold(scheme, "https")
	if !tls && !strings.EqualFold(scheme, "http") {
		return Endpoint{}, fmt.Errorf("%s is neither http nor https", quote(scheme))
	}
	authority, _, _ := strings.Cut(rest, "/")
	e, err := parseHostPort(authority)
	if err != nil {
		return Endpoint{}, err
	}
	e.TLS = tls
	switch {
	case e.Port == 0 && tls:
		e.Port = 443
	case e.Port == 0:
		e.Port = 80
	}
	return e, nil
}

package services

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxHostBytes is the greatest length of the name of a host. DNS allows no longer ones.
const maxHostBytes = 253

// parseHost returns a host as an [Endpoint] has it. An IP address may have brackets. Its
// canonical form is that of [netip.Addr], and an IPv4 address in IPv6 form becomes an IPv4
// address.
//
// All else has to look like the name of a host, because other programs copy the name into
// their configuration: it has only letters, digits, "-", "_" and ".".
func parseHost(s string) (string, error) {
	if s == "" {
		return "", errors.New("the host is empty")
	}
	inside, bracket := strings.CutPrefix(s, "[")
	if bracket {
		var closed bool
		if inside, closed = strings.CutSuffix(inside, "]"); !closed || !strings.Contains(inside, ":") {
			return "", fmt.Errorf("%s is no IPv6 address in brackets", quote(s))
		}
	}
	if bracket || strings.Contains(s, ":") || onlyDigitsAndDots(s) {
		addr, err := netip.ParseAddr(inside)
		if err != nil {
			return "", fmt.Errorf("%s is no IP address", quote(s))
		}
		if addr.Zone() != "" {
			return "", fmt.Errorf("the address %s has a zone, which only its own machine can use", quote(s))
		}
		if addr.Is4() {
			return inside, nil // no other text is accepted for it
		}
		return addr.Unmap().String(), nil
	}
	if len(s) > maxHostBytes {
		return "", fmt.Errorf("the name of the host has %d bytes, more than %d", len(s), maxHostBytes)
	}
	if s[0] == '-' || s[0] == '.' || strings.Contains(s, "..") {
		return "", fmt.Errorf("%s is no name of a host", quote(s))
	}
	for i, r := range s {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '_', r == '.':
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], string(utf8.RuneError)):
			return "", errors.New("the name of the host is not valid UTF-8")
		case r < utf8.RuneSelf || !unicode.In(r, unicode.L, unicode.M, unicode.Nd):
			return "", fmt.Errorf("%s is no name of a host: it has the character %U", quote(s), r)
		}
	}
	return s, nil
}

// onlyDigitsAndDots is true for what can only be an IPv4 address, if it is anything.
func onlyDigitsAndDots(s string) bool {
	for i := range len(s) {
		if c := s[i]; c != '.' && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// parsePort returns a port that is written in decimal. It returns 0 for "", "0" and "-1",
// with which records say that there is no port.
func parsePort(s string) (uint16, error) {
	if s == "" || s == "-1" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%s is no port: want a number from 0 to 65535", quote(s))
	}
	return uint16(n), nil
}

// parseHostPort parses HOST, HOST:PORT, [IPv6]:PORT and [IPv6]. Two colons and more without
// brackets are an IPv6 address without a port.
func parseHostPort(s string) (Endpoint, error) {
	if strings.HasPrefix(s, "[") || strings.Count(s, ":") == 1 {
		return parseHostColonPort(s)
	}
	host, err := parseHost(s)
	return Endpoint{Host: host}, err
}

// parseHostColonPort is as parseHostPort, but the last colon always precedes the port, as in
// 2001:db8::1:9092. Some programs write IPv6 addresses so.
func parseHostColonPort(s string) (Endpoint, error) {
	host, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		if host, port = s[:i], s[i+1:]; port == "" {
			return Endpoint{}, fmt.Errorf("%s has no port after its colon", quote(s))
		}
	}
	e := Endpoint{}
	var err error
	if e.Host, err = parseHost(host); err != nil {
		return Endpoint{}, err
	}
	if e.Port, err = parsePort(port); err != nil {
		return Endpoint{}, err
	}
	return e, nil
}

// hostPort is the inverse of parseHostPort.
func hostPort(e Endpoint) string {
	host := e.Host
	if e.Port == 0 {
		return host
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(int(e.Port))
}

// quote quotes a part of a record for an error, of which the end is left out if it is long.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		return strconv.Quote(s[:most]) + "..."
	}
	return strconv.Quote(s)
}

package shops

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// BadCitizen is one entry of a bad-citizen list: addresses that must not be served.
type BadCitizen struct {
	// Prefix is masked, and is never an IPv4-mapped IPv6 prefix. The prefix of a single
	// address has as many bits as the address.
	Prefix netip.Prefix
	// List is the name of the list that has the entry.
	List string
	// Reason says, on one line, why the addresses are listed. It may be empty.
	Reason string
	// Expires is when the entry expires. It is zero if the entry never does.
	Expires time.Time
}

// AppendText appends the entry as a line that [ParseBadCitizen] reads, without the
// newline. The error is always nil.
func (b BadCitizen) AppendText(dst []byte) ([]byte, error) {
	if b.Prefix.IsSingleIP() {
		dst = b.Prefix.Addr().AppendTo(dst)
	} else {
		dst = b.Prefix.AppendTo(dst)
	}
	if !b.Expires.IsZero() {
		dst = append(dst, " expires="...)
		dst = b.Expires.UTC().AppendFormat(dst, time.RFC3339Nano)
	}
	if b.Reason != "" {
		dst = append(dst, ` reason="`...)
		for i := range len(b.Reason) {
			if c := b.Reason[i]; c == '"' || c == '\\' {
				dst = append(dst, '\\')
			}
			dst = append(dst, b.Reason[i])
		}
		dst = append(dst, '"')
	}
	return dst, nil
}

// ParseBadCitizen parses one line of a bad-citizen list:
//
//	203.0.113.0/24 expires=2026-12-01T00:00:00Z reason="credential stuffing" # seen by fraud
//
// The line begins with an address or a CIDR prefix, IPv4 or IPv6. Bits behind the prefix
// length are cleared, as nginx, ipset and iptables do: 203.0.113.7/24 is
// 203.0.113.0/24. An IPv4-mapped IPv6 address (::ffff:203.0.113.7) is parsed as the IPv4
// address. An address with a zone (fe80::1%eth0) is refused.
//
// Pairs key=value follow, separated by spaces or tabs. A key may be given once. The value
// of expires is an RFC 3339 time, from which on the entry no longer counts. The value of
// reason says why. Other keys are ignored. A value in double quotes is a JSON string.
// Control characters in a reason become spaces, so that a reason stays on the one line on
// which it is shown.
//
// A "#" at the start or after a space begins a comment. ok is false if the line has no
// entry, because it is blank or only a comment. The line may end with LF or CRLF. The
// entry's List is empty, because the line does not contain the name of its list.
func ParseBadCitizen(line string) (entry BadCitizen, ok bool, err error) {
	if !utf8.ValidString(line) {
		return BadCitizen{}, false, errors.New("not valid UTF-8")
	}
	return parseLine(line)
}

// parseLine is ParseBadCitizen for a line that is valid UTF-8. The entry's Reason may share
// the memory of the line.
func parseLine(line string) (entry BadCitizen, ok bool, err error) {
	line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
	address, rest := cutWord(line)
	if address == "" {
		return BadCitizen{}, false, nil
	}
	if entry.Prefix, err = parsePrefix(address); err != nil {
		return BadCitizen{}, false, err
	}
	var keys [8]string
	for seen := keys[:0]; ; {
		var key, value string
		if key, value, rest, err = cutAttribute(rest); err != nil {
			return BadCitizen{}, false, err
		}
		if key == "" {
			return entry, true, nil
		}
		for _, k := range seen {
			if k == key {
				return BadCitizen{}, false, fmt.Errorf("%s= is given twice", key)
			}
		}
		seen = append(seen, key)
		switch key {
		case "expires":
			expires, err := time.Parse(time.RFC3339, value)
			expires = expires.UTC() // which may leave the years that RFC 3339 can write
			if s := expires.Unix(); err != nil || expires.IsZero() || s < year0 || s >= year10000 {
				return BadCitizen{}, false, fmt.Errorf("expires=%q is no RFC 3339 time such as 2026-12-01T00:00:00Z", value)
			}
			entry.Expires = expires
		case "reason":
			entry.Reason = oneLine(value)
		}
	}
}

// parsePrefix parses an address or a CIDR prefix.
func parsePrefix(s string) (netip.Prefix, error) {
	invalid := func() (netip.Prefix, error) {
		return netip.Prefix{}, fmt.Errorf("%q is neither an IP address nor a CIDR prefix", s)
	}
	if !strings.Contains(s, "/") {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return invalid()
		}
		if addr.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("%q has a zone, which means something on one machine only", s)
		}
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		return invalid()
	}
	if prefix.Addr().Is4In6() {
		const mapped = 128 - 32
		if prefix.Bits() < mapped {
			return netip.Prefix{}, fmt.Errorf("%q covers more than the IPv4-mapped addresses: write /%d or longer", s, mapped)
		}
		prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-mapped)
	}
	return prefix.Masked(), nil
}

// RFC 3339 can write the years 0 to 9999. These are their first second and the second after
// their last one, as Unix time.
const year0, year10000 = -62167219200, 253402300800

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// skipBlanks returns s without the blanks at its start.
func skipBlanks(s string) string {
	for s != "" && isBlank(s[0]) {
		s = s[1:]
	}
	return s
}

// untilBlank returns the index of the first blank of s, or the length of s if it has none.
func untilBlank(s string) int {
	for i := range len(s) {
		if isBlank(s[i]) {
			return i
		}
	}
	return len(s)
}

// cutWord cuts the first word off the start of s. The word is empty at the end of the line
// and before a comment.
func cutWord(s string) (word, rest string) {
	s = skipBlanks(s)
	if strings.HasPrefix(s, "#") {
		return "", ""
	}
	i := untilBlank(s)
	return s[:i], s[i:]
}

// cutAttribute cuts key=value or key="value" off the start of s. key is empty at the end of
// the line and before a comment.
func cutAttribute(s string) (key, value, rest string, err error) {
	s = skipBlanks(s)
	if s == "" || s[0] == '#' {
		return "", "", "", nil
	}
	i := 0
	for i < len(s) && s[i] != '=' && s[i] != '"' && !isBlank(s[i]) {
		i++
	}
	if i == 0 || i == len(s) || s[i] != '=' {
		word, _ := cutWord(s)
		return "", "", "", fmt.Errorf("%q: want key=value; a comment starts with #", word)
	}
	key, s = s[:i], s[i+1:]
	if !strings.HasPrefix(s, `"`) {
		i = untilBlank(s)
		return key, s[:i], s[i:], nil
	}
	i = 1
	escaped := false
	for ; i < len(s) && s[i] != '"'; i++ {
		if s[i] == '\\' {
			escaped = true
			i++
		}
	}
	if i >= len(s) {
		return "", "", "", fmt.Errorf("%s= opens a quote and does not close it", key)
	}
	value, rest = s[1:i], s[i+1:]
	if rest != "" && !isBlank(rest[0]) {
		return "", "", "", fmt.Errorf("%s=: want a space after the closing quote", key)
	}
	if escaped {
		var unquoted string // if this were value itself, each attribute would allocate it
		if err := json.Unmarshal([]byte(s[:i+1]), &unquoted); err != nil {
			return "", "", "", fmt.Errorf("%s=%s: not a JSON string", key, s[:i+1])
		}
		value = unquoted
	}
	return key, value, rest, nil
}

// oneLine replaces control characters by spaces.
func oneLine(s string) string {
	if strings.IndexFunc(s, unicode.IsControl) < 0 {
		return s
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}

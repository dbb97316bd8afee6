package httpapi

import (
	"strings"
	"time"
)

// preferredWait returns the wait preference among the values of a Prefer header (RFC 7240,
// sections 2 and 4.3). The first one counts. One that is no number is ignored, as the RFC
// demands, and the answer has no Preference-Applied. A fraction of a second, which the RFC
// does not provide for, is rounded up to a whole second: otherwise a client that prefers to
// wait for less than a second would be answered at once, again and again. A number that is
// too large counts as the largest (RFC 9111, section 1.2.2).
func preferredWait(values []string) (time.Duration, bool) {
	for _, rest := range values {
		for rest != "" {
			var item string
			item, rest = cutUnquoted(rest, ',')
			item, _ = cutUnquoted(item, ';') // parameters: wait has none
			name, value, _ := strings.Cut(item, "=")
			if !strings.EqualFold(trimBlanks(name), "wait") {
				continue
			}
			value = trimBlanks(value)
			if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
				value = value[1 : n-1]
			}
			return waitSeconds(value)
		}
	}
	return 0, false
}

// waitSeconds reads a number of seconds in decimal digits. A fraction is rounded up.
func waitSeconds(s string) (time.Duration, bool) {
	whole, fraction, _ := strings.Cut(s, ".")
	if whole == "" || strings.HasSuffix(s, ".") {
		return 0, false
	}
	for _, c := range []byte(whole + fraction) {
		if c < '0' || '9' < c {
			return 0, false
		}
	}
	wait := deltaSeconds(whole)
	if strings.Trim(fraction, "0") != "" {
		wait += time.Second
	}
	return wait, true
}

// cutUnquoted cuts s at the first sep outside a quoted string.
func cutUnquoted(s string, sep byte) (before, after string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '\\' && quoted:
			i++
		case s[i] == sep && !quoted:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

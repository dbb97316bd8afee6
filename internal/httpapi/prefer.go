package httpapi

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// preferredWait returns the wait preference among the values of a Prefer header
// (RFC 7240, sections 2 and 4.3). The first of that name counts; one that is no
// number of seconds is none, and one that is too large for us is the largest (RFC
// 9111, section 1.2.2).
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
			seconds, err := strconv.ParseUint(value, 10, 31)
			return time.Duration(seconds) * time.Second, err == nil || errors.Is(err, strconv.ErrRange)
		}
	}
	return 0, false
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

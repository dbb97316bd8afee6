package httpapi

import (
	"strconv"
	"strings"
	"time"

	"magellan/internal/discovery"
)

// cacheControl reads the directives of a request's Cache-Control header with these values:
// no-cache and max-age (RFC 9111, section 5.2.1) and stale-if-error (RFC 5861). Other
// directives are ignored. If a directive is repeated the strictest one counts. An argument
// that is no number counts as 0, which is the strictest.
func cacheControl(values []string) (opt discovery.ReadOptions) {
	for _, rest := range values {
		for {
			rest = strings.TrimLeft(rest, ", \t")
			if rest == "" {
				break
			}
			n := strings.IndexAny(rest, "=, \t")
			if n < 0 {
				n = len(rest)
			}
			name, argument := rest[:n], ""
			if rest = rest[n:]; strings.HasPrefix(rest, "=") {
				argument, rest = cutArgument(rest[1:])
			}
			switch {
			case strings.EqualFold(name, "no-cache"):
				opt.Fresh = true
			case strings.EqualFold(name, "max-age"):
				if age := deltaSeconds(argument); age == 0 {
					opt.Fresh = true
				} else if opt.MaxAge == 0 || age < opt.MaxAge {
					opt.MaxAge = age
				}
			case strings.EqualFold(name, "stale-if-error"):
				age := deltaSeconds(argument)
				if age == 0 {
					age = -1
				}
				if opt.StaleIfError == 0 || age < opt.StaleIfError {
					opt.StaleIfError = age
				}
			}
		}
	}
	return opt
}

// maxDeltaSeconds stands for every larger number (RFC 9111, section 1.2.2).
const maxDeltaSeconds = 1 << 31

// deltaSeconds reads a number of seconds. It returns 0 if s is no number.
func deltaSeconds(s string) time.Duration {
	n := time.Duration(0)
	for _, c := range []byte(s) {
		if c < '0' || '9' < c {
			return 0
		}
		n = min(10*n+time.Duration(c-'0'), maxDeltaSeconds)
	}
	return n * time.Second
}

// minZxid reads the values of X-Min-Zxid: hexadecimal numbers as in X-Zxid, with or without
// the 0x. Of several the newest counts. It returns -1 if one of them is no zxid.
func minZxid(values []string) (zxid int64) {
	for _, value := range values {
		digits := trimBlanks(value)
		if len(digits) > 2 && (digits[:2] == "0x" || digits[:2] == "0X") {
			digits = digits[2:]
		}
		n, err := strconv.ParseInt(digits, 16, 64)
		if err != nil || n < 0 || digits[0] == '+' || digits[0] == '-' {
			return -1
		}
		zxid = max(zxid, n)
	}
	return zxid
}

// cutArgument cuts a token or a quoted string off the front of s. A quoted string is
// returned without its quotes; one that has no end is returned as the empty string.
func cutArgument(s string) (argument, rest string) {
	if !strings.HasPrefix(s, `"`) {
		if i := strings.IndexByte(s, ','); i >= 0 {
			return trimBlanks(s[:i]), s[i:]
		}
		return trimBlanks(s), ""
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return s[1:i], s[i+1:]
		}
	}
	return "", ""
}

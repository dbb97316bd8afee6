package httpapi

import "strings"

// matchesETag reports whether an If-None-Match header, whose values are given,
// names etag, by weak comparison (RFC 9110, sections 8.8.3.2 and 13.1.2). What
// follows a syntax error is not looked at: the client then gets an answer it may
// have, which is never wrong.
func matchesETag(values []string, etag string) bool {
	if len(values) == 1 && values[0] == etag {
		return true
	}
	for _, value := range values {
		rest := trimBlanks(value)
		if rest == "*" {
			return true
		}
		for rest != "" {
			if rest[0] == ',' { // empty elements are allowed
				rest = trimBlanks(rest[1:])
				continue
			}
			tag := strings.TrimPrefix(rest, "W/")
			n := entityTagLen(tag)
			if n == 0 {
				break
			}
			if tag[:n] == etag {
				return true
			}
			rest = trimBlanks(tag[n:])
			if rest != "" && rest[0] != ',' {
				break
			}
		}
	}
	return false
}

// entityTagLen is the length of the opaque tag s begins with, quotes included;
// 0 if it begins with none.
func entityTagLen(s string) int {
	if s == "" || s[0] != '"' {
		return 0
	}
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return i + 1
		case c < 0x21 || c == 0x7f:
			return 0
		}
	}
	return 0
}

// noCache reports whether a request's Cache-Control header, whose values are
// given, has the directive no-cache (RFC 9111, section 5.2.1.4).
func noCache(values []string) bool {
	for _, rest := range values {
		for rest != "" {
			rest = strings.TrimLeft(rest, ", \t")
			n := strings.IndexAny(rest, "=, \t")
			if n < 0 {
				n = len(rest)
			}
			if strings.EqualFold(rest[:n], "no-cache") {
				return true
			}
			if rest = rest[n:]; strings.HasPrefix(rest, "=") {
				rest = skipArgument(rest[1:])
			}
		}
	}
	return false
}

// skipArgument cuts a token or a quoted string off the front of s.
func skipArgument(s string) string {
	if !strings.HasPrefix(s, `"`) {
		if i := strings.IndexByte(s, ','); i >= 0 {
			return s[i:]
		}
		return ""
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return s[i+1:]
		}
	}
	return ""
}

func trimBlanks(s string) string { return strings.Trim(s, " \t") }

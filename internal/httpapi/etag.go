package httpapi

import (
	"encoding/hex"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// hashOf is the hash that stands for a body: its ETag, and its state on a stream.
func hashOf(body []byte) uint64 { return xxhash.Sum64(body) }

// appendETag appends the strong entity tag of a body with this hash.
func appendETag(dst []byte, hash uint64) []byte {
	return append(appendHex64(append(dst, '"'), hash), '"')
}

// formatETag returns what appendETag appends.
func formatETag(hash uint64) string { return string(appendETag(nil, hash)) }

func appendHex64(dst []byte, v uint64) []byte {
	var b [8]byte
	for i := range b {
		b[i] = byte(v >> (56 - 8*i))
	}
	return hex.AppendEncode(dst, b[:])
}

// matchesETag reports whether an If-None-Match header with these values names etag, by weak
// comparison (RFC 9110, sections 8.8.3.2 and 13.1.2). The rest of a value behind a syntax
// error is ignored. The client may then get a body that it has already, which is never
// wrong.
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

// entityTagLen is the length of the opaque tag that s begins with, with its quotes; 0 if s
// begins with none.
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

func trimBlanks(s string) string { return strings.Trim(s, " \t") }

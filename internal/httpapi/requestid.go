package httpapi

import (
	"math/rand/v2"
	"net/http"
)

// maxRequestID is the longest X-Request-Id that is taken over, in bytes.
const maxRequestID = 128

// sequence makes request ids. It begins at a random number, and its steps reach every 64-bit
// number once. So the chance that two connections use the same id is that of a collision of
// random 64-bit numbers.
type sequence struct{ next uint64 }

// randomID is where a sequence begins.
func randomID() uint64 { return rand.Uint64() }

// appendNext appends the next id, 16 hexadecimal digits.
func (s *sequence) appendNext(dst []byte) []byte {
	s.next += 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio, odd
	return appendHex64(dst, s.next)
}

// requestIDOf returns the X-Request-Id of the answer: the request's if that is sane, a new one
// otherwise.
func (x *exchange) requestIDOf(r *http.Request) []string {
	if sent := r.Header["X-Request-Id"]; len(sent) == 1 && saneRequestID(sent[0]) {
		return sent
	}
	return x.values.requestID(&x.id)
}

// saneRequestID reports whether a client's id may stand in answers and logs: it is not too
// long, and has no character that could end a log line or a field of one.
func saneRequestID(id string) bool {
	if id == "" || len(id) > maxRequestID {
		return false
	}
	for i := range len(id) {
		switch c := id[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-', c == '_', c == '.', c == ':', c == '/', c == '+', c == '=', c == '@', c == '~':
		default:
			return false
		}
	}
	return true
}

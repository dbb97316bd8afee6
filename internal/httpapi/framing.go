package httpapi

import (
	"bytes"
	"net/http"
	"sync/atomic"
)

// framing notices whether a client has named, on its connection, one of the headers that
// net/http takes out of a request without a trace: Content-Length where there is
// Transfer-Encoding as well, and Transfer-Encoding in HTTP/1.0. Where a proxy takes the
// other one, it and the server take different bytes for the next request; so the
// connection has to end (RFC 9112, 6.1 and 6.3).
//
// All bytes are searched for the ends of those names, bodies included. Whoever has sent
// one elsewhere loses a connection at most.
type framing struct {
	word    string // that is being matched
	matched int    // how many bytes of it have come
	// length and encoding: the word has come. net/http reads on another goroutine as well.
	length, encoding atomic.Bool
}

const (
	wordLength   = "-length"
	wordEncoding = "-encoding"
)

// look takes what has come, however it is cut in pieces.
func (f *framing) look(b []byte) {
	for i := 0; i < len(b); i++ {
		if f.matched == 0 {
			dash := bytes.IndexByte(b[i:], '-')
			if dash < 0 {
				return
			}
			i += dash
			f.matched = 1
			continue
		}
		c := b[i] | 0x20 // in lower case
		if f.matched == 1 {
			f.word = wordLength
			if c == wordEncoding[1] {
				f.word = wordEncoding
			}
		}
		switch {
		case c == f.word[f.matched]:
			f.matched++
		case c == '-':
			f.matched = 1
		default:
			f.matched = 0
		}
		if f.matched == len(f.word) {
			f.matched = 0
			if f.word == wordLength {
				f.length.Store(true)
			} else {
				f.encoding.Store(true)
			}
		}
	}
}

// doubtful reports whether a proxy may see another end of r than net/http does.
func (f *framing) doubtful(r *http.Request) bool {
	if !r.ProtoAtLeast(1, 1) {
		return f.encoding.Load()
	}
	return r.TransferEncoding != nil && f.length.Load()
}

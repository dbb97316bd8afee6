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
// one elsewhere loses a connection at most. The letter before the dash belongs to an end:
// most clients send Accept-Encoding.
type framing struct {
	last    byte   // that has come
	word    string // that is being matched, "" before a dash
	matched int    // how many bytes of it have come
	// length and encoding: the word has come. net/http reads on another goroutine as well.
	length, encoding atomic.Bool
}

const (
	wordLength   = "t-length"
	wordEncoding = "r-encoding"
)

// look takes what has come, however it is cut in pieces.
func (f *framing) look(b []byte) {
	for i := 0; i < len(b); i++ {
		if f.word == "" {
			dash := bytes.IndexByte(b[i:], '-')
			if dash < 0 {
				f.last = b[len(b)-1]
				return
			}
			if i += dash; i > 0 {
				f.last = b[i-1]
			}
		}
		f.step(b[i])
	}
}

// step takes the next byte.
func (f *framing) step(c byte) {
	last := f.last
	f.last = c
	switch lower := c | 0x20; {
	case c == '-':
		f.matched = len("t-")
		switch last | 0x20 {
		case wordLength[0]:
			f.word = wordLength
		case wordEncoding[0]:
			f.word = wordEncoding
		default:
			f.word = ""
		}
	case lower == f.word[f.matched]:
		f.matched++
	default:
		f.word = ""
	}
	if f.word != "" && f.matched == len(f.word) {
		if f.word == wordLength {
			f.length.Store(true)
		} else {
			f.encoding.Store(true)
		}
		f.word = ""
	}
}

// doubtful reports whether a proxy may see another end of r than net/http does.
func (f *framing) doubtful(r *http.Request) bool {
	if !r.ProtoAtLeast(1, 1) {
		return f.encoding.Load()
	}
	return r.TransferEncoding != nil && f.length.Load()
}

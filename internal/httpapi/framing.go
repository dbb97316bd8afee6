package httpapi

import (
	"bytes"
	"net/http"
	"sync/atomic"
)

// framing notices whether the bytes of a connection name a header that net/http removes from
// a request without a trace: Content-Length if there is Transfer-Encoding as well, and
// Transfer-Encoding in HTTP/1.0. If a proxy before the server believes the removed header,
// the proxy and the server take different bytes for the next request. So the connection has
// to end after such a request (RFC 9112, sections 6.1 and 6.3).
//
// All bytes are searched for the ends of the two names, even those of bodies. A client that
// has sent such a name elsewhere loses a connection at most. An end begins with the letter
// before the dash, because most clients send Accept-Encoding, whose end is otherwise the same.
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

// look searches the bytes that have come next. A name may be cut in pieces.
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

// doubtful reports whether a proxy may take another byte than net/http for the end of r.
func (f *framing) doubtful(r *http.Request) bool {
	if !r.ProtoAtLeast(1, 1) {
		return f.encoding.Load()
	}
	return r.TransferEncoding != nil && f.length.Load()
}

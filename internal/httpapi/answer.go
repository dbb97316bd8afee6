package httpapi

import (
	"net/http"

	"magellan/internal/discovery"
)

// answer is what a handler answers to a question. It is a value: the body, its hash,
// and what it rests on. How it is written is up to the sink, which is the one who
// asked: see writeAnswer for HTTP and [stream.tell] for an event of a stream.
//
// An asker uses one answer again and again. What an answer holds is good until the
// asker resets it.
type answer struct {
	// status is 0 for what was asked for. Otherwise the answer is a problem document
	// with this status.
	status int
	// basis is what the answer, or the error in its place, rests on, if rests is true.
	// Answers that do not come from the Service rest on nothing.
	basis discovery.Basis
	rests bool

	contentType []string // ready to stand in a header
	// hash stands for the body: two answers to one question with the same hash have
	// the same content.
	hash uint64
	// body is the body, if kept is nil.
	body []byte
	// kept is a body that is shared by all who ask.
	kept sharedBody
	// lender is who owns body; nil if that is the asker.
	lender interface{ free() }

	// since is the version that the asker has by its question, if follows is true. The
	// body then is what has changed since that version, if that is known.
	since   uint64
	follows bool
	// noStore: nobody may keep the answer.
	noStore bool

	// buf is the asker's memory, for the handler to compose a body in.
	buf []byte
}

// sharedBody is a body that is kept for all who ask. It need not have been rendered
// yet: a sink whose client has the answer already, as its hash tells, never asks for
// the body.
type sharedBody interface {
	// rendered returns the body. The first call renders it.
	rendered() *rendering
}

// rest notes what the answer rests on.
func (a *answer) rest(basis discovery.Basis) { a.basis, a.rests = basis, true }

// compose answers with a body that the handler has composed in a.buf.
func (a *answer) compose(contentType []string, body []byte) {
	a.contentType, a.buf, a.body, a.hash = contentType, body, body, hashOf(body)
}

// lend answers with a body that its owner needs back: reset calls lender.free.
func (a *answer) lend(contentType []string, body []byte, lender interface{ free() }) {
	a.contentType, a.body, a.hash, a.lender = contentType, body, hashOf(body), lender
}

// share answers with a body that is kept for all who ask, and that has this hash.
func (a *answer) share(contentType []string, hash uint64, body sharedBody) {
	a.contentType, a.hash, a.kept = contentType, hash, body
}

// ok reports whether the answer is what was asked for, and not a problem.
func (a *answer) ok() bool { return a.status == 0 }

// statusCode is the answer's status in HTTP.
func (a *answer) statusCode() int {
	if a.ok() {
		return http.StatusOK
	}
	return a.status
}

// bytes returns the body, rendered if it was not yet.
func (a *answer) bytes() []byte {
	if a.kept != nil {
		return a.kept.rendered().body
	}
	return a.body
}

// reset forgets the answer. It keeps the memory for composing bodies, if that is no
// more than most bytes.
func (a *answer) reset(most int) {
	if a.lender != nil {
		a.lender.free()
	}
	buf := a.buf
	if cap(buf) > most {
		buf = nil
	}
	*a = answer{buf: buf}
}

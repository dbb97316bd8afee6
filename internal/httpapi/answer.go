package httpapi

import (
	"net/http"
	"time"

	"magellan/internal/discovery"
	"magellan/internal/services"
)

// answer is what a handler answers to a question. It is a value: a body, its hash, and what
// the answer rests on. The asker's sink decides how it is written: exchange.writeAnswer for
// HTTP, and [stream.tell] for an event of a stream.
//
// An asker uses the same answer for one question after the other. The memory of an answer is
// good until the asker resets it.
type answer struct {
	// status is 0 if the answer is what was asked for. Otherwise the answer is a problem
	// document with this status.
	status int
	// basis is what the answer rests on, if rests is true. If the handler has failed, it is
	// what the error rests on. An answer that does not come from the Service has no basis.
	basis discovery.Basis
	rests bool

	contentType []string // ready to stand in a header
	// hash stands for the body: if two answers to a question have the same hash, they say the
	// same.
	hash uint64
	// body is the body, if kept is nil.
	body []byte
	// kept is a body that several askers share.
	kept sharedBody
	// lender owns the memory of body; nil if the asker owns it, or nobody needs it back.
	lender interface{ free() }

	// since is the hash of the version that the asker has, if the question names one. follows:
	// it does. Then the body is what has changed since that version, if that is known.
	since   uint64
	follows bool
	// index numbers the answer for clients that wait as Consul's do; 0 for other answers. The
	// asker has the answer known, and waits so long for a greater index. 0: it does not wait.
	index, known services.Index
	wait         time.Duration
	// has: the asker has the answer already, as the question's body says.
	has bool
	// noSniff: the body is what somebody has written to a znode, and no browser may take it for
	// something that it runs or shows. negotiated: another Accept has another answer.
	noSniff, negotiated bool
	// noStore: no cache on the way to the client may keep the answer.
	noStore bool

	// buf is memory of the asker, in which the handler may compose a body.
	buf []byte
}

// sharedBody is a body that several askers share. It need not have been rendered yet. If the
// client has the answer already, as the hash tells, the sink never asks for the bytes.
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

// lend answers with a body whose memory the lender needs back: reset calls lender.free.
func (a *answer) lend(contentType []string, body []byte, lender interface{ free() }) {
	a.contentType, a.body, a.hash, a.lender = contentType, body, hashOf(body), lender
}

// share answers with a shared body that has this hash.
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

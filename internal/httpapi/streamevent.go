package httpapi

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"time"

	"magellan/internal/discovery"
)

// maxKeptEvent bounds the memory that a stream keeps from one answer to the next within a
// round of answers, in bytes. maxIdleEvent bounds it between two rounds.
const (
	maxKeptEvent = 64 << 10
	maxIdleEvent = 4 << 10
)

// look asks a key's question. If the answer is another than the client has, it writes an event
// of the given type. With an empty type it only notes the answer's state. It reports whether
// there is an event. The error is one of writing.
func (s *stream) look(k *streamKey, event string) (told bool, err error) {
	for {
		k.begun, k.due = false, time.Time{}
		err := s.ask(k)
		if err != nil && passing(err) {
			k.due = time.Now().Add(k.retryIn())
			if event != "" && k.state != 0 && errors.Is(err, discovery.ErrTooOld) {
				// The client's answer is too old to be valid. The next answer will be sent
				// even if it is the same.
				k.state = 0
				s.explain(err)
				return true, s.tell(k, "unavailable")
			}
			if event != "snapshot" || k.state != 0 {
				return false, nil
			}
			s.explain(err) // so that the client knows that it has nothing for this key
			return true, s.tell(k, event)
		}
		k.answered()
		if k.begun {
			continue // a change between the answer and the watch shows now
		}
		if in, ok := k.expiresIn(); ok {
			k.due = time.Now().Add(in)
		}
		if err != nil {
			s.explain(err)
		}
		state := stateOf(&s.answer)
		if state == k.state {
			return false, nil
		}
		k.state = state
		if event == "" {
			return false, nil
		}
		return true, s.tell(k, event)
	}
}

// stateOf returns the state of a client that has an answer.
func stateOf(a *answer) uint64 { return max(1, a.hash) }

// ask asks a key's question. The answer is in s.answer.
func (s *stream) ask(k *streamKey) error {
	s.answer.reset(maxKeptEvent)
	s.renew()
	s.question = question{ctx: s.ctx, name: k.name, query: k.query()}
	if k.shared != nil {
		return s.askInTurn(k)
	}
	return s.handle(k)
}

// renew gives the next question a deadline of its own.
func (s *stream) renew() {
	s.ctx = s.ctx.renewed(s.x.r.Context(), time.Now().Add(s.x.server.cfg.RequestTimeout))
}

// handle runs the handler of the key's route, and watches what the answer depends on.
func (s *stream) handle(k *streamKey) error {
	err := k.route.handle(&s.question, &s.answer)
	k.follow(&s.answer)
	return err
}

// explain makes err the answer.
func (s *stream) explain(err error) {
	s.x.server.explain(&s.answer, err, s.x.w.Header()["X-Request-Id"][0])
}

// event begins an event. The caller appends the data to s.out, and close ends the event.
func (s *stream) event(name string) {
	s.close(false)
	s.out.WriteString("event: " + name + "\ndata: ")
	s.open = true
}

// close ends the last event. withID: the event gets an id, which tells which answers the
// client has then. One id for many events is enough, because an event that comes twice does
// no harm.
func (s *stream) close(withID bool) {
	if !s.open {
		return
	}
	s.open = false
	if withID {
		s.out.WriteString("id: ")
		s.out.Write(appendID(s.out.AvailableBuffer(), s.hash, s.keys))
		s.out.WriteByte('\n')
	}
	s.out.WriteByte('\n')
}

// tell writes the answer to a key's question as an event. The event has what a GET would have
// got. A long body is sent from where it is, without a copy.
func (s *stream) tell(k *streamKey, event string) error {
	a := &s.answer
	s.event(event)
	dst := appendString(append(s.out.AvailableBuffer(), `{"key":`...), k.String())
	dst = strconv.AppendInt(append(dst, `,"status":`...), int64(a.statusCode()), 10)
	dst = appendTime(append(dst, `,"time":`...))
	member := `,"problem":`
	if a.ok() {
		member = `,"value":`
		dst = appendHex64(append(dst, `,"etag":"\"`...), a.hash)
		dst = append(dst, `\""`...)
	}
	if a.rests {
		if a.basis.Zxid != 0 {
			dst = append(appendZxid(append(dst, `,"zxid":"`...), a.basis.Zxid), '"')
		}
		dst = appendString(append(dst, `,"cache":`...), a.basis.Cache.String())
		dst = strconv.AppendInt(append(dst, `,"age":`...), wholeSeconds(a.basis.Age), 10)
	}
	s.out.Write(append(dst, member...))
	// Answers in JSON have one line.
	body := bytes.TrimSuffix(a.bytes(), []byte{'\n'})
	if len(body) <= streamPiece {
		s.out.Write(body)
	} else if err := s.flush(0); err != nil {
		return err
	} else if err := s.send(body); err != nil {
		return err
	}
	s.out.WriteString("}\n")
	return s.flush(streamPiece)
}

// reset tells the client to forget the answers that it has: all of them follow anew.
func (s *stream) reset(reason string) {
	s.event("reset")
	s.out.Write(append(appendString(append(s.out.AvailableBuffer(), `{"reason":`...), reason), "}\n"...))
	s.close(false)
}

// end writes the last event, which has the reason why the stream ends. It returns the reason.
func (s *stream) end(reason, detail string) string {
	s.close(false)
	s.event("end")
	dst := appendString(append(s.out.AvailableBuffer(), `{"reason":`...), reason)
	dst = appendString(append(dst, `,"detail":`...), detail)
	s.out.Write(append(dst, "}\n"...))
	s.close(false)
	if err := s.flush(0); err != nil {
		s.x.gone = true
	}
	return reason
}

// cutOff returns why a stream ends whose client could not be written to.
func (s *stream) cutOff(err error) string {
	s.x.gone = true
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return endSlowReader
	}
	return endClientGone
}

// trim gives back the memory of a round of answers, because a stream is idle most of the time.
func (s *stream) trim() {
	if s.out.Len() == 0 && s.out.Cap() > maxIdleEvent {
		s.out = bytes.Buffer{}
	}
	s.answer.reset(maxIdleEvent)
}

// flush sends what has been written to s.out, if that is more than over bytes.
func (s *stream) flush(over int) error {
	if s.out.Len() <= over {
		return nil
	}
	err := s.send(s.out.Bytes())
	if s.out.Reset(); s.out.Cap() > maxKeptEvent {
		s.out = bytes.Buffer{}
	}
	return err
}

// send writes to the client. The client has Config.SlowReader to take each piece.
func (s *stream) send(b []byte) error {
	control := http.NewResponseController(s.x.w)
	for piece := range slices.Chunk(b, streamPiece) {
		deadline := time.Now().Add(s.x.server.cfg.SlowReader)
		if err := control.SetWriteDeadline(deadline); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		if _, err := s.x.Write(piece); err != nil {
			return fmt.Errorf("stream: %w", err)
		}
		if err := control.Flush(); err != nil {
			return fmt.Errorf("stream: %w", err)
		}
	}
	return nil
}

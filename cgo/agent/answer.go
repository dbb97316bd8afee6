package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

var (
	// ErrCut means that an answer ended before its end. The process may have ended.
	ErrCut = errors.New("the answer was cut")
	// ErrProtocol means that an answer is not what an agent sends.
	ErrProtocol = errors.New("the answer is not one of an agent")
	// ErrTooLarge means that an answer is longer than this package accepts.
	ErrTooLarge = errors.New("the answer is above the limit")
)

// Refused is the error of a request that the agent has answered with an error.
type Refused struct {
	PID    int
	Reason string // the agent's words
}

func (e *Refused) Error() string {
	return fmt.Sprintf("the agent of process %d answers: %s", e.PID, e.Reason)
}

// maxFirst bounds the first frame of an answer, which is "ok" or an error.
const maxFirst = 64 << 10

// answer reads the frames of an answer: each has a length of 4 bytes, little-endian, and
// that many bytes. A frame of length 0 is the end.
type answer struct {
	in   io.Reader
	left uint32 // bytes until the end of the frame
	done bool
}

// next reads the length of the next frame. It returns io.EOF at the end of the answer.
func (a *answer) next() error {
	if a.done {
		return io.EOF
	}
	var length [4]byte
	if _, err := io.ReadFull(a.in, length[:]); err != nil {
		return cut(err)
	}
	a.left = binary.LittleEndian.Uint32(length[:])
	if a.left == 0 {
		a.done = true
		return io.EOF
	}
	return nil
}

// Read reads the frames as one stream. It returns io.EOF only after the frame that is the
// end.
func (a *answer) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if a.left == 0 {
		if err := a.next(); err != nil {
			return 0, err
		}
	}
	n, err := a.in.Read(p[:min(int64(len(p)), int64(a.left))])
	a.left -= uint32(n)
	if n > 0 {
		return n, nil // an error comes again
	}
	return 0, cut(err)
}

// begin reads the first frame. It returns a *Refused if that is an error of the agent.
func (a *answer) begin(pid int) error {
	switch err := a.next(); {
	case err == io.EOF:
		return fmt.Errorf("%w: it is empty", ErrProtocol)
	case err != nil:
		return err
	case a.left > maxFirst:
		return fmt.Errorf("%w: it begins with a frame of %d bytes", ErrProtocol, a.left)
	}
	first := make([]byte, a.left)
	if _, err := io.ReadFull(a.in, first); err != nil {
		return cut(err)
	}
	a.left = 0
	kind, text, _ := strings.Cut(strings.TrimSuffix(string(first), "\n"), " ")
	switch {
	case kind == "ok" && text == "":
		return nil
	case kind == "error":
		return &Refused{PID: pid, Reason: printable(text)}
	}
	return fmt.Errorf("%w: it begins with %.40q", ErrProtocol, first)
}

// cut returns the error of a stream that has ended within an answer.
func cut(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return ErrCut
	}
	return err
}

// limited fails with ErrTooLarge after a number of bytes.
type limited struct {
	in   io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.in.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, ErrTooLarge
	}
	return n, err
}

// printable replaces what could harm a terminal in a text of another process.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

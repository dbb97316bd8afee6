package zookeeper

import "sync"

// sessionEvents is how many events a program may be behind with.
const sessionEvents = 32

// session is the channel of a Conn's session. A program that does not read it, or not
// in time, finds the newest events in it.
type session struct {
	mu     sync.Mutex
	closed bool
	events chan Event
}

func newSession() *session {
	pending.Add(1)
	return &session{events: make(chan Event, sessionEvents)}
}

// tell sends a state. If there is no room, the oldest event goes.
func (s *session) tell(state int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.closed {
		select {
		case s.events <- Event{Type: EVENT_SESSION, State: state}:
			return
		default:
		}
		select {
		case <-s.events:
		default: // the program has taken it
		}
	}
}

func (s *session) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	pending.Add(-1)
	close(s.events)
}

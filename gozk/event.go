package zookeeper

import "fmt"

// Constants for Event.Type, those of zookeeper.h.
const (
	EVENT_CREATED = iota + 1
	EVENT_DELETED
	EVENT_CHANGED
	EVENT_CHILD
	EVENT_SESSION     = -1
	EVENT_NOTWATCHING = -2

	// EVENT_CLOSED is not ZooKeeper's: it is the Type of the zero Event, which a closed
	// channel gives.
	EVENT_CLOSED = 0
)

// Constants for Event.State, those of zookeeper.h.
const (
	STATE_EXPIRED_SESSION = -112
	STATE_AUTH_FAILED     = -113
	STATE_CONNECTING      = 1
	STATE_ASSOCIATING     = 2
	STATE_CONNECTED       = 3

	// STATE_CLOSED is not ZooKeeper's: it is the State of the zero Event, which a closed
	// channel gives.
	STATE_CLOSED = 0
)

// Event is a change of a node that was watched, or of the session. A watch channel may
// get either, so look at Type or Ok before you take an event for the change.
type Event struct {
	Type  int    // One of the EVENT_* constants.
	Path  string // The node; empty for an event of the session.
	State int    // One of the STATE_* constants.
}

// Ok returns whether the session could be used when the event was sent. It is false for
// the zero Event that a closed channel gives.
func (e Event) Ok() bool { return e.State == STATE_CONNECTED }

// String describes the event for people, so that it can stand in an error.
func (e Event) String() string {
	var s string
	switch e.State {
	case STATE_EXPIRED_SESSION:
		s = "ZooKeeper session expired"
	case STATE_AUTH_FAILED:
		s = "ZooKeeper authentication failed"
	case STATE_CONNECTING:
		s = "ZooKeeper connecting"
	case STATE_ASSOCIATING:
		s = "ZooKeeper still associating"
	case STATE_CONNECTED:
		s = "ZooKeeper connected"
	case STATE_CLOSED:
		s = "ZooKeeper connection closed"
	default:
		s = fmt.Sprintf("unknown ZooKeeper state %d", e.State)
	}
	switch e.Type {
	case EVENT_SESSION:
		return s
	case EVENT_CREATED:
		return s + "; path created: " + e.Path
	case EVENT_DELETED:
		return s + "; path deleted: " + e.Path
	case EVENT_CHANGED:
		return s + "; path changed: " + e.Path
	case EVENT_CHILD:
		return s + "; path children changed: " + e.Path
	case EVENT_NOTWATCHING:
		return s + "; not watching: " + e.Path
	case EVENT_CLOSED:
		if e.Path == "" {
			return s
		}
	}
	return s + "; " + e.Path
}

package discovery

import (
	"errors"
	"fmt"
)

// The kinds of error. Errors of this package, of readers and of domains wrap one of them,
// and their text says what to do about the error.
var (
	// ErrNotFound: ZooKeeper holds no such thing.
	ErrNotFound = errors.New("not found")
	// ErrInvalidName: no znode can have this name, so ZooKeeper was not asked.
	ErrInvalidName = errors.New("invalid name")
	// ErrInvalidRequest: an argument other than a name does not parse.
	ErrInvalidRequest = errors.New("invalid request")
	// ErrBadData: the znode exists and does not parse, and it has not parsed since this
	// process first read it, so that there is no last good value to serve. Or it parses,
	// and names another znode that does not exist.
	ErrBadData = errors.New("unreadable record")
	// ErrZxidNotReached: the answer must have a transaction in it that ZooKeeper has not
	// reached, even after a second. If the client got this zxid from a write of its own,
	// it has written to another ensemble.
	ErrZxidNotReached = errors.New("transaction not reached")
	// ErrUnavailable: ZooKeeper cannot be asked, and no answer that is fresh enough is in
	// memory.
	ErrUnavailable = errors.New("unavailable")
	// ErrUnread is an ErrUnavailable: the answer needs a znode that exists and that could
	// never be read, so that its value is not known.
	ErrUnread = fmt.Errorf("%w: not known", ErrUnavailable)
	// ErrDenied is an ErrUnread: ZooKeeper does not let magellan read the znode.
	ErrDenied = fmt.Errorf("%w", ErrUnread)
	// ErrForbidden: the client has asked for a znode that ZooKeeper does not let magellan
	// read, or that magellan does not show.
	ErrForbidden = errors.New("forbidden")
	// ErrTooOld is an ErrUnavailable: there is an answer in memory, but it was last known
	// to be true longer ago than the [Bound] allows.
	ErrTooOld = fmt.Errorf("%w", ErrUnavailable)
	// ErrOverloaded: as many reads wait for ZooKeeper as are allowed. The client may try
	// again later.
	ErrOverloaded = errors.New("overloaded")
)

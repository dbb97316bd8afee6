package discovery

import (
	"errors"
	"fmt"
)

// The kinds of error an answer can end in. Errors returned by this package and
// by a [Reader] wrap one of them, with what to do about it in their text.
var (
	// ErrNotFound: ZooKeeper has no such thing.
	ErrNotFound = errors.New("not found")
	// ErrInvalidName: the name can be no znode's, so nothing was asked.
	ErrInvalidName = errors.New("invalid name")
	// ErrInvalidRequest: an argument other than a name does not parse.
	ErrInvalidRequest = errors.New("invalid request")
	// ErrBadData: the znode exists, does not parse, and never did since this
	// process first read it, so there is no last good value to serve; or it
	// parses and names another znode that is not there.
	ErrBadData = errors.New("unreadable record")
	// ErrZxidNotReached: ZooKeeper has not come to the transaction that the
	// answer must have in it, and did not within a second. Whoever got its zxid
	// from a write of theirs, got it from another ensemble.
	ErrZxidNotReached = errors.New("transaction not reached")
	// ErrUnavailable: ZooKeeper is away and no answer fresh enough is held.
	ErrUnavailable = errors.New("unavailable")
	// ErrUnread: the answer needs a znode that exists and that could never be read,
	// so that nobody knows what it says. It is an ErrUnavailable.
	ErrUnread = fmt.Errorf("%w: not known", ErrUnavailable)
	// ErrTooOld is an ErrUnavailable: something is held, and was last known to be
	// true longer ago than [Config]'s MaxStale.
	ErrTooOld = fmt.Errorf("%w", ErrUnavailable)
	// ErrOverloaded: more reads wait for ZooKeeper than may; try again later.
	ErrOverloaded = errors.New("overloaded")
)

package client

import (
	"context"
	"errors"
	"iter"
)

// Follower has the answer to a question, and keeps it true in the background. Its methods may be
// called at the same time.
type Follower[T any] struct{ tail *tail }

// Last returns the last known answer, at once and from memory. The error is nil if the answer is a
// value. With [ErrNotFound] ZooKeeper does not have it, and any other [*Problem] is what a server
// says of the request. [Meta.Doubt] holds for these as it does for a value. [ErrUnknown] says that
// nothing is known so far.
func (f *Follower[T]) Last() (Answer[T], error) {
	answer, _, err := f.last()
	return answer, err
}

// Wait returns the last known answer, as Last does. If nothing is known so far, it waits until
// something is, or ctx ends.
func (f *Follower[T]) Wait(ctx context.Context) (Answer[T], error) {
	for {
		answer, changed, err := f.last()
		if !errors.Is(err, ErrUnknown) {
			return answer, err
		}
		if err := f.tail.until(ctx, changed); err != nil {
			return answer, err
		}
	}
}

// Changes yields the answer that is known, and then each that follows, until ctx ends or the
// follower is closed. It waits until something is known. Of answers that come faster than they are
// taken it yields the last. The errors are those of Last.
func (f *Follower[T]) Changes(ctx context.Context) iter.Seq2[Answer[T], error] {
	return func(yield func(Answer[T], error) bool) {
		for {
			answer, changed, err := f.last()
			if !errors.Is(err, ErrUnknown) && !yield(answer, err) {
				return
			}
			if f.tail.until(ctx, changed) != nil {
				return
			}
		}
	}
}

// Close ends the follower. Last goes on telling what was known.
func (f *Follower[T]) Close() { f.tail.close() }

// last returns what Last does, with a channel that is closed when there is another answer.
func (f *Follower[T]) last() (answer Answer[T], changed <-chan struct{}, err error) {
	f.tail.mu.Lock()
	defer f.tail.mu.Unlock()
	t := f.tail
	answer.Meta = t.answer.Meta
	if answer.Doubt == nil && t.known {
		answer.Doubt = stale(answer.Server, answer.Cache, answer.Age())
	}
	switch {
	case !t.known:
		err = &unknown{t.answer.Doubt}
	case t.answer.problem != nil:
		err = t.answer.problem
	default:
		answer.Value = t.value.(T)
	}
	return answer, t.changed, err
}

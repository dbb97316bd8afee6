package cache

// rota returns all things of a changing set in turn, a few at a time. A round is over when each
// has been returned. The zero value is ready.
type rota[T any] struct {
	due []T // the things that have not been returned in this round
}

// take returns the next n things of the round, and fewer at its end. If a new round begins,
// all returns its things.
func (r *rota[T]) take(n int, all func() []T) (next []T) {
	if len(r.due) == 0 {
		r.due = all()
	}
	n = min(n, len(r.due))
	next, r.due = r.due[:n], r.due[n:]
	if len(r.due) == 0 {
		r.due = nil // because the array would keep things in memory that no longer exist
	}
	return next
}

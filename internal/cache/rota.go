package cache

// rota hands out all of a changing number of things in turn, some at a time. The zero
// value is ready.
type rota[T any] struct {
	due []T // that are left of this round
}

// take returns the next n, less at the end of a round. all are those of the next round.
func (r *rota[T]) take(n int, all func() []T) (next []T) {
	if len(r.due) == 0 {
		r.due = all()
	}
	n = min(n, len(r.due))
	next, r.due = r.due[:n], r.due[n:]
	if len(r.due) == 0 {
		r.due = nil // what is no longer there must not be kept
	}
	return next
}

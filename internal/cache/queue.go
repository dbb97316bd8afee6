package cache

// keepItems is for how many items an empty queue keeps its memory.
const keepItems = 1024

// queue is a FIFO that reuses its memory. The zero value is empty.
type queue[T any] struct {
	items []T
	head  int
}

func (q *queue[T]) len() int { return len(q.items) - q.head }

func (q *queue[T]) push(item T) {
	if len(q.items) == cap(q.items) && q.head > len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, item)
}

func (q *queue[T]) pop() (item T, ok bool) {
	if q.len() == 0 {
		if cap(q.items) > keepItems {
			*q = queue[T]{} // frees the memory, because a storm of requests is over
		}
		q.items, q.head = q.items[:0], 0
		return item, false
	}
	var zero T
	item, q.items[q.head] = q.items[q.head], zero
	q.head++
	return item, true
}

// drain takes all items out of the queue.
func (q *queue[T]) drain() []T {
	all := q.items[q.head:]
	*q = queue[T]{}
	return all
}

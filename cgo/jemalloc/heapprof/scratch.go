package heapprof

// scratch is memory for the debug sections of one file, used again for the next.
// It is tens of MB for a moment, once in a program's life: as garbage of Go's heap
// it would stay resident until the collector and the scavenger have come round,
// minutes in a program that allocates little.
type scratch struct{ mapped []byte }

// take returns n bytes, which are those it has returned before.
func (s *scratch) take(n uint64) ([]byte, error) {
	if n > uint64(len(s.mapped)) {
		s.free()
		m, err := mapMemory(n)
		if err != nil {
			return nil, err
		}
		s.mapped = m
	}
	return s.mapped[:n], nil
}

// free gives the memory back. Nothing may point there any more.
func (s *scratch) free() {
	if s.mapped != nil {
		unmapMemory(s.mapped)
	}
	s.mapped = nil
}

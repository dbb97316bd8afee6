package heapprof

// scratch is memory for the debug sections of one file. It is reused for the next file.
// A program needs tens of MB of it for a moment, usually once. As garbage in Go's heap
// they would stay resident until the collector and the scavenger have run, which takes
// minutes in a program that allocates little.
type scratch struct{ mapped []byte }

// take returns n bytes. They are the same memory as in earlier calls.
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

// free returns the memory to the kernel. The caller must not use it any more.
func (s *scratch) free() {
	if s.mapped != nil {
		unmapMemory(s.mapped)
	}
	s.mapped = nil
}

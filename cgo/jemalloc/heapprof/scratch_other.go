//go:build !unix

package heapprof

func mapMemory(n uint64) ([]byte, error) { return make([]byte, n), nil }

func unmapMemory([]byte) {}

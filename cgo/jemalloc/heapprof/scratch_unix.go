//go:build unix

package heapprof

import (
	"fmt"
	"syscall"
)

func mapMemory(n uint64) ([]byte, error) {
	m, err := syscall.Mmap(-1, 0, int(n), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("no memory for %d bytes of debug information: %w", n, err)
	}
	return m, nil
}

func unmapMemory(m []byte) { _ = syscall.Munmap(m) } // fails only for memory that was not mapped

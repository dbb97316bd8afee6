//go:build !asan

package jemalloc

const asan = false

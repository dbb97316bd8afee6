//go:build !asan

package jemalloc

// CountWalks counts the stacks that the hook has taken: to their start, without their
// outermost frames, and those that were not as the landmarks have it.
func CountWalks() (whole, cut, broken uint64) {
	w := countWalks()
	return w.whole, w.cut, w.broken
}

// UseStockUnwinder puts jemalloc's own unwinder in the hook's place, or the hook
// back in its own: it is what the hook is compared with.
func UseStockUnwinder(stock bool) error {
	if stock {
		return replaceHook(unwinder.stock)
	}
	return replaceHook(nil)
}

//go:build !asan

package jemalloc

// UseStockUnwinder puts jemalloc's own unwinder in the hook's place, or the hook
// back in its own: it is what the hook is compared with.
func UseStockUnwinder(stock bool) error {
	if stock {
		return replaceHook(unwinder.stock)
	}
	return replaceHook(nil)
}

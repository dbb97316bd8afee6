package discovery

import "sync/atomic"

// Memoized is embedded in immutable values of which something is made that is worth keeping. The
// zero Memoized is ready for use.
type Memoized struct{ memo atomic.Pointer[any] }

// Memo returns what make returns. It is kept for as long as the value is, so that make is mostly
// called once. It is for one caller: whoever renders such values.
func (m *Memoized) Memo(make func() any) any {
	if kept := m.memo.Load(); kept != nil {
		return *kept
	}
	made := make()
	m.memo.Store(&made)
	return made
}

package cache

import (
	"fmt"
	"strings"
	"testing"

	"magellan/internal/discovery"
	"magellan/internal/shops"
)

// TestEvictionOfManyForOne: shops with long names push out several with short
// ones each, for which ristretto evicts some keys twice.
func TestEvictionOfManyForOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.open(Config{MaxBytes: 12 << 10})
	const crowd = 500
	names := make([]string, 0, 2*crowd)
	for i := range crowd {
		names = append(names, fmt.Sprint("s", i), fmt.Sprint(i, strings.Repeat("x", 230)))
	}
	out := make([]shops.ShopRead, len(names))
	for range 5 {
		c.Shops(w.soon(), names, discovery.ReadOptions{}, out)
	}
	w.eventually(func() string {
		c.keep.Wait()
		if entries, loading := c.index.len(); entries == 0 || entries > 30 || loading > 0 {
			return fmt.Sprintf("%d entries, %d loading", entries, loading)
		}
		return ""
	})
}

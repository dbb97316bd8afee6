package cache

import (
	"fmt"
	"strings"
	"testing"

	"magellan/internal/discovery"
	"magellan/internal/zk"
)

// TestTreeLongList: a directory whose list of children is longer than the server's jute.maxbuffer is
// mirrored as any other, because jute.maxbuffer bounds what a server takes and not what it sends.
func TestTreeLongList(t *testing.T) {
	t.Parallel()
	const children, nameBytes, maxBuffer = 6500, 170, 1 << 20
	name := func(i int) string { return fmt.Sprintf("%06d-%s", i, strings.Repeat("x", nameBytes-7)) }
	if children*nameBytes <= maxBuffer {
		t.Fatalf("%d names of %d bytes are no more than %d", children, nameBytes, maxBuffer)
	}
	w := newWorld(t)
	w.put("/tree/cart", "")
	for first := 0; first < children; first += 500 {
		var ops []zk.Op
		for i := first; i < first+500; i++ {
			ops = append(ops, zk.CreateOp("/tree/cart/"+name(i), []byte("1"), zk.CreateOptions{}))
		}
		w.atOnce(ops...)
	}
	g := w.grove(Config{}, mixed)
	// wantAll waits until the directory has so many records, this one among them, and it is certain.
	wantAll := func(n int, record string) {
		t.Helper()
		g.eventually(func() string {
			value, meta, err := g.tree.Get(g.soon(), "cart", discovery.ReadOptions{})
			if err != nil {
				return err.Error()
			}
			records := strings.Fields(value.text)
			if is := strings.Contains(value.text, record); len(records) != n || !is || meta.Cache != discovery.Hit {
				return fmt.Sprintf("%d records of %d, %s among them: %t, %v", len(records), n, record, is, meta.Cache)
			}
			return ""
		})
	}
	wantAll(children, name(children-1)+"=1")
	w.put("/tree/cart/"+name(17), "2")
	wantAll(children, name(17)+"=2")
	w.put("/tree/cart/"+name(children), "3")
	wantAll(children+1, name(children)+"=3")
	w.delete("/tree/cart/" + name(17))
	wantAll(children, name(children)+"=3")

	w.must(w.server.Kill())
	w.must(w.server.Restart())
	w.put("/tree/cart/"+name(18), "4")
	wantAll(children, name(18)+"=4")
	if problems := g.Problems(); len(problems) != 0 {
		t.Errorf("problems: %+v", problems)
	}
}

package cache

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestProblemsOfShopsAreBounded: the newest are kept, and all of pinned sets.
func TestProblemsOfShopsAreBounded(t *testing.T) {
	p := newProblems(quiet, layout)
	denied := errors.New("not permitted")
	for i := range maxShopProblems {
		p.report(layout.BadCitizenList(fmt.Sprint("list-", i)), denied, 1, 0)
	}
	const many, more = maxShopProblems + 500, 500
	for i := range many {
		p.report(layout.Shop(fmt.Sprint("shop-", i)), denied, 1, 0)
		p.report(layout.Shop(fmt.Sprint("shop-", i)), denied, 2, 0) // is no other
	}
	if kept, dropped := p.count(); kept != 2*maxShopProblems || dropped != more {
		t.Errorf("%d kept, %d dropped", kept, dropped)
	}
	for i := range many {
		if one, is := p.get(layout.Shop(fmt.Sprint("shop-", i))); is != (i >= more) || is && one.Zxid != 2 {
			t.Fatalf("shop %d: %+v, %v", i, one, is)
		}
	}
	said := ""
	for _, one := range p.list() {
		if one.Path == layout.ShopsDir() {
			said = one.Error
		}
	}
	if !strings.HasPrefix(said, "500 more") {
		t.Errorf("of those that are not listed: %q", said)
	}
	// Those that are well again leave room.
	for i := more; i < many; i++ {
		p.resolve(layout.Shop(fmt.Sprint("shop-", i)))
		p.report(layout.Shop(fmt.Sprint("other-", i)), denied, 1, 0)
	}
	if kept, dropped := p.count(); kept != 2*maxShopProblems || dropped != more || p.shops.Len() != maxShopProblems {
		t.Errorf("%d kept (%d shops), %d dropped", kept, p.shops.Len(), dropped)
	}
}

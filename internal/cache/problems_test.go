package cache

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestProblemsAreBounded: the newest are kept, and all of directories.
func TestProblemsAreBounded(t *testing.T) {
	c, err := newMirror(Config{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	p := c.problems
	denied := errors.New("not permitted")
	for i := range maxKeyedProblems {
		p.report(layout.BadCitizenList(fmt.Sprint("list-", i)), denied, 1, 0)
	}
	const many, more = maxKeyedProblems + 500, 500
	for i := range many {
		p.report(layout.Shop(fmt.Sprint("shop-", i)), denied, 1, 0)
		p.report(layout.Shop(fmt.Sprint("shop-", i)), denied, 2, 0) // is no other
	}
	if kept, dropped := p.count(); kept != 2*maxKeyedProblems || dropped != more {
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
	if kept, dropped := p.count(); kept != 2*maxKeyedProblems || dropped != more || p.keyed[c.homes].newest.Len() != maxKeyedProblems {
		t.Errorf("%d kept (%d shops), %d dropped", kept, p.keyed[c.homes].newest.Len(), dropped)
	}
}

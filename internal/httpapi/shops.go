package httpapi

import (
	"errors"
	"fmt"

	"magellan/internal/discovery"
	"magellan/internal/shops"
)

// getShop answers GET /v1/shops/{shop}: the route that all the care about
// allocations is for.
func (s *Server) getShop(q *question, a *answer) error {
	found, basis, err := s.service.Shop(q.ctx, q.name, q.read)
	a.rest(basis)
	switch {
	case errors.Is(err, discovery.ErrNotFound):
		return fmt.Errorf("shop %q: %w", q.name, discovery.ErrNotFound)
	case err == discovery.ErrBadData: // of the shop's own znode; the error of an answer from memory has no name
		return fmt.Errorf("shop %q: %w; /admin/problems says why", q.name, discovery.ErrBadData)
	case err != nil:
		return err
	}
	a.compose(contentJSON, append(appendShop(append(a.buf[:0], '{'), &found), "}\n"...))
	return nil
}

// appendShop appends the members of a shop's answer, without the braces.
func appendShop(dst []byte, a *shops.ShopAnswer) []byte {
	dst = appendString(append(dst, `"shop":`...), a.Shop)
	dst = appendString(append(dst, `,"datacenter":`...), a.Datacenter)
	return appendString(append(dst, `,"region":`...), a.Region)
}

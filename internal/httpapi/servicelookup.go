package httpapi

import (
	"context"
	"errors"

	"magellan/internal/discovery"
	"magellan/internal/services"
)

// maxLookupServices is the most services that one lookup may ask for. Each may have many
// instances.
const maxLookupServices = 1000

// lookupServices answers POST /v1/services/lookup.
func (s *Server) lookupServices(q *question, a *answer) error {
	mount, filter, err := instanceQuery(q)
	if err != nil {
		return err
	}
	l := lookups.Get().(*lookup)
	if err := l.readNames(q, "services", maxLookupServices); err != nil {
		l.free()
		return err
	}
	results, meta, err := s.services.Lookup(q.ctx, l.names, mount, q.read)
	a.rest(discovery.Basis{Meta: meta})
	if err != nil {
		l.free()
		return err
	}
	dst := append(l.body[:0], `{"results":[`...)
	for i := range results {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = s.appendServiceResult(dst, l.names[i], &results[i], filter)
	}
	l.body = append(dst, "]}\n"...)
	a.lend(contentJSON, l.body, l)
	return nil
}

// appendServiceResult appends what was found out about one service. The words of "status" are
// those of a shop's result.
func (s *Server) appendServiceResult(dst []byte, name string, r *services.Result, filter *instanceFilter) []byte {
	if r.Err == nil {
		dst = appendService(append(dst, `{"status":"found",`...), r.Answer, filter)
		return append(dst, '}')
	}
	status := "unavailable"
	switch {
	case errors.Is(r.Err, discovery.ErrNotFound):
		status = "not found"
	case errors.Is(r.Err, discovery.ErrInvalidName):
		status = "invalid"
	case errors.Is(r.Err, discovery.ErrBadData), errors.Is(r.Err, discovery.ErrUnread):
		status = "unreadable"
	}
	dst = append(append(append(dst, `{"status":"`...), status...), `",`...)
	dst = appendString(append(dst, `"service":`...), name)
	if status != "not found" {
		detail := r.Err.Error()
		if errors.Is(r.Err, context.DeadlineExceeded) {
			detail = s.timeoutDetail()
		}
		dst = appendString(append(dst, `,"detail":`...), detail)
	}
	return append(dst, '}')
}

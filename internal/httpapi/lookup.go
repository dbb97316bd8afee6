package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"magellan/internal/discovery"
	"magellan/internal/shops"
)

const (
	// maxLookupShops is the most shops one lookup may ask for.
	maxLookupShops = 10_000
	// maxLookupBody bounds a lookup's body, in bytes: 10,000 names of 255 bytes,
	// each byte of which may take three when characters beyond ASCII are
	// written as \u escapes.
	maxLookupBody = 8 << 20
	// maxKeptLookup bounds the memory that a lookup leaves for the next one, in bytes for
	// each of its buffers.
	maxKeptLookup = 1 << 20
)

// lookup is the memory of one POST /v1/shops/lookup, or of one for services. Unlike an [exchange] it is not
// needed any more once the answer has been written, so a pool may have it then.
type lookup struct {
	request bytes.Buffer
	decoder jsontext.Decoder
	text    []byte // the names, one after the other
	ends    []int  // where each ends in text
	names   []string
	results []shops.ShopResult
	body    []byte
}

var lookups = sync.Pool{New: func() any { return new(lookup) }}

// free gives l's memory to the next lookup. It drops the memory of a huge lookup, and all
// strings.
func (l *lookup) free() {
	clear(l.names)
	clear(l.results)
	if max(l.request.Cap(), cap(l.text), cap(l.body)) <= maxKeptLookup {
		lookups.Put(l)
	}
}

// lookupShops answers POST /v1/shops/lookup.
func (s *Server) lookupShops(q *question, a *answer) error {
	l := lookups.Get().(*lookup)
	if err := l.run(s, q, a); err != nil {
		l.free()
		return err
	}
	a.lend(contentJSON, l.body, l)
	return nil
}

// run reads the names, looks them up and composes the body.
func (l *lookup) run(s *Server, q *question, a *answer) error {
	if err := l.readNames(q, "shops", maxLookupShops); err != nil {
		return err
	}
	if cap(l.results) < len(l.names) {
		l.results = make([]shops.ShopResult, len(l.names))
	}
	l.results = l.results[:len(l.names)]
	meta, err := s.service.Lookup(q.ctx, l.names, q.read, l.results)
	a.rest(discovery.Basis{Meta: meta})
	if err != nil {
		return err
	}
	l.compose(s)
	return nil
}

// readNames reads the body of a question, and the names that it has in a member: at most so many.
func (l *lookup) readNames(q *question, member string, most int) error {
	l.request.Reset()
	if err := q.body.readBody(&l.request, maxLookupBody); err != nil {
		return err
	}
	return l.parse(member, most)
}

// parse reads {"shops":["42","43"]} into names, if the member is "shops". Other members are
// ignored.
//
// All names stand in one string, so that there is one allocation instead of one for each
// name. Whoever keeps a name beyond the call must clone it.
func (l *lookup) parse(member string, most int) error {
	l.text, l.ends = l.text[:0], l.ends[:0]
	d := &l.decoder
	d.Reset(&l.request)
	if d.PeekKind() != '{' {
		if _, err := d.ReadToken(); err != nil {
			return syntaxError(err)
		}
		return badRequest(fmt.Sprintf(`the body is not a JSON object such as {"%s":["42","43"]}`, member))
	}
	if _, err := d.ReadToken(); err != nil {
		return syntaxError(err)
	}
	found := false
	for d.PeekKind() == '"' {
		token, err := d.ReadToken()
		if err != nil {
			return syntaxError(err)
		}
		if token.String() != member {
			if err := d.SkipValue(); err != nil {
				return syntaxError(err)
			}
			continue
		}
		found = true
		if err := l.parseNames(d, member, most); err != nil {
			return err
		}
	}
	if _, err := d.ReadToken(); err != nil { // '}'
		return syntaxError(err)
	}
	if _, err := d.ReadToken(); err != io.EOF {
		return badRequest("something follows the JSON object in the body")
	}
	if !found {
		return badRequest(fmt.Sprintf("the body has no member %q", member))
	}

	names := string(l.text)
	l.names = l.names[:0]
	start := 0
	for _, end := range l.ends {
		l.names = append(l.names, names[start:end])
		start = end
	}
	return nil
}

// parseNames reads the array of names.
func (l *lookup) parseNames(d *jsontext.Decoder, member string, most int) error {
	if kind := d.PeekKind(); kind != '[' && kind != 0 {
		return badRequest(fmt.Sprintf("%q is not an array of strings", member))
	}
	if _, err := d.ReadToken(); err != nil {
		return syntaxError(err)
	}
	for d.PeekKind() != ']' {
		if len(l.ends) == most {
			return &requestError{kindBodyTooLarge, fmt.Sprintf("%q has more than %d elements; ask in several requests", member, most)}
		}
		kind := d.PeekKind()
		value, err := d.ReadValue()
		if err != nil {
			return syntaxError(err)
		}
		if kind != '"' {
			return badRequest(fmt.Sprintf("%q[%d] is not a string", member, len(l.ends)))
		}
		if l.text, err = jsontext.AppendUnquote(l.text, value); err != nil {
			return syntaxError(err)
		}
		l.ends = append(l.ends, len(l.text))
	}
	_, err := d.ReadToken() // ']'
	return err
}

// syntaxError returns the error of a body that is not JSON, with the place where it stops
// being JSON.
func syntaxError(err error) error {
	var syntax *jsontext.SyntacticError
	if !errors.As(err, &syntax) {
		return badRequest("the body is not JSON: it is empty or ends too early")
	}
	return badRequest(fmt.Sprintf("the body is not JSON: byte %d: %v", syntax.ByteOffset, syntax.Err))
}

// compose writes the results in the order of the names.
func (l *lookup) compose(s *Server) {
	dst := append(l.body[:0], `{"results":[`...)
	for i := range l.results {
		result := &l.results[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"status":"`...)
		dst = append(dst, result.Status.String()...)
		dst = append(dst, `",`...)
		if result.Status == shops.Found {
			dst = appendShop(dst, &result.Answer)
		} else {
			dst = appendString(append(dst, `"shop":`...), result.Answer.Shop)
			if result.Status != shops.NotFound {
				detail := result.Err.Error()
				if errors.Is(result.Err, context.DeadlineExceeded) {
					detail = s.timeoutDetail()
				}
				dst = appendString(append(dst, `,"detail":`...), detail)
			}
		}
		dst = append(dst, '}')
	}
	l.body = append(dst, "]}\n"...)
}

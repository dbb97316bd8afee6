package httpapi

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"magellan/internal/znodes"
)

var contentBytes = []string{"application/octet-stream"}

// znodePath returns the path that a question names. A stream names it with the slash at its
// beginning, and a URL mostly without.
func znodePath(name string) string {
	if strings.HasPrefix(name, "/") {
		return name
	}
	return "/" + name
}

// getZnode answers GET /v1/znodes/{path}.
func (s *Server) getZnode(q *question, a *answer) error {
	view, err := q.single("view")
	if err != nil {
		return err
	}
	path := znodePath(q.name)
	switch view {
	case "", "data":
		return s.getZnodeBytes(q, path, a)
	case "json":
		found, basis, err := s.znodes.Znode(q.ctx, path, q.read)
		a.rest(basis)
		if err != nil {
			return err
		}
		a.compose(contentJSON, append(appendZnode(a.buf[:0], path, found), '\n'))
		return nil
	}
	return badRequest(fmt.Sprintf("there is no view %q: want data or json", view))
}

// getZnodeBytes answers with what a znode holds. The bytes are the cache's, and nobody changes them;
// their hash, and what they are compressed, is kept with them.
func (s *Server) getZnodeBytes(q *question, path string, a *answer) error {
	data, basis, err := s.znodes.Data(q.ctx, path, q.read)
	a.rest(basis)
	if err != nil {
		return err
	}
	kept := data.Memo(func() any { return newRendering(data.Bytes, &s.memoWork) }).(*rendering)
	a.share(contentBytes, kept.hash, kept)
	a.noSniff = true
	return nil
}

// appendZnode appends a znode with its stat and its children.
func appendZnode(dst []byte, path string, z znodes.Znode) []byte {
	dst = appendString(append(dst, `{"path":`...), path)
	switch {
	case z.Bytes == nil:
		dst = append(dst, `,"data":null`...)
	case utf8.Valid(z.Bytes):
		dst = appendString(append(dst, `,"data":`...), view(z.Bytes))
	default:
		dst = base64.StdEncoding.AppendEncode(append(dst, `,"data_base64":"`...), z.Bytes)
		dst = append(dst, '"')
	}
	number := func(name string, n int64) {
		dst = strconv.AppendInt(append(append(append(dst, ",\""...), name...), "\":"...), n, 10)
	}
	text := func(name, value string) {
		dst = append(append(append(append(append(dst, ",\""...), name...), "\":\""...), value...), '"')
	}
	moment := func(name string, ms int64) {
		text(name, time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z07:00"))
	}
	dst = append(dst, `,"stat":{"version":`...)
	dst = strconv.AppendInt(dst, int64(z.Version), 10)
	number("cversion", int64(z.Cversion))
	text("czxid", zxidText(z.Data.Czxid))
	text("mzxid", zxidText(z.Mzxid))
	text("pzxid", zxidText(z.List.Pzxid))
	moment("ctime", z.Ctime)
	moment("mtime", z.Mtime)
	if z.Owner != 0 {
		text("ephemeral_owner", zxidText(z.Owner))
	}
	number("data_length", int64(len(z.Bytes)))
	number("num_children", int64(len(z.Names)))
	return append(appendStrings(append(dst, `},"children":`...), z.Names), '}')
}

// zxidText is how zxids and sessions are written in headers and in ZooKeeper's own tools.
func zxidText(n int64) string { return string(appendZxid(nil, n)) }

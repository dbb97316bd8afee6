package httpapi

import (
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"mime"
	"strconv"
	"strings"

	"magellan/internal/znodes"
)

// This file is the reading half of ZooKeeper's own REST gateway, so that what reads ZooKeeper
// through that gateway can read it here. The format is that of SPEC.txt and of ZNodeResource.java in
// zookeeper-contrib/zookeeper-contrib-rest of apache/zookeeper.
//
// Two things differ. There is no JSONP: it would give every page in a browser what only the pages
// of --cors-origin may read. And errors are problem documents, under the gateway's status codes,
// except that a znode which may not be read is 403 and not 502.

var (
	contentXML        = []string{"application/xml"}
	contentJavaScript = []string{"application/javascript"}
)

// getGateway answers GET /znodes/v1/{path}.
func (s *Server) getGateway(q *question, a *answer) error {
	for _, parameter := range []string{"view", "dataformat", "callback"} {
		if _, err := q.single(parameter); err != nil {
			return err
		}
	}
	if q.query.Get("callback") != "" {
		return badRequest("there is no JSONP here, because every page could read ZooKeeper with it: name the page's origin with --cors-origin")
	}
	a.negotiated = true
	path, as := znodePath(q.name), gatewayType(q.accept)
	if as[0] == contentBytes[0] {
		return s.getZnodeBytes(q, path, a)
	}
	found, basis, err := s.znodes.Znode(q.ctx, path, q.read)
	a.rest(basis)
	if err != nil {
		return err
	}
	w := gatewayWriter{dst: a.buf[:0], xml: as[0] == contentXML[0]}
	if q.query.Get("view") == "children" {
		w.list(path, q.uri, found.List)
	} else {
		w.stat(path, q.uri, q.query.Get("dataformat") == "utf8", found)
	}
	a.compose(as, w.dst)
	return nil
}

// gatewayTypes are the content types that the gateway answers with, by what clients accept.
var gatewayTypes = map[string][]string{
	contentJSON[0]: contentJSON, "*/*": contentJSON, "application/*": contentJSON,
	contentJavaScript[0]: contentJavaScript,
	contentXML[0]:        contentXML, "text/xml": contentXML,
	contentBytes[0]: contentBytes,
}

// gatewayType returns the first of the gateway's content types that the client accepts, in the
// client's order, and JSON if it accepts none of them or does not say. Qualities are only looked
// at for 0.
func gatewayType(accept []string) []string {
	for _, values := range accept {
		for value := range strings.SplitSeq(values, ",") {
			kind, parameters, err := mime.ParseMediaType(value)
			if err != nil {
				continue
			}
			if q, err := strconv.ParseFloat(parameters["q"], 64); err == nil && q == 0 {
				continue
			}
			if as := gatewayTypes[kind]; as != nil {
				return as
			}
		}
	}
	return contentJSON
}

// gatewayWriter writes one structure of the gateway, as JSON or XML.
type gatewayWriter struct {
	dst   []byte
	xml   bool
	comma bool
}

// Write implements [io.Writer], for [xml.EscapeText].
func (w *gatewayWriter) Write(p []byte) (int, error) {
	w.dst = append(w.dst, p...)
	return len(p), nil
}

// begin and end enclose the structure, which XML names.
func (w *gatewayWriter) begin(name string) {
	if w.xml {
		w.dst = append(append(append(w.dst, xml.Header...), '<'), name...)
		w.dst = append(w.dst, '>')
		return
	}
	w.dst = append(w.dst, '{')
}

func (w *gatewayWriter) end(name string) {
	if w.xml {
		w.dst = append(append(append(w.dst, "</"...), name...), '>')
		return
	}
	w.dst = append(w.dst, '}')
}

// raw writes a member whose value needs no quotes.
func (w *gatewayWriter) raw(name, value string) {
	if w.xml {
		w.dst = fmt.Appendf(w.dst, "<%s>%s</%s>", name, value, name)
		return
	}
	w.name(name)
	w.dst = append(w.dst, value...)
}

func (w *gatewayWriter) name(name string) {
	if w.comma {
		w.dst = append(w.dst, ',')
	}
	w.comma = true
	w.dst = append(appendString(w.dst, name), ':')
}

func (w *gatewayWriter) text(name, value string) {
	if w.xml {
		w.dst = append(append(append(w.dst, '<'), name...), '>')
		_ = xml.EscapeText(w, []byte(value)) // Write does not fail
		w.dst = append(append(append(w.dst, "</"...), name...), '>')
		return
	}
	w.name(name)
	w.dst = appendString(w.dst, strings.ToValidUTF8(value, "\uFFFD"))
}

func (w *gatewayWriter) number(name string, n int64) { w.raw(name, strconv.FormatInt(n, 10)) }

// stat writes what the gateway calls a STAT.
func (w *gatewayWriter) stat(path, uri string, utf8 bool, z znodes.Znode) {
	w.begin("stat")
	w.text("path", path)
	w.text("uri", uri)
	switch {
	case z.Bytes == nil:
	case utf8:
		w.text("dataUtf8", string(z.Bytes))
	default:
		w.text("data64", base64.StdEncoding.EncodeToString(z.Bytes))
	}
	w.number("czxid", z.Data.Czxid)
	w.number("mzxid", z.Mzxid)
	w.number("ctime", z.Ctime)
	w.number("mtime", z.Mtime)
	w.number("version", int64(z.Version))
	w.number("cversion", int64(z.Cversion))
	w.number("aversion", int64(z.Aversion))
	w.number("ephemeralOwner", z.Owner)
	w.number("dataLength", int64(len(z.Bytes)))
	w.number("numChildren", int64(len(z.Names)))
	w.number("pzxid", z.List.Pzxid)
	w.end("stat")
}

// list writes what the gateway calls a CHILD.
func (w *gatewayWriter) list(path, uri string, l *znodes.List) {
	w.begin("child")
	w.text("path", path)
	w.text("uri", uri)
	w.text("child_uri_template", strings.TrimSuffix(uri, "/")+"/{child}")
	if w.xml {
		w.dst = append(w.dst, "<children>"...)
		for _, name := range l.Names {
			w.text("child", name)
		}
		w.dst = append(w.dst, "</children>"...)
	} else {
		w.name("children")
		w.dst = appendStrings(w.dst, l.Names)
	}
	w.end("child")
}

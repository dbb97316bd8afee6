package httpapi

import (
	"fmt"
	"strconv"
)

// getBadCitizens answers GET /v1/bad-citizens.
func (s *Server) getBadCitizens(x *exchange) error {
	format, since, err := x.badCitizensQuery()
	if err != nil {
		return err
	}
	answer, basis, err := s.service.BadCitizens(x.ctx, x.readOptions())
	if err != nil {
		return x.failWith(basis, err)
	}
	edition, isNew := s.badCitizens[format].edition(answer)
	if isNew {
		for i := range s.badCitizens {
			s.badCitizens[i].forget(answer.Version)
		}
	}
	contentType := badCitizensFormats[format].contentType
	x.rest(basis)
	if had, err := x.clientHas(edition.etag); had {
		return err // and nobody has to render the list
	}
	if from, ok := parseSince(since); ok {
		if from == edition.hash && x.mayWait() {
			return errUnchanged
		}
		if delta := edition.delta(from); delta != nil {
			x.w.Header()["Delta-Base"] = []string{formatETag(from)}
			return x.sendBody(contentType, delta)
		}
	}
	return x.sendBody(contentType, edition.whole())
}

// badCitizensQuery returns the index of the format asked for, and the version to
// tell the changes since.
func (x *exchange) badCitizensQuery() (format int, since string, err error) {
	if x.r.URL.RawQuery == "" {
		return 0, "", nil
	}
	values, err := x.query("format", "since")
	if err != nil {
		return 0, "", err
	}
	name, err := single(values, "format")
	if err != nil {
		return 0, "", err
	}
	if since, err = single(values, "since"); err != nil {
		return 0, "", err
	}
	if values.Has("format") {
		for format = range badCitizensFormats {
			if badCitizensFormats[format].name == name {
				break
			}
		}
		if badCitizensFormats[format].name != name {
			return 0, "", badRequest(fmt.Sprintf("format %q is none of json, text, nginx, ipset", name))
		}
	}
	if values.Has("since") && badCitizensFormats[format].delta == nil {
		return 0, "", badRequest(fmt.Sprintf("format %q cannot tell what has changed: leave out \"since\", or ask for json, text or ipset", name))
	}
	return format, since, nil
}

// getBadCitizen answers GET /v1/bad-citizens/{ip}.
func (s *Server) getBadCitizen(x *exchange) error {
	ip, err := x.param()
	if err != nil {
		return err
	}
	answer, basis, err := s.service.BadCitizen(x.ctx, ip, x.readOptions())
	if err != nil {
		return x.failWith(basis, err)
	}
	dst := append(x.body[:0], `{"ip":"`...)
	dst = answer.Addr.AppendTo(dst)
	dst = strconv.AppendBool(append(dst, `","listed":`...), answer.Listed)
	if answer.Listed {
		dst = appendBadCitizen(append(dst, `,"entry":`...), &answer.Entry)
	}
	x.body = append(dst, "}\n"...)
	return x.answer(basis, contentJSON, x.body)
}

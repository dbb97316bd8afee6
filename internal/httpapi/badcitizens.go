package httpapi

import (
	"fmt"
	"strconv"
)

// getBadCitizens answers GET /v1/bad-citizens.
func (s *Server) getBadCitizens(q *question, a *answer) error {
	format, since, err := badCitizensQuery(q)
	if err != nil {
		return err
	}
	list, basis, err := s.service.BadCitizens(q.ctx, q.read)
	a.rest(basis)
	if err != nil {
		return err
	}
	edition, isNew := s.badCitizens[format].edition(list)
	if isNew {
		for i := range s.badCitizens {
			s.badCitizens[i].forget(list.Version)
		}
	}
	// Nothing is rendered here: a client that has this version needs no body.
	body := sharedBody(edition)
	if a.since, a.follows = parseSince(since); a.follows {
		body = badCitizensSince{edition, a.since}
	}
	a.share(badCitizensFormats[format].contentType, edition.hash, body)
	return nil
}

// badCitizensQuery returns the index of the format asked for, and the version to
// tell the changes since.
func badCitizensQuery(q *question) (format int, since string, err error) {
	name, err := q.single("format")
	if err != nil {
		return 0, "", err
	}
	if since, err = q.single("since"); err != nil {
		return 0, "", err
	}
	if q.query.Has("format") {
		for format = range badCitizensFormats {
			if badCitizensFormats[format].name == name {
				break
			}
		}
		if badCitizensFormats[format].name != name {
			return 0, "", badRequest(fmt.Sprintf("format %q is none of json, text, nginx, ipset", name))
		}
	}
	if q.query.Has("since") && badCitizensFormats[format].delta == nil {
		return 0, "", badRequest(fmt.Sprintf("format %q cannot tell what has changed: leave out \"since\", or ask for json, text or ipset", name))
	}
	return format, since, nil
}

// getBadCitizen answers GET /v1/bad-citizens/{ip}.
func (s *Server) getBadCitizen(q *question, a *answer) error {
	known, basis, err := s.service.BadCitizen(q.ctx, q.name, q.read)
	a.rest(basis)
	if err != nil {
		return err
	}
	dst := append(a.buf[:0], `{"ip":"`...)
	dst = known.Addr.AppendTo(dst)
	dst = strconv.AppendBool(append(dst, `","listed":`...), known.Listed)
	if known.Listed {
		dst = appendBadCitizen(append(dst, `,"entry":`...), &known.Entry)
	}
	a.compose(contentJSON, append(dst, "}\n"...))
	return nil
}

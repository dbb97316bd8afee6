package httpapi

import (
	"context"
	"errors"
	"strconv"
	"time"

	"magellan/internal/discovery"
)

// aboutAsOld is by how much the ages of answers may differ that are told as one, in seconds: those
// of different sessions always differ a little.
const aboutAsOld = 5

// unknownAge stands for the age of an answer that is not known any more.
const unknownAge = -1

// beat writes the sign of life of a stream, the event "age". It says how long ago the answers that
// the client has were last known to be true, since a value that stays the same has no other event:
//
//	{"time":1764500000123,"age":1,"others":{"shop=42":310,"shop=43":null}}
//
// time is when that was written: see appendTime. age is that of nearly all answers, in seconds. others has the keys of which it is not the age;
// null stands for a key whose answer the client cannot have, or of which nothing is known.
//
// An answer that has become too old to be given is marked, because no change is published for that.
func (s *stream) beat() {
	ages := s.ages()
	age := int64(unknownAge)
	for _, one := range ages {
		if one != unknownAge && (age == unknownAge || one < age) {
			age = one
		}
	}
	common := age
	for _, one := range ages {
		if one <= age+aboutAsOld {
			common = max(common, one)
		}
	}
	s.event("age")
	dst := appendTime(append(s.out.AvailableBuffer(), `{"time":`...))
	dst = appendAge(append(dst, `,"age":`...), common)
	others := 0
	for i, one := range ages {
		if one != unknownAge && one <= common {
			continue
		}
		if others++; others == 1 {
			dst = append(dst, `,"others":{`...)
		} else {
			dst = append(dst, ',')
		}
		dst = appendAge(append(appendString(dst, s.keys[i].String()), ':'), one)
	}
	if others > 0 {
		dst = append(dst, '}')
	}
	s.out.Write(append(dst, "}\n"...))
	s.close(false)
}

// appendTime appends the time at which an event is written, in milliseconds of Unix time. An event may
// lie in a network that stands still, and its ages count from that time. Clients need not have the
// same time: they see by how much more than usual an event is late.
func appendTime(dst []byte) []byte { return strconv.AppendInt(dst, time.Now().UnixMilli(), 10) }

// appendAge appends an age in seconds.
func appendAge(dst []byte, age int64) []byte {
	if age == unknownAge {
		return append(dst, "null"...)
	}
	return strconv.AppendInt(dst, age, 10)
}

// ages returns the age of each key's answer, in seconds, or unknownAge. Keys with the same need
// stand one behind the other, and the need is looked at once for all of them: otherwise the list of
// bad citizens would be searched for each of 500 addresses.
func (s *stream) ages() []int64 {
	ctx, cancel := context.WithTimeout(s.x.r.Context(), s.x.server.cfg.RequestTimeout)
	defer cancel()
	ages := make([]int64, len(s.keys))
	var last *need
	var basis discovery.Basis
	var err error
	for i, k := range s.keys {
		needs := k.what.needs
		if needs.named || needs != last {
			last = needs
			basis, err = needs.known(ctx, s.x.server, k.name)
		}
		ages[i] = unknownAge
		if err == nil || !passing(err) {
			ages[i] = wholeSeconds(basis.Age)
		} else if k.state != 0 && errors.Is(err, discovery.ErrTooOld) {
			s.changed(k)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, k := range s.keys {
		if k.state == 0 || k.pending {
			ages[i] = unknownAge // what is known is not what the client has
		}
	}
	return ages
}

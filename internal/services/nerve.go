package services

import (
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
)

// nerve is the layout of Airbnb's SmartStack. The znode PATH/INSTANCE_SEQUENCE holds a JSON
// object, {"host":"10.2.0.7","port":8443,"name":"i-9","weight":2,"labels":{"az":"a"}}:
// https://github.com/airbnb/nerve/blob/master/lib/nerve/reporter/base.rb
//
// With the option use_path_encoding, nerve writes the same object into the znode's name too,
// as base64_LENGTH_TEXT_SEQUENCE, where TEXT is base64 for URLs:
// https://github.com/airbnb/nerve/blob/master/lib/nerve/reporter/zookeeper.rb
var nerve = Layout{
	Name:    "nerve",
	Summary: "nerve of Airbnb's SmartStack",
	Decode:  decodeNerve,
	Typical: typicalNerve,
}

// typicalNerve: nerve writes the name of its host.
func typicalNerve(_ Znode, r Record) bool {
	_, ok := r.Instances[0].Meta("name")
	return ok
}

func decodeNerve(z Znode) (Record, error) {
	// synapse, which reads what nerve writes, prefers the name to the data. So do we.
	if data, sequence, ok := cutNerveName(z.Name); ok {
		if f, err := parseFields(data); err == nil {
			r, err := nerveRecord(z, f, sequence)
			f.free()
			if err == nil {
				return r, nil
			}
		}
	}
	f, err := parseFields(z.Data)
	if err != nil {
		return Record{}, err
	}
	defer f.free()
	return nerveRecord(z, f, "")
}

// nerveRecord makes a record of an object. sequence is the last part of a name in which the
// object was, which is too long to be the instance's ID.
func nerveRecord(z Znode, f jsonFields, sequence string) (Record, error) {
	e, err := f.endpoint("host", "port")
	if err != nil {
		return Record{}, err
	}
	labels := f.object("labels")
	m := room(labels, 2)
	m.addAll(labels)
	m.addField(f, "haproxy_server_options")
	m.addField(f, "name")
	i := Instance{Endpoints: []Endpoint{e}, Zone: labels.text("az")}
	i.Weight, i.Weighted = f.weight("weight")
	// A host that registers again has the same name until its old session ends. So the name
	// alone does not tell instances apart.
	id := z.Name
	if name := f.text("name"); name != "" && sequence != "" {
		id = name + sequence
	}
	return oneInstance(z, id, i, m)
}

// cutNerveName returns the JSON text in a znode's name, and the name's end "_SEQUENCE".
func cutNerveName(name string) (data []byte, sequence string, ok bool) {
	rest, found := strings.CutPrefix(name, "base64_")
	if !found {
		return nil, "", false
	}
	length, text, found := strings.Cut(rest, "_")
	n, err := strconv.Atoi(length)
	if !found || err != nil || n <= 0 || n > len(text) {
		return nil, "", false
	}
	data, err = base64URL(text[:n])
	return data, text[n:], err == nil
}

// base64URL decodes base64 for URLs, with padding or without.
func base64URL(s string) ([]byte, error) {
	data, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
	if err != nil {
		return nil, errors.New("not valid base64")
	}
	return data, nil
}

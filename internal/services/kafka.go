package services

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// kafka is the layout of Apache Kafka's brokers, in the versions that use ZooKeeper. The
// znode CHROOT/brokers/ids/ID holds a JSON object, of which there are five versions:
// https://github.com/apache/kafka/blob/3.9/core/src/main/scala/kafka/zk/ZkData.scala
//
// The fields host and port are for old clients. A broker that has no PLAINTEXT listener
// writes null and -1 there. The field endpoints, since version 2, has all listeners.
var kafka = Layout{
	Name:    "kafka",
	Summary: "the brokers of Apache Kafka, if it uses ZooKeeper",
	Base:    baseBelow("brokers/ids", "kafka"),
	Inside:  flat(Records),
	Decode:  decodeKafka,
}

// kafkaTLS are the security protocols that use TLS, from Kafka's enum SecurityProtocol.
var kafkaTLS = []string{"SSL", "SASL_SSL"}

func decodeKafka(z Znode) (Record, error) {
	f, err := parseFields(z.Data)
	if err != nil {
		return Record{}, err
	}
	defer f.free()
	i := Instance{Zone: f.text("rack")}
	if i.Endpoints, err = kafkaEndpoints(f); err != nil {
		return Record{}, err
	}
	m := room(f, 0)
	m.addAll(f, "host", "port", "endpoints", "rack")
	return oneInstance(z, z.Name, i, m)
}

// kafkaEndpoints returns the broker's listeners. The main one is that of the fields host and
// port, or else the first in the list. A listener that is broken is left out if another one is
// left.
func kafkaEndpoints(f jsonFields) (endpoints []Endpoint, err error) {
	old := Endpoint{}
	if f.has("host") {
		if old, err = f.endpoint("host", "port"); err == nil {
			old.Name = "PLAINTEXT"
		}
	} else {
		err = errors.New(`neither field "host" nor field "endpoints" has a host`)
	}
	protocols := f.object("listener_security_protocol_map")
	element := 0
	for listeners := f.array("endpoints"); listeners.more(); {
		element++
		e, broken := kafkaListener(listeners.valueText(), protocols)
		if broken != nil {
			err = fmt.Errorf("field %q, element %d: %w", "endpoints", element, broken)
			continue
		}
		endpoints = append(endpoints, e)
	}
	switch {
	case len(endpoints) > 0:
		main := slices.IndexFunc(endpoints, func(e Endpoint) bool { return e.Host == old.Host && e.Port == old.Port })
		if main > 0 {
			endpoints[0], endpoints[main] = endpoints[main], endpoints[0]
		}
		return endpoints, nil
	case old.Host != "":
		return []Endpoint{old}, nil
	default:
		return nil, err
	}
}

// kafkaListener parses NAME://HOST:PORT. Up to version 3 of the record there is no map of
// protocols, and the name is that of a protocol.
func kafkaListener(s string, protocols jsonFields) (Endpoint, error) {
	name, address, found := strings.Cut(s, "://")
	if !found || name == "" {
		return Endpoint{}, fmt.Errorf("%s is no listener", quote(s))
	}
	e, err := parseHostColonPort(address)
	if err != nil {
		return Endpoint{}, err
	}
	e.Name = name
	protocol := protocols.text(name)
	if protocol == "" {
		protocol = name
	}
	e.TLS = slices.Contains(kafkaTLS, strings.ToUpper(protocol))
	return e, nil
}

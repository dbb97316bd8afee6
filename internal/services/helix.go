package services

import (
	"errors"
	"slices"
	"strings"
)

// helix is the layout of Apache Helix, which Pinot uses. The znode
// /CLUSTER/LIVEINSTANCES/HOST_PORT exists while the instance runs. It holds a ZNRecord as JSON,
// {"id":"h1_8098","simpleFields":{"LIVE_INSTANCE":"4711@h1",...},...}:
// https://github.com/apache/helix/blob/master/helix-core/src/main/java/org/apache/helix/model/LiveInstance.java
//
// The address stands in the znode's name only. A record whose bytes cannot be read is an
// instance without metadata.
var helix = Layout{
	Name:    "helix",
	Summary: "the live instances of an Apache Helix cluster, such as one of Apache Pinot",
	Base:    baseBelow("LIVEINSTANCES", "helix"),
	Inside:  flat(Records),
	Decode:  decodeHelix,
}

// pinotRoles are the words with which names start in clusters of Pinot:
// https://github.com/apache/pinot/blob/master/pinot-spi/src/main/java/org/apache/pinot/spi/utils/CommonConstants.java
var pinotRoles = []string{"Broker", "Controller", "Minion", "Server"}

func decodeHelix(z Znode) (Record, error) {
	name, role := z.Name, ""
	if word, rest, found := strings.Cut(name, "_"); found && slices.Contains(pinotRoles, word) && hasPort(rest) {
		name, role = rest, word
	}
	e, err := parseHelixName(name)
	if err != nil {
		return Record{}, err
	}
	var m metadata
	if f, err := parseFields(z.Data); err == nil {
		defer f.free()
		simple := f.object("simpleFields")
		m = room(simple, 1)
		m.addAll(simple)
	}
	if role != "" {
		m.add("role", role)
	}
	return oneInstance(z, z.Name, Instance{Endpoints: []Endpoint{e}}, m)
}

// hasPort is true for a name that ends as parseHelixName needs it. A host may be called
// "Server" in a cluster that is not Pinot's.
func hasPort(name string) bool { return strings.ContainsAny(name, "_:") }

// parseHelixName parses HOST_PORT and HOST:PORT. The host may have "_" too, and the separator
// is the last one. Helix itself does so in InstanceConfig.toInstanceConfig.
func parseHelixName(name string) (Endpoint, error) {
	for _, separator := range []byte{':', '_'} {
		i := strings.LastIndexByte(name, separator)
		if i < 0 || i+1 == len(name) || strings.Trim(name[i+1:], "0123456789") != "" {
			continue
		}
		host, err := parseHost(name[:i])
		if err != nil {
			return Endpoint{}, err
		}
		port, err := parsePort(name[i+1:])
		return Endpoint{Host: host, Port: port}, err
	}
	return Endpoint{}, errors.New("the name is neither HOST_PORT nor HOST:PORT")
}

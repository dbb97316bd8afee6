package services

import (
	"fmt"
	"strings"
)

// druid is the layout of Apache Druid. The znode BASE/internal-discovery/ROLE/HOST:PORT holds
// a DiscoveryDruidNode as JSON, which Druid may compress with gzip:
// https://github.com/apache/druid/blob/master/server/src/main/java/org/apache/druid/discovery/DiscoveryDruidNode.java
// https://github.com/apache/druid/blob/master/server/src/main/java/org/apache/druid/curator/discovery/CuratorDruidNodeAnnouncer.java
//
// The service has the name of the role's directory. For Druid's own roles that is in capital
// letters, such as MIDDLE_MANAGER. Old versions of Druid, and extensions with their own roles,
// write it as in the field nodeType, such as middleManager.
var druid = Layout{
	Name:    "druid",
	Summary: "the processes of Apache Druid, a service for each role",
	Base:    baseBelow("internal-discovery", "druid"),
	Inside:  insideDruid,
	Decode:  decodeDruid,
}

func insideDruid(dir string) Inside {
	switch {
	case dir == "":
		return Directories
	case strings.Contains(dir, "/"):
		return Nothing
	default:
		return Records
	}
}

func decodeDruid(z Znode) (Record, error) {
	f, err := parseFields(z.Data)
	if err != nil {
		return Record{}, err
	}
	defer f.free()
	node, err := f.neededObject("druidNode")
	if err != nil {
		return Record{}, err
	}
	endpoints, err := druidEndpoints(node)
	if err != nil {
		return Record{}, fmt.Errorf("field %q: %w", "druidNode", err)
	}
	m := room(f, 2)
	m.addAll(f, "druidNode")
	m.addField(node, "service")
	m.addField(node, "version")
	return oneInstance(z, z.Name, Instance{Endpoints: endpoints}, m)
}

// druidEndpoints follows the class DruidNode: the port for TLS is the main one if it is
// enabled. The field host may be HOST:PORT, and the field port is an old name of the field
// plaintextPort.
// https://github.com/apache/druid/blob/master/server/src/main/java/org/apache/druid/server/DruidNode.java
func druidEndpoints(node jsonFields) ([]Endpoint, error) {
	text, err := node.neededText("host")
	if err != nil {
		return nil, err
	}
	plain, err := parseHostPort(text)
	if err != nil {
		return nil, fmt.Errorf("field %q: %w", "host", err)
	}
	for _, key := range []string{"plaintextPort", "port"} {
		port, err := node.port(key)
		if err != nil {
			return nil, err
		}
		if plain.Port == 0 {
			plain.Port = port
		}
	}
	tls := Endpoint{Host: plain.Host, TLS: true}
	if tls.Port, err = node.port("tlsPort"); err != nil {
		return nil, err
	}
	if !node.is("enableTlsPort", "true") || tls.Port == 0 {
		return []Endpoint{plain}, nil
	}
	if node.is("enablePlaintextPort", "false") || plain.Port == 0 {
		return []Endpoint{tls}, nil
	}
	plain.Name = "plaintextPort"
	return []Endpoint{tls, plain}, nil
}

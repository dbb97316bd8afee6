package services

import "strings"

// curator is the layout of Apache Curator's service discovery. The znode BASE/SERVICE/ID
// holds a ServiceInstance as JSON:
// https://github.com/apache/curator/blob/master/curator-x-discovery/src/main/java/org/apache/curator/x/discovery/ServiceInstance.java
//
// Two other programs write the same layout, with more in the payload, and often below the
// same path /services. The payload's @class tells which one it was:
//
//   - Spring Cloud Zookeeper, whose metadata has the status of the instance:
//     https://github.com/spring-cloud/spring-cloud-zookeeper/blob/main/spring-cloud-zookeeper-discovery/src/main/java/org/springframework/cloud/zookeeper/discovery/ZookeeperInstance.java
//   - Dubbo's discovery by application, whose metadata has a list of endpoints:
//     https://github.com/apache/dubbo/blob/3.2/dubbo-registry/dubbo-registry-zookeeper/src/main/java/org/apache/dubbo/registry/zookeeper/util/CuratorFrameworkUtils.java
var curator = Layout{
	Name:    "curator",
	Summary: "Apache Curator's service discovery, Spring Cloud Zookeeper, and Dubbo by application",
	Decode:  decodeCurator,
	// Curator makes them at random.
	UniqueIDs: true,
	Typical:   typicalCurator,
}

const (
	springClasses = "org.springframework."
	dubboClasses  = "org.apache.dubbo."

	// springStatus is the key of an instance's status in its metadata, from Spring's
	// StatusConstants. Spring Cloud itself writes UP and OUT_OF_SERVICE.
	springStatus = "instance_status"
	// dubboEndpoints is the key of the list of endpoints in the metadata. Its value is JSON
	// in a string, [{"port":20880,"protocol":"dubbo"}].
	dubboEndpoints = "dubbo.endpoints"
)

// typicalCurator: the record has the instance's ID and a field that Curator writes, even if it is null.
func typicalCurator(z Znode, _ Record) bool {
	f, err := parseFields(z.Data)
	if err != nil {
		return false
	}
	defer f.free()
	return f.text("id") != "" && (f.has("serviceType") || f.has("registrationTimeUTC") || f.has("sslPort") || f.has("payload") || f.has("uriSpec"))
}

func decodeCurator(z Znode) (Record, error) {
	f, err := parseFields(z.Data)
	if err != nil {
		return Record{}, err
	}
	defer f.free()
	host, err := f.host("address")
	if err != nil {
		return Record{}, err
	}
	port, err := f.port("port")
	if err != nil {
		return Record{}, err
	}
	sslPort, err := f.port("sslPort")
	if err != nil {
		return Record{}, err
	}
	i := Instance{}
	p := readPayload(f)
	plain, tls := Endpoint{Host: host, Port: port}, Endpoint{Host: host, Port: sslPort, TLS: true}
	switch {
	case sslPort == 0:
		i.Endpoints = []Endpoint{plain}
	case port == 0:
		i.Endpoints = []Endpoint{tls}
	case p.spring:
		// Spring's own clients use the port for TLS if there is one.
		plain.Name = "port"
		i.Endpoints = []Endpoint{tls, plain}
	default:
		tls.Name = "sslPort"
		i.Endpoints = []Endpoint{plain, tls}
	}
	p.describe(&i, host)
	// Curator leaves the field out if the instance is enabled, and old versions of Curator
	// do not know it.
	if f.is("enabled", "false") {
		i.Status = OutOfService
	}
	return oneInstance(z, f.text("id"), i, p.metadata)
}

// payload is what a program keeps in Curator's field for programs.
type payload struct {
	metadata metadata
	spring   bool
	fields   jsonFields // the metadata of Spring and Dubbo; none for others
}

// readPayload reads the payload. Only Spring and Dubbo have a format, which is the same one:
// {"@class":"...ZookeeperInstance","id":"cart-1","name":"cart","metadata":{"k":"v"}}. Of any
// other object the members become metadata, and any other value becomes the item "payload".
func readPayload(f jsonFields) (p payload) {
	o := f.object("payload")
	if !o.isObject() {
		p.metadata.addField(f, "payload")
		return p
	}
	class := o.text("@class")
	p.spring = strings.HasPrefix(class, springClasses)
	inner := o.object("metadata")
	switch {
	case p.spring, strings.HasPrefix(class, dubboClasses), class == "" && inner.known():
		p.fields = inner
		p.metadata = room(inner, 0)
		p.metadata.addAll(inner)
	default:
		p.metadata = room(o, 0)
		p.metadata.addAll(o)
	}
	return p
}

// known is true for metadata that only Spring or Dubbo writes. Old serializers leave out the
// payload's @class.
func (f jsonFields) known() bool { return f.has(springStatus) || f.has(dubboEndpoints) }

// describe adds to an instance what Spring's or Dubbo's metadata says about it.
func (p payload) describe(i *Instance, host string) {
	if word := p.fields.text(springStatus); word != "" {
		i.Word = word
		i.Status, _ = ParseStatus(word)
	}
	if p.spring {
		// Spring Cloud LoadBalancer reads both. It ignores a weight of 0.
		i.Zone = p.fields.text("zone")
		if w, _ := p.fields.weight("weight"); w > 0 {
			i.Weight, i.Weighted = w, true
		}
	}
	if list := p.fields.text(dubboEndpoints); list != "" {
		i.Endpoints = append(i.Endpoints, dubboPorts(list, host)...)
	}
}

// dubboPorts returns the endpoints in a list that Dubbo has written. What is wrong with one
// does not matter, because the instance has its main endpoint anyway.
func dubboPorts(list, host string) (endpoints []Endpoint) {
	d, err := parseJSON(list)
	if err != nil {
		return nil
	}
	defer d.free()
	for e := d.root().elements(); e.more(); {
		if kind := e.kind(); kind != '{' && kind != 'n' {
			return nil
		}
		f := e.fields()
		name := f.text("protocol")
		if port, err := f.port("port"); err == nil && port != 0 && name != "" {
			endpoints = append(endpoints, Endpoint{Name: name, Host: host, Port: port})
		}
	}
	return endpoints
}

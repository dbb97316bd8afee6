package client

import (
	"net"
	"net/url"
	"strconv"
)

// Service is a service that other programs keep in ZooKeeper.
type Service struct {
	Service string
	// Instances are in the order of their znodes' names. None is an answer: the service exists
	// and has no instances.
	Instances []Instance
	// Unreadable is how many records exist besides that cannot be served, because they do not
	// parse or may not be read.
	Unreadable int
}

// Instance is an instance of a service.
type Instance struct {
	ID string
	// Endpoint is the main endpoint.
	Endpoint
	// Status is UP, STARTING, OUT_OF_SERVICE, DOWN or UNKNOWN.
	Status string
	// Weight is nil if the layout has no weights.
	Weight *float64
	// Zone is empty if the record has none.
	Zone string
	// Endpoints are all endpoints, the main one first.
	Endpoints []Endpoint
	Tags      []string
	Metadata  map[string]string
	// Mount is where the service is from, and Znode the instance's znode.
	Mount, Znode string
}

// Up reports whether the instance takes requests, as far as its record says.
func (i Instance) Up() bool { return i.Status == "UP" }

// Endpoint is where an instance listens.
type Endpoint struct {
	// Name is empty for the main endpoint.
	Name string
	// Address is an IP address without brackets, or the name of a host.
	Address string
	// Port is nil if the record names none.
	Port *int
	// TLS: the record says that clients have to speak TLS.
	TLS bool
}

// HostPort is what can be dialled, such as 10.2.0.7:8080 or [2001:db8::7]:8080. ok is false if
// there is no port.
func (e Endpoint) HostPort() (address string, ok bool) {
	if e.Port == nil {
		return "", false
	}
	return net.JoinHostPort(e.Address, strconv.Itoa(*e.Port)), true
}

// Filter says which instances of a service are wanted. The zero Filter wants all.
type Filter struct {
	// Mount picks the service of one mount, if several have one of that name.
	Mount string
	// An instance must have all Tags, and one of Statuses and of Zones, as far as there are any.
	Tags, Statuses, Zones []string
}

func (f Filter) query() url.Values {
	q := url.Values{}
	if f.Mount != "" {
		q.Set("mount", f.Mount)
	}
	for name, values := range map[string][]string{"tag": f.Tags, "status": f.Statuses, "zone": f.Zones} {
		if len(values) > 0 {
			q[name] = values
		}
	}
	return q
}

// Service asks for the instances of a service. A service with a filter is followed by long polls,
// and any other by a stream.
func (c *Client) Service(name string, filter Filter) Question[Service] {
	q := named[Service](c, "/v1/services/", watchKey{ofServices, "service", name})
	if q.ask.query = filter.query(); len(q.ask.query) > 0 {
		q.key = watchKey{}
	}
	return q
}

// ServiceLookups has the answer about each service, in the order of the names.
type ServiceLookups struct{ Results []ServiceLookup }

// ServiceLookup is the answer about one of several services. If Status is "found", Service has all
// of it. "not found" says that ZooKeeper does not have it. With "invalid", "unreadable" and
// "unavailable", Detail says what is wrong.
type ServiceLookup struct {
	Status string
	Service
	Detail string
}

// ServicesNamed asks for up to 1,000 services in one request. Such a question can be asked, and not
// followed by a stream.
func (c *Client) ServicesNamed(names []string) Question[ServiceLookups] {
	return lookup[ServiceLookups](c, "/v1/services/lookup", "services", names)
}

// Services are the services of all mounts, without their instances.
type Services struct {
	Services []ServiceState
	Mounts   []Mount
}

// ServiceState is a service without its instances.
type ServiceState struct {
	Service, Mount, Layout string
	// Instances is how many instances there are, and Up how many of them are UP.
	Instances, Up int
	// Unreadable is as in [Service].
	Unreadable int
	// Unknown is why it is not known which instances there are; empty if it is known. Instances
	// and Up are 0 then and mean nothing.
	Unknown string
}

// Mount is a place in ZooKeeper with services.
type Mount struct {
	Mount, Layout string
	// Exists: ZooKeeper has the znode of the mount.
	Exists              bool
	Services, Instances int
}

// Services asks for the services of all mounts.
func (c *Client) Services() Question[Services] {
	return Question[Services]{client: c, ask: request{path: "/v1/services"}, key: watchKey{ofServices, "services", ""}}
}

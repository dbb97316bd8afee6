package services

import (
	"slices"
	"strings"
)

// Instance is one place at which a service can be reached, whatever the layout that it was
// read from. An Instance is never changed, because all who ask share it.
type Instance struct {
	// ID tells the instance from the others of its service. It is what the record calls
	// itself, or else the name of its znode.
	ID string
	// Endpoints are where the instance listens: the main one first, then the others by
	// their names. There is at least one.
	Endpoints []Endpoint
	// Status says whether the instance takes requests, in words that all layouts share.
	Status Status
	// Word is the status as the record has it, such as ALIVE in a serverset. It is empty
	// if the layout has no status.
	Word string
	// Weight is the instance's share of the requests, compared with the other instances of
	// its service. It is only meaningful if Weighted: most layouts have no weights.
	Weight   float64
	Weighted bool
	// Zone is where the instance runs, such as a rack or an availability zone. It is empty
	// if the record does not say.
	Zone string
	// Tags are in the order of the record, each once.
	Tags []string
	// Metadata is what the record says besides, ordered by key, each key once.
	Metadata []Pair
}

// Endpoint is an address of an instance.
type Endpoint struct {
	// Name is what the record calls the endpoint. The main one mostly has no name.
	Name string
	// Host is an IP address, without brackets and in its canonical form, or the name of a
	// host.
	Host string
	// Port is 0 if the record names none.
	Port uint16
	// TLS: the record says that clients have to speak TLS here.
	TLS bool
}

// Pair is one item of an instance's metadata.
type Pair struct{ Key, Value string }

// equal reports whether two instances say the same.
func (i *Instance) equal(o *Instance) bool {
	return i == o || i.ID == o.ID && slices.Equal(i.Endpoints, o.Endpoints) && i.Status == o.Status && i.Word == o.Word &&
		i.Weight == o.Weight && i.Weighted == o.Weighted && i.Zone == o.Zone && slices.Equal(i.Tags, o.Tags) && slices.Equal(i.Metadata, o.Metadata)
}

// Main returns the instance's main endpoint.
func (i *Instance) Main() Endpoint { return i.Endpoints[0] }

// Meta returns the metadata of that key.
func (i *Instance) Meta(key string) (value string, ok bool) {
	for _, pair := range i.Metadata {
		if pair.Key == key {
			return pair.Value, true
		}
	}
	return "", false
}

// Status says whether an instance takes requests. The words are those of Eureka and Spring.
type Status uint8

const (
	// Up: the instance is registered, and its record does not say that it takes no requests.
	Up Status = iota
	// Starting: the instance does not take requests yet.
	Starting
	// OutOfService: somebody has taken the instance out of service.
	OutOfService
	// Down: the instance is about to end, or has failed.
	Down
	// Unknown: the record has a status that the layout does not know.
	Unknown

	statuses = iota
)

var statusNames = [statuses]string{"UP", "STARTING", "OUT_OF_SERVICE", "DOWN", "UNKNOWN"}

// String returns the status as answers have it: UP, STARTING, OUT_OF_SERVICE, DOWN or UNKNOWN.
func (s Status) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return statusNames[Unknown]
}

// ParseStatus is the inverse of [Status.String], in any case. ok is false for other words.
func ParseStatus(word string) (s Status, ok bool) {
	for i, name := range statusNames {
		if strings.EqualFold(name, word) {
			return Status(i), true
		}
	}
	return Unknown, false
}

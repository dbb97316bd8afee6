package services

import (
	"fmt"
	"strings"

	"magellan/internal/discovery"
)

// Layout describes how one community keeps services in ZooKeeper. All functions are pure, and
// are called from several goroutines at once.
//
// A mount is a tree of directories. A service is a directory whose children are instances; its
// name is the directory's path below the mount, such as "cart" or "web/prod/cart".
type Layout struct {
	// Name is what --services calls the layout.
	Name string
	// Summary says in one line who writes it, for --help.
	Summary string
	// Base returns the path of the directory that is mirrored, if an operator mounts path,
	// and the name of the service whose instances are children of that directory itself. A
	// nil Base mirrors path itself, and that service has the name of path's last element.
	Base func(path string) (dir, service string)
	// Inside says what the children of a directory are. dir is its path below the mount, ""
	// for the mount itself. A nil Inside means Mixed everywhere.
	Inside func(dir string) Inside
	// Service returns the name of the service whose instances are in a directory, and Dir
	// its inverse. dir is never "". Service returns "" for a directory that is of no service.
	// If they are nil, the two are the same.
	Service func(dir string) string
	Dir     func(service string) string
	// Decode makes a record of a child. An error says what is wrong with the bytes, and not
	// where they are. Decode must not keep z.Data.
	Decode func(z Znode) (Record, error)
	// UniqueIDs: an instance's ID tells it from those of all other services, too.
	UniqueIDs bool
	// Typical reports whether a znode that Decode takes is most likely of this layout and of no
	// other. A nil Typical says so of all that Decode takes.
	Typical func(z Znode, r Record) bool
	// Combine makes the instances of a service of all its records, for a layout in which
	// one record changes the meaning of others. The records are in the order of their
	// znodes' names. It keeps the order of the instances, and their IDs. A nil Combine takes each record's instances.
	Combine func(all []Record) []Instance
}

// Inside says what the children of a directory are; see [discovery.Inside].
type Inside = discovery.Inside

// What the children of a directory may be.
const (
	Mixed       = discovery.Mixed
	Records     = discovery.Records
	Names       = discovery.Names
	Directories = discovery.Directories
	Nothing     = discovery.Nothing
)

// Znode is what a record is made of.
type Znode struct {
	// Dir is the path of the znode's parent below the mount, "" for the mount itself.
	Dir string
	// Name is the last element of its path.
	Name string
	// Data is nil where the layout has its records in names.
	Data []byte
}

// Record is what one znode says.
type Record struct {
	// Instances are mostly one. There is none if the record is about other instances.
	Instances []Instance
	// Rule is for the layout's Combine.
	Rule any
}

// Layouts returns all layouts, ordered by name.
func Layouts() []*Layout {
	return []*Layout{
		&curator, &druid, &dubbo, &hbase, &helix, &kafka, &nerve, &plain, &serverset, &solr,
	}
}

// LayoutNamed returns the layout of that name, or an error that lists those that there are.
func LayoutNamed(name string) (*Layout, error) {
	for _, l := range Layouts() {
		if l.Name == name {
			return l, nil
		}
	}
	return nil, fmt.Errorf("there is no layout %q: want one of %s", name, LayoutNames())
}

// LayoutNames returns the names of all layouts, separated by commas.
func LayoutNames() string {
	var names []string
	for _, l := range Layouts() {
		names = append(names, l.Name)
	}
	return strings.Join(names, ", ")
}

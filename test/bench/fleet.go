package main

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"magellan/internal/services"
	"magellan/internal/zk"
)

// fleet is services in ZooKeeper, as Apache Curator registers them.
type fleet struct {
	// Dir is the path of the mount.
	Dir string `default:"/services" help:"Path of the mount."`
	// Services have so many Instances each.
	Services  int `help:"How many services."`
	Instances int `help:"How many instances each of them has."`
}

// manyServices and oneService are the two shapes that a registry may have.
func manyServices(services int) fleet { return fleet{"/services", services, 20} }

func oneService(instances int) fleet { return fleet{"/big", 1, instances} }

func (f fleet) mount() string { return "curator:" + f.Dir }

// all is how many instances there are, znodes how many znodes below the mount, and watches how
// many watches magellan needs for them: on the data of each of them, and on the children of each
// directory.
func (f fleet) all() int     { return f.Services * f.Instances }
func (f fleet) znodes() int  { return f.all() + f.Services }
func (f fleet) watches() int { return f.znodes() + f.Services + 1 }

func (f fleet) String() string {
	if f.Services == 1 {
		return fmt.Sprintf("one service with %s instances", number(float64(f.Instances), 0))
	}
	return fmt.Sprintf("%s services with %d instances each", number(float64(f.Services), 0), f.Instances)
}

// service returns the name of the i-th service. No two fleets have the same.
func (f fleet) service(i int) string { return fmt.Sprintf("%s-%05d", path.Base(f.Dir), i) }

// serviceOf returns the name of the service that the i-th instance is of.
func (f fleet) serviceOf(i int) string { return f.service(i / f.Instances) }

// id is what Curator makes of a random UUID. The IDs of a service are not in the order in which
// they were registered.
func (f fleet) id(i int) string {
	n := (uint64(i) + 1) * 0x9e3779b97f4a7c15 // is odd, so that no two are the same
	return fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", n>>32, n>>16&0xffff, n>>4&0xfff, i>>12&0xfff, n&0xffffffffffff)
}

func (f fleet) directory(i int) string { return f.Dir + "/" + f.service(i) }

// znode returns the path of the i-th instance.
func (f fleet) znode(i int) string { return f.Dir + "/" + f.serviceOf(i) + "/" + f.id(i) }

// record is the data of the i-th instance. Another build has another record, and another answer.
func (f fleet) record(i, build int) string {
	return fmt.Sprintf(`{"name":%q,"id":%q,"address":"10.%d.%d.%d","port":%d,"sslPort":null,"payload":{"zone":"eu-%c",%s,"weight":"%d"},`+
		`"registrationTimeUTC":%d,"serviceType":"DYNAMIC","uriSpec":null}`,
		f.serviceOf(i), f.id(i), i>>16&0xff, i>>8&0xff, i&0xff, 8000+i%100, 'a'+rune(i%3), toldBuild(build), 1+i%3, 1_764_300_000_000+i)
}

// toldBuild is how a build is told, which stands in the record and in the answer.
func toldBuild(build int) string { return fmt.Sprintf(`"version":"1.7.%d"`, build) }

// instance decodes the record of the i-th instance, as magellan does.
func (f fleet) instance(l *services.Layout, i int) (services.Instance, error) {
	r, err := l.Decode(services.Znode{Dir: f.serviceOf(i), Name: f.id(i), Data: []byte(f.record(i, i%5))})
	if err != nil {
		return services.Instance{}, err
	}
	return r.Instances[0], nil
}

// load writes the services into the ZooKeeper at addr.
func (f fleet) load(ctx context.Context, addr string) error {
	c, err := openClient(ctx, addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Multi(ctx, create(f.Dir, nil)); err != nil {
		return fmt.Errorf("load: %w", err)
	}
	if err := createMany(ctx, c, f.Services, func(i int) zk.Op { return create(f.directory(i), nil) }); err != nil {
		return err
	}
	return createMany(ctx, c, f.all(), func(i int) zk.Op { return create(f.znode(i), []byte(f.record(i, i%5))) })
}

// writeDirectories writes a file with the path of each directory, and returns its name.
func (f fleet) writeDirectories(dir string) (string, error) {
	file := filepath.Join(dir, "directories"+strings.ReplaceAll(f.Dir, "/", "-"))
	return file, writeLines(file, f.Services+1, func(b []byte, i int) []byte {
		if i == 0 {
			return append(b, f.Dir...)
		}
		return append(b, f.directory(i-1)...)
	})
}

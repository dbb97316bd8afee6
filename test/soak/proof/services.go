package proof

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// The services. Each mount has serviceCount of them, one for each writer. The instances in
// the mount of Curator's layout are ephemeral, and all of a writer's live with one session
// (see owner). Those in the plain mount are persistent.
const (
	serviceCount  = writers
	instanceCount = 4

	curatorPath = "/curator"
	plainPath   = "/plain"
)

// mounts are the arguments of --services.
var mounts = []string{"curator:" + curatorPath, "plain:" + plainPath}

// instance is the name of a service's j-th instance.
func instance(j int) string { return fmt.Sprint("instance-", j) }

// services is the kind of the services of one mount, whose instances tell the number of
// their last write in their metadata.
func services(name, dir string, data func(i, j, n int) []byte) kind {
	home := func(i int) string { return fmt.Sprintf("%s/%s-%d", dir, name, i) }
	return kind{
		name: name, count: serviceCount, members: instanceCount,
		url:   func(i int) string { return fmt.Sprintf("/v1/services/%s-%d", name, i) },
		path:  func(i, j int) string { return home(i) + "/" + instance(j) },
		dir:   home,
		value: strconv.Itoa, data: data,
		parse:   parseService,
		guarded: true,
	}
}

var plainServices = services("plain", plainPath, func(i, j, n int) []byte {
	return fmt.Appendf(nil, `{"host":"10.2.%d.%d","port":8080,"n":"%d"}`, i, j, n)
})

var curatorServices = func() kind {
	k := services("curator", curatorPath, func(i, j, n int) []byte {
		return fmt.Appendf(nil, `{"name":"curator-%d","id":%q,"address":"10.1.%d.%d","port":8080,"payload":{"n":"%d"},"serviceType":"DYNAMIC"}`,
			i, instance(j), i, j, n)
	})
	k.ephemeral = true
	return k
}()

// parseService takes the instances out of an answer. An instance without a number is not one
// that a writer has made.
func parseService(body []byte) (map[string]string, error) {
	var a struct {
		Instances []struct {
			ID       string
			Metadata struct{ N string }
		}
		Unreadable int
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return nil, err
	}
	if a.Instances == nil || a.Unreadable > 0 {
		return nil, fmt.Errorf("instances are missing: %.300s", body)
	}
	found := map[string]string{}
	for _, one := range a.Instances {
		if _, twice := found[one.ID]; twice || one.Metadata.N == "" {
			return nil, fmt.Errorf("%q is there twice, or has no number: %.300s", one.ID, body)
		}
		found[one.ID] = one.Metadata.N
	}
	return found, nil
}

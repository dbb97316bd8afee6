package services

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// serverset is the layout of Twitter's commons, of Finagle and of Aurora. The znode
// PATH/member_SEQUENCE holds a JSON object, {"serviceEndpoint":{"host":"10.2.0.7","port":8443},
// "additionalEndpoints":{"admin":{"host":"10.2.0.7","port":9990}},"status":"ALIVE","shard":3}:
// https://github.com/twitter/finagle/blob/develop/finagle-serversets/src/main/scala/com/twitter/finagle/serverset2/Entry.scala
//
// A sibling vector_SEQUENCE holds the weights of members:
// https://github.com/twitter/finagle/blob/develop/finagle-serversets/src/main/scala/com/twitter/finagle/serverset2/Vector.scala
var serverset = Layout{
	Name:    "serverset",
	Summary: "server sets of Finagle, Aurora and Twitter's commons",
	Decode:  decodeServerset,
	Combine: combineServerset,
}

// serversetVector is how the name of a znode with weights starts.
const serversetVector = "vector_"

// serversetStatus maps the words of the enum Status in
// https://github.com/apache/aurora/blob/master/commons/src/main/thrift/org/apache/aurora/common/thrift/endpoint.thrift
//
// A member with a warning still takes requests. Finagle, however, sends requests only to
// members that are ALIVE.
var serversetStatus = map[string]Status{
	"DEAD":     Down,
	"STARTING": Starting,
	"ALIVE":    Up,
	"STOPPING": Down,
	"STOPPED":  Down,
	"WARNING":  Up,
	"UNKNOWN":  Unknown,
}

func decodeServerset(z Znode) (Record, error) {
	f, err := parseFields(z.Data)
	if err != nil {
		return Record{}, err
	}
	defer f.free()
	if strings.HasPrefix(z.Name, serversetVector) {
		return Record{Rule: readVector(f)}, nil
	}
	i := Instance{}
	if i.Endpoints, err = serversetEndpoints(f); err != nil {
		return Record{}, err
	}
	if i.Word = f.text("status"); i.Word != "" {
		var known bool
		if i.Status, known = serversetStatus[i.Word]; !known {
			i.Status = Unknown
		}
	}
	described := f.object("metadata")
	m := room(described, 1)
	m.addAll(described)
	m.addField(f, "shard")
	return oneInstance(z, z.Name, i, m)
}

// serversetEndpoints returns the endpoints of a member. As in Finagle an additional endpoint
// that is broken is left out. If the service's own endpoint is broken, that is an error:
// otherwise an additional one, such as that for administrators, would become the main one. It
// does if the record leaves out the service's own.
func serversetEndpoints(f jsonFields) (endpoints []Endpoint, err error) {
	main, err := f.neededObject("serviceEndpoint")
	if f.has("serviceEndpoint") {
		if err != nil {
			return nil, err
		}
		e, err := main.endpoint("host", "port")
		if err != nil {
			return nil, fmt.Errorf("field %q: %w", "serviceEndpoint", err)
		}
		endpoints = append(endpoints, e)
	}
	mains := len(endpoints)
	for named := f.object("additionalEndpoints").all(); named.more(); {
		if e, err := named.fields().endpoint("host", "port"); err == nil {
			e.Name = named.key()
			endpoints = append(endpoints, e)
		}
	}
	if len(endpoints) == 0 {
		return nil, err
	}
	slices.SortFunc(endpoints[mains:], func(a, b Endpoint) int { return strings.Compare(a.Name, b.Name) })
	return endpoints, nil
}

// selector selects the members to which a weight applies: the one of that name, those of that
// shard, or those of that address.
type selector struct {
	kind string // inet, member or shard
	text string
}

// weighting is one weight of a vector.
type weighting struct {
	selector selector
	weight   float64
	priority int64
}

// vector is the content of a znode with weights.
type vector struct {
	weights []weighting
	key     string // equal for equal vectors
}

// readVector reads {"vector":[{"select":"shard=3","weight":0.5,"priority":1},...]}. As in
// Finagle an element that cannot be understood is left out, and the priority has no effect
// beyond telling two vectors apart.
func readVector(f jsonFields) vector {
	v := vector{}
	for all := f.array("vector"); all.more(); {
		e := all.fields()
		s, ok := parseSelector(e.text("select"))
		if !ok {
			continue
		}
		w := weighting{selector: s, weight: 1, priority: 1}
		if weight, ok := e.weight("weight"); ok {
			w.weight = weight
		}
		if priority, ok := e.number("priority"); ok {
			w.priority = priority
		}
		v.weights = append(v.weights, w)
		v.key += fmt.Sprintf("%s=%q %g %d\n", s.kind, s.text, w.weight, w.priority)
	}
	return v
}

// parseSelector copies the texts that it returns, because a piece of the record would keep all of it
// in memory.
func parseSelector(s string) (selector, bool) {
	kind, text, _ := strings.Cut(s, "=")
	switch kind {
	case "inet":
		first, _, _ := strings.Cut(text, ",")
		e, err := parseHostColonPort(strings.TrimSpace(first))
		return selector{"inet", strings.Clone(hostPort(e))}, err == nil
	case "member":
		return selector{"member", strings.Clone(text)}, true
	case "shard":
		n, err := strconv.ParseInt(text, 10, 32)
		return selector{"shard", strconv.FormatInt(n, 10)}, err == nil
	default:
		return selector{}, false
	}
}

// combineServerset gives each member its weight: the product of all weights that apply to
// it. Of vectors that are equal only one counts. Without a vector, members have no weights.
func combineServerset(all []Record) []Instance {
	var instances []Instance
	seen := map[string]bool{}
	weights := map[selector]float64{}
	for _, r := range all {
		instances = append(instances, r.Instances...)
		v, ok := r.Rule.(vector)
		if !ok || seen[v.key] {
			continue
		}
		seen[v.key] = true
		for _, w := range v.weights {
			product, ok := weights[w.selector]
			if !ok {
				product = 1
			}
			weights[w.selector] = product * w.weight
		}
	}
	if len(seen) == 0 {
		return instances
	}
	for n := range instances {
		i := &instances[n]
		i.Weight, i.Weighted = 1, true
		shard, _ := i.Meta("shard")
		for _, s := range []selector{{"inet", hostPort(i.Main())}, {"member", i.ID}, {"shard", shard}} {
			if weight, ok := weights[s]; ok {
				i.Weight *= weight
			}
		}
		switch {
		case math.IsNaN(i.Weight): // 0 times a product that is too large for a float64
			i.Weight = 0
		case math.IsInf(i.Weight, 0):
			i.Weight = math.MaxFloat64
		}
	}
	return instances
}

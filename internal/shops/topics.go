package shops

import "magellan/internal/discovery"

// The kinds of topic of this package.
const (
	topicShop       = "shop"
	topicDatacenter = "datacenter"
	topicTopology   = "topology"
	topicBlocklist  = "blocklist"
)

// ShopTopic is the topic of one shop's record.
func ShopTopic(name string) discovery.Topic { return discovery.Topic{Kind: topicShop, Name: name} }

// DatacenterTopic is the topic of what a shop's answer takes from its datacenter: whether the
// datacenter exists, and its region. If only the number of assigned shops changes, that is
// no change of this topic.
func DatacenterTopic(name string) discovery.Topic {
	return discovery.Topic{Kind: topicDatacenter, Name: name}
}

// TopologyTopic is the topic of all regions and datacenters.
func TopologyTopic() discovery.Topic { return discovery.Topic{Kind: topicTopology} }

// BlocklistTopic is the topic of the union of all bad-citizen lists. Nothing is published
// when an entry expires: see [Blocklist.NextExpiry].
func BlocklistTopic() discovery.Topic { return discovery.Topic{Kind: topicBlocklist} }

// TopologyChanges returns the topics of all that is different in two topologies. was may be
// nil.
func TopologyChanges(was, is *Topology) (topics []discovery.Topic) {
	if was == nil {
		was = NewTopology(0, nil, nil)
	}
	same := len(was.regions) == len(is.regions) && len(was.datacenters) == len(is.datacenters) &&
		was.regionDoubts.Same(is.regionDoubts) && was.datacenterDoubts.Same(is.datacenterDoubts)
	for i := range is.regions {
		r := is.regions[i]
		old, ok := was.Region(r.Name)
		old.Zxid = r.Zxid
		same = same && ok && old == r
	}
	for i := range is.datacenters {
		d := is.datacenters[i]
		old, ok := was.Datacenter(d.Name)
		if !ok || old.Region != d.Region {
			topics = append(topics, DatacenterTopic(d.Name))
		}
		old.Zxid = d.Zxid
		same = same && ok && old == d
	}
	for i := range was.datacenters {
		if name := was.datacenters[i].Name; is.datacenter[name] == nil {
			topics = append(topics, DatacenterTopic(name))
		}
	}
	for name, one := range was.datacenterDoubts.All() {
		// If the datacenter was held or is held now, the loops above have published what
		// has changed.
		if !one.Held && was.datacenter[name] == nil && is.datacenter[name] == nil && !discovery.Alike(one, is.datacenterDoubts.Of(name)) {
			topics = append(topics, DatacenterTopic(name))
		}
	}
	if !same {
		topics = append(topics, TopologyTopic())
	}
	return topics
}

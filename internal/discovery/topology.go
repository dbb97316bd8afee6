package discovery

// Shop is what ZooKeeper holds of one shop.
type Shop struct {
	// Name is the shop's name, the last element of its znode's path.
	Name string
	// Datacenter is the datacenter the shop lives in.
	Datacenter string
}

// Region is a region as ZooKeeper holds it.
type Region struct {
	Name string
	// Open: new shops may be placed here.
	Open bool
	// Zxid is the transaction that last changed the znode.
	Zxid int64
}

// Datacenter is a datacenter as ZooKeeper holds it.
type Datacenter struct {
	Name, Region string
	// Capacity and Assigned count shops. Assigned may exceed Capacity.
	Capacity, Assigned int64
	// Open: new shops may be placed here.
	Open bool
	// Zxid is the transaction that last changed the znode.
	Zxid int64
}

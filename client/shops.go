package client

import (
	"net/url"
	"time"
)

// Shop is where a shop lives.
type Shop struct{ Shop, Datacenter, Region string }

// Shop asks where a shop lives.
func (c *Client) Shop(name string) Question[Shop] {
	return named[Shop](c, "/v1/shops/", watchKey{ofShops, "shop", name})
}

// ShopLookups has the answer about each shop, in the order of the names.
type ShopLookups struct{ Results []ShopLookup }

// ShopLookup is the answer about one of several shops. If Status is "found", Shop has all of it.
// "not found" says that ZooKeeper does not have it. With "invalid", "unreadable" and "unavailable",
// Detail says what is wrong.
type ShopLookup struct {
	Status string
	Shop
	Detail string
}

// Shops asks for up to 10,000 shops in one request. Such a question can be asked, and not followed
// by a stream.
func (c *Client) Shops(names []string) Question[ShopLookups] {
	return lookup[ShopLookups](c, "/v1/shops/lookup", "shops", names)
}

// PlacementRequest says which shop is to be placed.
type PlacementRequest struct {
	Shop string
	// Policy is "weighted" or "least-loaded"; empty for the server's default.
	Policy string
	// Exclude and Prefer are regions and datacenters.
	Exclude, Prefer []string
}

// Placement is where a new shop should go, and why.
type Placement struct {
	Shop, Datacenter, Region, Policy string
	// Candidates could take the shop, the best first.
	Candidates []Candidate
	Rejected   []Rejection
}

// Candidate is a datacenter that could take a shop.
type Candidate struct {
	Datacenter, Region string
	// Headroom is how many shops there is room for.
	Headroom int64
	// Score is what candidates are ordered by, those that are preferred before the others.
	Score     float64
	Preferred bool
}

// Rejection is a datacenter that cannot take a shop.
type Rejection struct{ Datacenter, Region, Reason string }

// Placement asks where a new shop should go. That no datacenter can take it is a [*Problem] with
// the kind no-capacity.
func (c *Client) Placement(r PlacementRequest) Question[Placement] {
	q := Question[Placement]{client: c, ask: request{path: "/v1/placement", query: url.Values{"shop": {r.Shop}}}}
	if r.Policy == "" && len(r.Exclude) == 0 && len(r.Prefer) == 0 {
		q.key = watchKey{ofShops, "placement", r.Shop}
		return q
	}
	if r.Policy != "" {
		q.ask.query.Set("policy", r.Policy)
	}
	q.ask.query["exclude"], q.ask.query["prefer"] = r.Exclude, r.Prefer
	return q
}

// Region is a region, with the names of its datacenters.
type Region struct {
	Region string
	// Open: new shops may be placed there.
	Open        bool
	Datacenters []string
}

// Regions are all regions, in the order of their names.
type Regions struct{ Regions []Region }

// Regions asks for all regions.
func (c *Client) Regions() Question[Regions] { return whole[Regions](c, "/v1/regions", "regions") }

// Region asks for one region.
func (c *Client) Region(name string) Question[Region] {
	return named[Region](c, "/v1/regions/", watchKey{ofShops, "region", name})
}

// Datacenter is a datacenter.
type Datacenter struct {
	Datacenter, Region string
	// Open: new shops may be placed there.
	Open bool
	// Capacity and Assigned count shops. Headroom is what is left, and may be negative.
	Capacity, Assigned, Headroom int64
}

// Datacenters are all datacenters, in the order of their names.
type Datacenters struct{ Datacenters []Datacenter }

// Datacenters asks for all datacenters.
func (c *Client) Datacenters() Question[Datacenters] {
	return whole[Datacenters](c, "/v1/datacenters", "datacenters")
}

// Datacenter asks for one datacenter.
func (c *Client) Datacenter(name string) Question[Datacenter] {
	return named[Datacenter](c, "/v1/datacenters/", watchKey{ofShops, "datacenter", name})
}

// BadCitizen is an entry of a list of bad citizens.
type BadCitizen struct {
	Prefix, List, Reason string
	// Expires is when the entry leaves the list; nil for never.
	Expires *time.Time
}

// BadCitizens is the whole list.
type BadCitizens struct{ Entries []BadCitizen }

// BadCitizens asks for all bad citizens. The list is followed by long polls, because it is long,
// and a stream is not compressed.
func (c *Client) BadCitizens() Question[BadCitizens] {
	return Question[BadCitizens]{client: c, ask: request{path: "/v1/bad-citizens"}}
}

// BadCitizenAnswer says whether an address is listed, and if so by which entry.
type BadCitizenAnswer struct {
	IP     string
	Listed bool
	Entry  BadCitizen
}

// BadCitizen asks whether an address is among the bad citizens. That it is not is a value, and no
// [ErrNotFound].
func (c *Client) BadCitizen(ip string) Question[BadCitizenAnswer] {
	return named[BadCitizenAnswer](c, "/v1/bad-citizens/", watchKey{ofShops, "bad-citizen", ip})
}

// The groups of keys.
const (
	ofShops    = "shops"
	ofServices = "services"
	ofZnodes   = "znodes"
)

// named is the question about one thing, whose name ends the path.
func named[T any](c *Client, path string, key watchKey) Question[T] {
	return Question[T]{client: c, ask: request{path: path + url.PathEscape(key.name)}, key: key}
}

// whole is the question about all things of a kind.
func whole[T any](c *Client, path, parameter string) Question[T] {
	return Question[T]{client: c, ask: request{path: path}, key: watchKey{ofShops, parameter, ""}}
}

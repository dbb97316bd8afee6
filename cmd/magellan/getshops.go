package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"magellan/client"
)

type getShop struct {
	Names []string `arg:"" name:"name" help:"Names of shops."`
}

// Run asks for one shop, or looks several up in one request.
func (g *getShop) Run(ctx context.Context, c *getCommand, con *console) error {
	if err := c.only(len(g.Names) == 1); err != nil {
		return err
	}
	if len(g.Names) == 1 {
		err := show(ctx, c, con, func(cl *client.Client) client.Question[client.Shop] { return cl.Shop(g.Names[0]) }, func(w io.Writer, s client.Shop) error {
			return printShops(w, client.ShopLookup{Status: "found", Shop: s})
		})
		if errors.Is(err, client.ErrNotFound) {
			return fmt.Errorf("shop %q: %w", g.Names[0], err)
		}
		return err
	}
	all, err := ask(ctx, c, con, func(cl *client.Client) client.Question[client.ShopLookups] { return cl.Shops(g.Names) })
	if err != nil {
		return err
	}
	code := lookedUp(con, all)
	if !c.JSON {
		if err := printShops(con.out, all.Results...); err != nil {
			return err
		}
	}
	if code != exitOK {
		return &codedError{code: code} // the rows say which
	}
	return nil
}

// lookedUp returns the exit code of a lookup, and says what is wrong with names.
func lookedUp(con *console, all client.ShopLookups) (code int) {
	for _, s := range all.Results {
		switch s.Status {
		case "found":
		case "not found":
			if code == exitOK {
				code = exitNotFound
			}
		default:
			code = exitFailed
			fmt.Fprintf(con.err, "magellan: shop %q: %s: %s\n", s.Shop.Shop, s.Status, s.Detail)
		}
	}
	return code
}

func printShops(w io.Writer, all ...client.ShopLookup) error {
	return table(w, "SHOP\tDATACENTER\tREGION", func(row func(...any)) {
		for _, s := range all {
			if s.Status != "found" {
				row(s.Shop.Shop, s.Status)
				continue
			}
			row(s.Shop.Shop, s.Datacenter, s.Region)
		}
	})
}

type getPlacement struct {
	Shop    string   `required:"" placeholder:"NAME" env:"MAGELLAN_PLACEMENT_SHOP" help:"Name of the new shop."`
	Policy  string   `placeholder:"POLICY" env:"MAGELLAN_PLACEMENT_POLICY" help:"weighted (by headroom; the server's default) or least-loaded."`
	Exclude []string `placeholder:"NAME" env:"MAGELLAN_PLACEMENT_EXCLUDE" help:"Regions and datacenters that must not be chosen."`
	Prefer  []string `placeholder:"NAME" env:"MAGELLAN_PLACEMENT_PREFER" help:"Regions and datacenters to choose from if any of them can take the shop."`
}

// Run asks for a placement.
func (g *getPlacement) Run(ctx context.Context, c *getCommand, con *console) error {
	return show(ctx, c, con, func(cl *client.Client) client.Question[client.Placement] {
		return cl.Placement(client.PlacementRequest{Shop: g.Shop, Policy: g.Policy, Exclude: g.Exclude, Prefer: g.Prefer})
	}, printPlacement)
}

func printPlacement(w io.Writer, p client.Placement) error {
	fmt.Fprintf(w, "shop %s goes to %s in %s (%s)\n\n", p.Shop, p.Datacenter, p.Region, p.Policy)
	return table(w, "DATACENTER\tREGION\tHEADROOM\tSCORE\tNOTE", func(row func(...any)) {
		for _, d := range p.Candidates {
			note := ""
			if d.Preferred {
				note = "preferred"
			}
			row(d.Datacenter, d.Region, d.Headroom, fmt.Sprintf("%.6g", d.Score), note)
		}
		for _, d := range p.Rejected {
			row(d.Datacenter, d.Region, "", "", d.Reason)
		}
	})
}

type getBadCitizens struct {
	Addresses []string `arg:"" optional:"" name:"ip" help:"Addresses to look for. Without any, all bad citizens are printed."`
}

// Run lists all bad citizens, or sends one request for each address.
func (g *getBadCitizens) Run(ctx context.Context, c *getCommand, con *console) error {
	if err := c.only(len(g.Addresses) <= 1); err != nil {
		return err
	}
	if len(g.Addresses) == 0 {
		return show(ctx, c, con, (*client.Client).BadCitizens, func(w io.Writer, all client.BadCitizens) error {
			return table(w, "PREFIX\tLIST\tEXPIRES\tREASON", func(row func(...any)) {
				for _, e := range all.Entries {
					row(e.Prefix, e.List, expiry(e), orDash(e.Reason))
				}
			})
		})
	}
	if c.Follow {
		return show(ctx, c, con, func(cl *client.Client) client.Question[client.BadCitizenAnswer] {
			return cl.BadCitizen(g.Addresses[0])
		}, func(w io.Writer, one client.BadCitizenAnswer) error { return printListed(w, one) })
	}
	var all []client.BadCitizenAnswer
	absent := false
	for _, ip := range g.Addresses {
		one, err := ask(ctx, c, con, func(cl *client.Client) client.Question[client.BadCitizenAnswer] { return cl.BadCitizen(ip) })
		if err != nil {
			return err
		}
		all = append(all, one)
		absent = absent || !one.Listed
	}
	if !c.JSON {
		if err := printListed(con.out, all...); err != nil {
			return err
		}
	}
	if absent {
		return &codedError{code: exitNotFound} // the rows say which
	}
	return nil
}

func printListed(w io.Writer, all ...client.BadCitizenAnswer) error {
	return table(w, "ADDRESS\tLISTED\tPREFIX\tLIST\tEXPIRES\tREASON", func(row func(...any)) {
		for _, f := range all {
			if !f.Listed {
				row(f.IP, "no")
				continue
			}
			row(f.IP, "yes", f.Entry.Prefix, f.Entry.List, expiry(f.Entry), orDash(f.Entry.Reason))
		}
	})
}

func expiry(e client.BadCitizen) string {
	if e.Expires == nil {
		return "-"
	}
	return e.Expires.Format(time.RFC3339Nano)
}

type getRegions struct{}

// Run lists the regions.
func (getRegions) Run(ctx context.Context, c *getCommand, con *console) error {
	return show(ctx, c, con, (*client.Client).Regions, func(w io.Writer, all client.Regions) error {
		return table(w, "REGION\tOPEN\tDATACENTERS", func(row func(...any)) {
			for _, r := range all.Regions {
				row(r.Region, yesNo(r.Open), orDash(strings.Join(r.Datacenters, ", ")))
			}
		})
	})
}

type getDatacenters struct{}

// Run lists the datacenters.
func (getDatacenters) Run(ctx context.Context, c *getCommand, con *console) error {
	return show(ctx, c, con, (*client.Client).Datacenters, func(w io.Writer, all client.Datacenters) error {
		return table(w, "DATACENTER\tREGION\tOPEN\tCAPACITY\tASSIGNED\tHEADROOM", func(row func(...any)) {
			for _, d := range all.Datacenters {
				row(d.Datacenter, d.Region, yesNo(d.Open), d.Capacity, d.Assigned, d.Headroom)
			}
		})
	})
}

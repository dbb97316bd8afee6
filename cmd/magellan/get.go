package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"
)

type getCommand struct {
	Shop        getShop        `cmd:"" help:"The datacenters and regions of shops."`
	Placement   getPlacement   `cmd:"" help:"Where a new shop should go, and why."`
	BadCitizens getBadCitizens `cmd:"" help:"All bad citizens, or whether the given addresses are among them."`
	Regions     getRegions     `cmd:"" help:"All regions."`
	Datacenters getDatacenters `cmd:"" help:"All datacenters."`

	Server  string        `env:"MAGELLAN_URL" placeholder:"URL" default:"http://127.0.0.1:8080" help:"The server's address."`
	JSON    bool          `env:"MAGELLAN_GET_JSON" help:"Print the server's answer unchanged."`
	Timeout time.Duration `env:"MAGELLAN_GET_TIMEOUT" placeholder:"DURATION" default:"10s" help:"How long to wait for an answer."`
}

// problem is a problem document (RFC 9457), which the server sends with an error.
type problem struct {
	Type, Title, Detail string
}

// ask sends a request and decodes the answer into v, unless v is nil. With --json it
// also prints the answer unchanged.
func (c *getCommand) ask(ctx context.Context, con *console, method, path string, query url.Values, body, v any) error {
	server := remote{flag: "--server", url: c.Server, timeout: c.Timeout}
	resp, answer, err := server.ask(ctx, method, path, query, body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return refusal(c.Server, resp, answer)
	}
	if resp.Header.Get("X-Cache") == "STALE" {
		fmt.Fprintf(con.err, "magellan: this was true %s seconds ago: the server cannot reach ZooKeeper, or cannot serve what ZooKeeper holds (see /admin/problems)\n", resp.Header.Get("Age"))
	}
	if c.JSON {
		_, err = con.out.Write(answer)
	}
	if err == nil && v != nil {
		if err = json.Unmarshal(answer, v); err != nil {
			err = fmt.Errorf("the answer of %s is not one of magellan: %w", c.Server, err)
		}
	}
	return err
}

// refusal turns an answer other than 200 into an error.
func refusal(server string, resp *http.Response, answer []byte) error {
	var p problem
	if json.Unmarshal(answer, &p) != nil || !strings.HasPrefix(p.Type, "urn:magellan:problem:") {
		return fmt.Errorf("%s answered %s, not as magellan does: check --server", server, resp.Status)
	}
	code := exitFailed
	switch {
	case p.Type == "urn:magellan:problem:not-found":
		code = exitNotFound
	case resp.StatusCode == http.StatusServiceUnavailable, resp.StatusCode == http.StatusGatewayTimeout:
		code = exitUnreachable
	}
	text := p.Detail
	if text == "" {
		text = p.Title
	}
	return fail(code, "%s", text)
}

// table prints rows in columns; cells are separated by tabs.
func table(w io.Writer, header string, rows func(row func(cells ...any))) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, header)
	rows(func(cells ...any) {
		for i, cell := range cells {
			if i > 0 {
				fmt.Fprint(t, "\t")
			}
			fmt.Fprint(t, cell)
		}
		fmt.Fprintln(t)
	})
	return t.Flush()
}

type getShop struct {
	Names []string `arg:"" name:"name" help:"Names of shops."`
}

type shopAnswer struct {
	Shop, Datacenter, Region string
	Status, Detail           string // of a lookup
}

// Run asks for one shop, or looks several up in one request.
func (g *getShop) Run(ctx context.Context, c *getCommand, con *console) error {
	var shops []shopAnswer
	if len(g.Names) == 1 {
		shops = make([]shopAnswer, 1)
		shops[0].Status = "found"
		err := c.ask(ctx, con, http.MethodGet, "/v1/shops/"+url.PathEscape(g.Names[0]), nil, nil, &shops[0])
		if coded := (*codedError)(nil); errors.As(err, &coded) && coded.code == exitNotFound {
			return fmt.Errorf("shop %q: %w", g.Names[0], err)
		} else if err != nil {
			return err
		}
	} else {
		var answer struct{ Results []shopAnswer }
		err := c.ask(ctx, con, http.MethodPost, "/v1/shops/lookup", nil, map[string][]string{"shops": g.Names}, &answer)
		if err != nil {
			return err
		}
		shops = answer.Results
	}
	code := exitOK
	for _, s := range shops {
		switch s.Status {
		case "found":
		case "not found":
			if code == exitOK {
				code = exitNotFound
			}
		default:
			code = exitFailed
			fmt.Fprintf(con.err, "magellan: shop %q: %s: %s\n", s.Shop, s.Status, s.Detail)
		}
	}
	if !c.JSON {
		err := table(con.out, "SHOP\tDATACENTER\tREGION", func(row func(...any)) {
			for _, s := range shops {
				if s.Status != "found" {
					row(s.Shop, s.Status)
					continue
				}
				row(s.Shop, s.Datacenter, s.Region)
			}
		})
		if err != nil {
			return err
		}
	}
	if code != exitOK {
		return &codedError{code: code} // the rows say which
	}
	return nil
}

type getPlacement struct {
	Shop    string   `required:"" placeholder:"NAME" env:"MAGELLAN_PLACEMENT_SHOP" help:"Name of the new shop."`
	Policy  string   `placeholder:"POLICY" env:"MAGELLAN_PLACEMENT_POLICY" help:"weighted (by headroom; the server's default) or least-loaded."`
	Exclude []string `placeholder:"NAME" env:"MAGELLAN_PLACEMENT_EXCLUDE" help:"Regions and datacenters that must not be chosen."`
	Prefer  []string `placeholder:"NAME" env:"MAGELLAN_PLACEMENT_PREFER" help:"Regions and datacenters to choose from if any of them can take the shop."`
}

// Run asks for a placement.
func (g *getPlacement) Run(ctx context.Context, c *getCommand, con *console) error {
	query := url.Values{"shop": {g.Shop}, "exclude": g.Exclude, "prefer": g.Prefer}
	if g.Policy != "" {
		query.Set("policy", g.Policy)
	}
	var p struct {
		Shop, Datacenter, Region, Policy string
		Candidates                       []struct {
			Datacenter, Region string
			Headroom           int64
			Score              float64
			Preferred          bool
		}
		Rejected []struct{ Datacenter, Region, Reason string }
	}
	if err := c.ask(ctx, con, http.MethodGet, "/v1/placement", query, nil, &p); err != nil || c.JSON {
		return err
	}
	fmt.Fprintf(con.out, "shop %s goes to %s in %s (%s)\n\n", p.Shop, p.Datacenter, p.Region, p.Policy)
	return table(con.out, "DATACENTER\tREGION\tHEADROOM\tSCORE\tNOTE", func(row func(...any)) {
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

type badCitizen struct {
	Prefix, List, Reason, Expires string
}

// Run lists all bad citizens, or sends one request for each address.
func (g *getBadCitizens) Run(ctx context.Context, c *getCommand, con *console) error {
	if len(g.Addresses) == 0 {
		var answer struct{ Entries []badCitizen }
		if err := c.ask(ctx, con, http.MethodGet, "/v1/bad-citizens", nil, nil, &answer); err != nil || c.JSON {
			return err
		}
		return table(con.out, "PREFIX\tLIST\tEXPIRES\tREASON", func(row func(...any)) {
			for _, e := range answer.Entries {
				row(e.Prefix, e.List, orDash(e.Expires), orDash(e.Reason))
			}
		})
	}
	type found struct {
		IP     string
		Listed bool
		Entry  badCitizen
	}
	var all []found
	absent := false
	for _, ip := range g.Addresses {
		var one found
		if err := c.ask(ctx, con, http.MethodGet, "/v1/bad-citizens/"+url.PathEscape(ip), nil, nil, &one); err != nil {
			return err
		}
		all = append(all, one)
		absent = absent || !one.Listed
	}
	if !c.JSON {
		err := table(con.out, "ADDRESS\tLISTED\tPREFIX\tLIST\tEXPIRES\tREASON", func(row func(...any)) {
			for _, f := range all {
				if !f.Listed {
					row(f.IP, "no")
					continue
				}
				row(f.IP, "yes", f.Entry.Prefix, f.Entry.List, orDash(f.Entry.Expires), orDash(f.Entry.Reason))
			}
		})
		if err != nil {
			return err
		}
	}
	if absent {
		return &codedError{code: exitNotFound} // the rows say which
	}
	return nil
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

type getRegions struct{}

// Run lists the regions.
func (getRegions) Run(ctx context.Context, c *getCommand, con *console) error {
	var answer struct {
		Regions []struct {
			Region      string
			Open        bool
			Datacenters []string
		}
	}
	if err := c.ask(ctx, con, http.MethodGet, "/v1/regions", nil, nil, &answer); err != nil || c.JSON {
		return err
	}
	return table(con.out, "REGION\tOPEN\tDATACENTERS", func(row func(...any)) {
		for _, r := range answer.Regions {
			row(r.Region, yesNo(r.Open), orDash(strings.Join(r.Datacenters, ", ")))
		}
	})
}

type getDatacenters struct{}

// Run lists the datacenters.
func (getDatacenters) Run(ctx context.Context, c *getCommand, con *console) error {
	var answer struct {
		Datacenters []struct {
			Datacenter, Region           string
			Open                         bool
			Capacity, Assigned, Headroom int64
		}
	}
	if err := c.ask(ctx, con, http.MethodGet, "/v1/datacenters", nil, nil, &answer); err != nil || c.JSON {
		return err
	}
	return table(con.out, "DATACENTER\tREGION\tOPEN\tCAPACITY\tASSIGNED\tHEADROOM", func(row func(...any)) {
		for _, d := range answer.Datacenters {
			row(d.Datacenter, d.Region, yesNo(d.Open), d.Capacity, d.Assigned, d.Headroom)
		}
	})
}

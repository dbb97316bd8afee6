package main

import (
	"context"
	"io"
	"strconv"
	"strings"

	"magellan/client"
)

type getService struct {
	Name   string   `arg:"" help:"Name of the service, with slashes if its directory is deeper."`
	Mount  string   `placeholder:"PATH" env:"MAGELLAN_SERVICE_MOUNT" help:"Only instances of this mount."`
	Tag    []string `placeholder:"TAG" env:"MAGELLAN_SERVICE_TAG" help:"Only instances with all these tags."`
	Status []string `placeholder:"STATUS" env:"MAGELLAN_SERVICE_STATUS" help:"Only instances with one of these statuses: UP, STARTING, OUT_OF_SERVICE, DOWN, UNKNOWN."`
	Zone   []string `placeholder:"ZONE" env:"MAGELLAN_SERVICE_ZONE" help:"Only instances in one of these zones."`
}

// Run asks for the instances of a service.
func (g *getService) Run(ctx context.Context, c *getCommand, con *console) error {
	return show(ctx, c, con, func(cl *client.Client) client.Question[client.Service] {
		return cl.Service(g.Name, client.Filter{Mount: g.Mount, Tags: g.Tag, Statuses: g.Status, Zones: g.Zone})
	}, func(w io.Writer, s client.Service) error {
		return table(w, "ID\tADDRESS\tPORT\tSTATUS\tZONE\tTAGS\tZNODE", func(row func(...any)) {
			for _, i := range s.Instances {
				port := "-"
				if i.Port != nil {
					port = strconv.Itoa(*i.Port)
				}
				row(orDash(i.ID), i.Address, port, i.Status, orDash(i.Zone), orDash(strings.Join(i.Tags, ",")), i.Znode)
			}
			if s.Unreadable > 0 {
				row(strconv.Itoa(s.Unreadable) + " more cannot be read: see /admin/problems")
			}
		})
	})
}

type getServices struct{}

// Run lists the services of all mounts.
func (getServices) Run(ctx context.Context, c *getCommand, con *console) error {
	return show(ctx, c, con, (*client.Client).Services, func(w io.Writer, all client.Services) error {
		return table(w, "SERVICE\tMOUNT\tLAYOUT\tINSTANCES\tUP\tNOTE", func(row func(...any)) {
			for _, s := range all.Services {
				switch {
				case s.Unknown != "":
					row(s.Service, s.Mount, s.Layout, "?", "?", s.Unknown)
				case s.Unreadable > 0:
					row(s.Service, s.Mount, s.Layout, s.Instances, s.Up, strconv.Itoa(s.Unreadable)+" more cannot be read")
				default:
					row(s.Service, s.Mount, s.Layout, s.Instances, s.Up)
				}
			}
		})
	})
}

type getZnode struct {
	Path string `arg:"" help:"Absolute path of the znode."`
}

// Run prints what a znode holds, as it is.
func (g *getZnode) Run(ctx context.Context, c *getCommand, con *console) error {
	return show(ctx, c, con, func(cl *client.Client) client.Question[client.Znode] { return cl.Znode(g.Path) }, func(w io.Writer, z client.Znode) error {
		_, err := w.Write(z.Data)
		return err
	})
}

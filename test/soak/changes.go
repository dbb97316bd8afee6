package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"magellan/internal/shops"
	"magellan/internal/zk"
)

const (
	datacenters    = 8
	changersAtOnce = 32
	createAtOnce   = 500
)

var layout = shops.Layout{Root: shops.DefaultRoot, ShopBuckets: shops.DefaultShopBuckets}

func shopData(datacenter int) []byte { return fmt.Appendf(nil, `{"datacenter":"dc-%d"}`, datacenter) }

// dataset is the shops that are in ZooKeeper and change.
type dataset struct {
	zk    *zk.Client
	count int
}

// openShops creates them.
func openShops(ctx context.Context, addr string, count int) (*dataset, error) {
	client, err := zk.Open(zk.Config{Servers: []string{addr}, SessionTimeout: 30 * time.Second})
	if err != nil {
		return nil, err
	}
	s := &dataset{client, count}
	if err = client.WaitReady(ctx); err == nil {
		err = s.create(ctx)
	}
	if err != nil {
		client.Close()
		return nil, err
	}
	return s, nil
}

func (s *dataset) create(ctx context.Context) error {
	node := func(path string, data []byte) zk.Op { return zk.CreateOp(path, data, zk.CreateOptions{}) }
	ops := []zk.Op{node(layout.Root, nil), node(layout.RegionsDir(), nil), node(layout.DatacentersDir(), nil),
		node(layout.BadCitizensDir(), nil), node(layout.ShopsDir(), nil), node(layout.Region("us-east1"), []byte(`{"open":true}`))}
	for i := range datacenters {
		ops = append(ops, node(layout.Datacenter(fmt.Sprint("dc-", i)), []byte(`{"region":"us-east1","capacity":1000000,"assigned":1000,"open":true}`)))
	}
	flush := func() (err error) {
		_, err = s.zk.Multi(ctx, ops...)
		ops = ops[:0]
		return err
	}
	for dir := range layout.ShopBucketDirs() {
		ops = append(ops, node(dir, nil))
	}
	for i := range s.count {
		if len(ops) >= createAtOnce {
			if err := flush(); err != nil {
				return err
			}
		}
		ops = append(ops, node(layout.Shop(shopName(i)), shopData(0)))
	}
	return flush()
}

// start changes so many shops a second until ctx ends.
func (s *dataset) start(ctx context.Context, rate int) <-chan outcome {
	result := make(chan outcome, 1)
	go func() {
		result <- together(changersAtOnce, float64(rate), func(p *pace) outcome { return s.change(ctx, p) })
	}()
	return result
}

func (s *dataset) change(ctx context.Context, p *pace) (o outcome) {
	for {
		due, err := p.wait(ctx)
		if err != nil {
			return o
		}
		_, err = s.zk.Set(ctx, layout.Shop(shopName(rand.IntN(s.count))), shopData(rand.IntN(datacenters)), zk.AnyVersion)
		switch {
		case ctx.Err() != nil:
			return o
		case err != nil:
			o.failed++
			o.example = err
		default:
			if o.done++; o.done%sampled == 0 {
				o.latencies = append(o.latencies, time.Since(due))
			}
		}
	}
}

func (s *dataset) close() { s.zk.Close() }

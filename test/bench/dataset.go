package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"magellan/internal/shops"
	"magellan/internal/zk"
)

// The names are as long as it takes for the answer to GET /v1/shops/{shop} to
// have about 150 bytes.
const (
	shopSuffix      = ".north-atlantic-outdoor-equipment-and-tent.merchants.example.com"
	datacenterCount = 8
	regionCount     = 4
)

// zipfS is the exponent with which the popularity of hot shops falls with
// their rank.
const zipfS = 1.01

// seed makes all runs draw the same shops in the same order.
const seed = 42

var layout = shops.Layout{Root: shops.DefaultRoot, ShopBuckets: shops.DefaultShopBuckets}

// dataset is the shops in ZooKeeper, and how often each is asked for.
type dataset struct {
	// shops are in ZooKeeper, hot of them are ever asked for. Beside them stand
	// as many as are hot whose names are just numbers.
	shops, hot int
	// draws is how many requests are drawn before the sequence repeats.
	draws int
}

func shopName(i int) string { return string(appendShopName(nil, i)) }

func appendShopName(b []byte, i int) []byte {
	return append(strconv.AppendInt(append(b, "shop-"...), int64(1_000_000+i), 10), shopSuffix...)
}

// hotShop returns the name of the i-th hot shop; they are spread over all shops.
func (d dataset) hotShop(i int) string {
	const prime = 7_368_787 // coprime with any number of shops below it
	return shopName(i * prime % d.shops)
}

// numberedShop returns the name of the i-th shop that has a short one.
func (d dataset) numberedShop(i int) string { return strconv.Itoa(1_000_000 + i) }

func datacenterName(i int) string { return fmt.Sprintf("us-east-ashburn-%02d", i) }

func regionName(i int) string { return fmt.Sprintf("north-america-%02d", i) }

// shopData is the znode of the i-th shop.
func shopData(i int) []byte {
	return fmt.Appendf(nil, `{"datacenter":%q}`, datacenterName(i%datacenterCount))
}

// load writes the data set into the ZooKeeper at addr.
func (d dataset) load(ctx context.Context, addr string) error {
	client, err := openClient(ctx, addr)
	if err != nil {
		return err
	}
	defer client.Close()
	first := []zk.Op{create(layout.Root, nil)}
	for _, dir := range []string{layout.RegionsDir(), layout.DatacentersDir(), layout.BadCitizensDir(), layout.ShopsDir()} {
		first = append(first, create(dir, nil))
	}
	for i := range regionCount {
		first = append(first, create(layout.Region(regionName(i)), []byte(`{"open":true}`)))
	}
	for i := range datacenterCount {
		first = append(first, create(layout.Datacenter(datacenterName(i)),
			fmt.Appendf(nil, `{"region":%q,"capacity":1000000,"assigned":1000,"open":true}`, regionName(i%regionCount))))
	}
	for dir := range layout.ShopBucketDirs() {
		first = append(first, create(dir, nil))
	}
	if _, err := client.Multi(ctx, first...); err != nil {
		return fmt.Errorf("load: %w", err)
	}
	for _, kind := range []struct {
		shops int
		name  func(int) string
	}{{d.shops, shopName}, {d.hot, d.numberedShop}} {
		if err := createMany(ctx, client, kind.shops, func(i int) zk.Op { return create(layout.Shop(kind.name(i)), shopData(i)) }); err != nil {
			return err
		}
	}
	return nil
}

// openClient returns a client that has a session.
func openClient(ctx context.Context, addr string) (*zk.Client, error) {
	client, err := zk.Open(zk.Config{Servers: []string{addr}, SessionTimeout: 30 * time.Second})
	if err != nil {
		return nil, err
	}
	if err := client.WaitReady(ctx); err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return client, nil
}

// createMany creates n znodes, many in one request and several requests in
// flight: one at a time a million would take minutes.
func createMany(ctx context.Context, client *zk.Client, n int, op func(i int) zk.Op) error {
	const perRequest, inFlight = 500, 8
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	starts := make(chan int)
	var writers sync.WaitGroup
	for range inFlight {
		writers.Go(func() {
			for start := range starts {
				var ops []zk.Op
				for i := start; i < min(start+perRequest, n); i++ {
					ops = append(ops, op(i))
				}
				if _, err := client.Multi(ctx, ops...); err != nil {
					cancel(fmt.Errorf("load: %w", err))
				}
			}
		})
	}
	for start := 0; start < n && ctx.Err() == nil; start += perRequest {
		starts <- start
	}
	close(starts)
	writers.Wait()
	return context.Cause(ctx)
}

func create(path string, data []byte) zk.Op { return zk.CreateOp(path, data, zk.CreateOptions{}) }

// files are what wrk and the fill clients read their work from.
type files struct {
	// reads has the path of a GET in each line, drawn by zipf from the hot shops.
	reads string
	// lookups has the body of a POST in each line; together they ask for each
	// hot shop once. numberedLookups are the same for the numbered shops.
	lookups, numberedLookups string
	// znodes has the path of each hot shop's znode.
	znodes string
}

// write writes the files into dir. Which hot shop is how popular has nothing to
// do with the order in which the caches are filled, or neighbours in popularity
// would be neighbours in memory.
func (d dataset) write(dir string) (files, error) {
	f := files{
		reads:           filepath.Join(dir, "reads"),
		lookups:         filepath.Join(dir, "lookups"),
		numberedLookups: filepath.Join(dir, "numbered-lookups"),
		znodes:          filepath.Join(dir, "znodes"),
	}
	random := rand.New(rand.NewPCG(seed, seed))
	zipf := rand.NewZipf(random, zipfS, 1, uint64(d.hot-1))
	shuffled := random.Perm(d.hot)
	err := writeLines(f.reads, d.draws, func(b []byte, _ int) []byte {
		return append(append(b, "/v1/shops/"...), d.hotShop(shuffled[zipf.Uint64()])...)
	})
	if err != nil {
		return files{}, err
	}
	for file, name := range map[string]func(int) string{f.lookups: d.hotShop, f.numberedLookups: d.numberedShop} {
		err := writeLines(file, d.hot/lookupShops, func(b []byte, line int) []byte {
			return appendLookup(b, lookupShops, func(i int) string { return name(shuffled[line*lookupShops+i]) })
		})
		if err != nil {
			return files{}, err
		}
	}
	return f, writeLines(f.znodes, d.hot, func(b []byte, i int) []byte {
		return append(b, layout.Shop(d.hotShop(i))...)
	})
}

// appendLookup appends the body of a lookup of n shops.
func appendLookup(b []byte, n int, name func(int) string) []byte {
	b = append(b, `{"shops":[`...)
	for i := range n {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendQuote(b, name(i))
	}
	return append(b, "]}"...)
}

func writeLines(name string, n int, appendLine func(b []byte, i int) []byte) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	var line []byte
	for i := range n {
		line = append(appendLine(line[:0], i), '\n')
		if _, err := w.Write(line); err != nil {
			return err
		}
	}
	return w.Flush()
}

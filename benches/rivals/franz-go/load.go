package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

type percentiles struct {
	P50  float64 `json:"p50"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
}

// driver is what all of a load's goroutines share.
type driver struct {
	options
	client     *kgo.Client
	recordsOf  [][]byte
	keysOf     [][]byte
	headersOf  []kgo.RecordHeader
	firstError atomic.Pointer[error]
	// In microseconds. Promises run on one goroutine, but the latency load has many.
	latencies struct {
		sync.Mutex
		all []uint32
	}
}

func run(o options) (*report, error) {
	values, err := o.values()
	if err != nil {
		return nil, err
	}
	opts, err := clientOptions(o)
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, err
	}
	d := &driver{options: o, client: client, recordsOf: values, headersOf: headers[:o.headers]}
	for key := range o.keys {
		d.keysOf = append(d.keysOf, fmt.Appendf(nil, "key-%06d", key))
	}
	said := &report{Resident: map[string]int64{}}
	warmUp := d.record(0)
	if err := client.ProduceSync(context.Background(), warmUp).FirstErr(); err != nil {
		return nil, err
	}
	said.Resident["before"] = residentKiB()
	started := time.Now()
	switch o.mode {
	case "throughput", "burst":
		said.Records = d.inThreads(d.throughput)
	case "paced":
		said.Records = d.inThreads(d.paced)
	case "latency":
		said.Records = d.inThreads(d.latency)
	case "outage":
		if said.Records, err = d.outage(said); err != nil {
			return nil, err
		}
	}
	if err := client.Flush(context.Background()); err != nil {
		return nil, err
	}
	said.Seconds = time.Since(started).Seconds()
	if o.mode == "burst" {
		time.Sleep(3 * time.Second)
		said.Resident["after"] = residentKiB()
	}
	client.Close()
	if err := d.firstError.Load(); err != nil {
		return nil, *err
	}
	said.Latency = d.percentiles()
	said.Records++
	return said, nil
}

var headers = []kgo.RecordHeader{
	{Key: "trace-id", Value: []byte("4bf92f3577b34da6a3ce929d0e0e4736")},
	{Key: "source", Value: []byte("benchmark")},
	{Key: "content-type", Value: []byte("application/json")},
	{Key: "schema", Value: []byte("17")},
}

// record makes the record of a number.
func (d *driver) record(number int) *kgo.Record {
	record := &kgo.Record{Topic: d.topic, Value: d.recordsOf[number%len(d.recordsOf)], Headers: d.headersOf}
	if d.keys > 0 {
		record.Key = d.keysOf[number%d.keys]
	}
	if d.spread == "round-robin" {
		record.Partition = int32(number % d.partitions)
	}
	return record
}

func (d *driver) failed(err error) {
	d.firstError.CompareAndSwap(nil, &err)
}

func (d *driver) inThreads(load func(first int) int64) int64 {
	var sent atomic.Int64
	var all sync.WaitGroup
	for thread := range d.threads {
		all.Go(func() { sent.Add(load(thread * 31)) })
	}
	all.Wait()
	return sent.Load()
}

// goesOn says whether there is another record to send.
func (d *driver) goesOn(sent int64, started time.Time) bool {
	if d.records > 0 {
		return sent < d.records/int64(d.threads)
	}
	return time.Since(started) < d.span()
}

func (d *driver) throughput(first int) int64 {
	promise := func(_ *kgo.Record, err error) {
		if err != nil {
			d.failed(err)
		}
	}
	started, sent := time.Now(), int64(0)
	// Looking at the clock costs as much as sending a small record.
	burst := min(max((256<<10)/max(d.recordBytes, 1), 1), 1000)
	for d.goesOn(sent, started) {
		some := burst
		if d.records > 0 {
			some = min(some, int(d.records/int64(d.threads)-sent))
		}
		for range some {
			d.client.Produce(context.Background(), d.record(first+int(sent)), promise)
			sent++
		}
	}
	return sent
}

func (d *driver) paced(first int) int64 {
	if d.rate == 0 {
		if d.records == 0 {
			time.Sleep(d.span())
		}
		return 0
	}
	rate := d.rate / float64(d.threads)
	started, sent := time.Now(), int64(0)
	for tick := 1; d.goesOn(sent, started); tick++ {
		for due := int64(time.Since(started).Seconds() * rate); sent < due && d.goesOn(sent, started); sent++ {
			dueAt := started.Add(time.Duration(float64(sent) / rate * float64(time.Second)))
			d.client.Produce(context.Background(), d.record(first+int(sent)), func(_ *kgo.Record, err error) {
				if err != nil {
					d.failed(err)
				}
				d.took(time.Since(dueAt))
			})
		}
		time.Sleep(time.Until(started.Add(time.Duration(tick) * time.Millisecond)))
	}
	return sent
}

func (d *driver) latency(first int) int64 {
	started, sent := time.Now(), int64(0)
	for d.goesOn(sent, started) {
		sentAt := time.Now()
		if err := d.client.ProduceSync(context.Background(), d.record(first+int(sent))).FirstErr(); err != nil {
			d.failed(err)
		}
		d.took(time.Since(sentAt))
		sent++
	}
	return sent
}

func (d *driver) outage(said *report) (int64, error) {
	if d.brokerProcess == 0 {
		return 0, notAvailable("this broker cannot be stopped")
	}
	if err := d.signal("-STOP"); err != nil {
		return 0, err
	}
	var sent atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for sent.Load() < d.records {
			d.client.Produce(context.Background(), d.record(int(sent.Load())), func(_ *kgo.Record, err error) {
				if err != nil {
					d.failed(err)
				}
			})
			sent.Add(1)
		}
	}()
	for before := int64(-1); before != sent.Load(); time.Sleep(time.Second) {
		before = sent.Load()
	}
	said.Resident["held"] = residentKiB()
	said.Resident["held_records"] = sent.Load()
	err := d.signal("-CONT")
	<-done
	return sent.Load(), err
}

func (d *driver) signal(name string) error {
	return exec.Command("kill", name, strconv.Itoa(d.brokerProcess)).Run()
}

func (d *driver) took(latency time.Duration) {
	d.latencies.Lock()
	d.latencies.all = append(d.latencies.all, uint32(latency.Microseconds()))
	d.latencies.Unlock()
}

func (d *driver) percentiles() *percentiles {
	all := d.latencies.all
	if len(all) == 0 {
		return nil
	}
	sort.Slice(all, func(a, b int) bool { return all[a] < all[b] })
	at := func(quantile float64) float64 {
		return float64(all[min(int(quantile*float64(len(all))), len(all)-1)]) / 1e3
	}
	return &percentiles{P50: at(0.5), P99: at(0.99), P999: at(0.999)}
}

func residentKiB() int64 {
	status, _ := os.ReadFile("/proc/self/status")
	for _, line := range strings.Split(string(status), "\n") {
		if rest, found := strings.CutPrefix(line, "VmRSS:"); found {
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib
		}
	}
	return 0
}

// The driver of franz-go: Produce with a promise for each record, which looks at its outcome. Each record is one of its own;
// its value is not copied, which is how franz-go does it. It puts the same loads as benches/rivals/drive/src/load.rs.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// notAvailable says why franz-go cannot do what it is asked for.
type notAvailable string

func (n notAvailable) Error() string { return string(n) }

type report struct {
	Records  int64            `json:"records"`
	Seconds  float64          `json:"seconds"`
	Latency  *percentiles     `json:"latency_ms"`
	Resident map[string]int64 `json:"resident_kib"`
}

func main() {
	said, err := run(readOptions())
	if reason, ok := err.(notAvailable); ok {
		print(map[string]string{"not_available": string(reason)})
	} else if err != nil {
		print(map[string]string{"error": err.Error()})
		os.Exit(1)
	} else {
		print(said)
	}
}

func print(said any) {
	line, _ := json.Marshal(said)
	fmt.Println(string(line))
}

func clientOptions(o options) ([]kgo.Opt, error) {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	acks := map[string]kgo.Acks{"0": kgo.NoAck(), "1": kgo.LeaderAck(), "all": kgo.AllISRAcks()}
	opts := []kgo.Opt{
		kgo.SeedBrokers(o.bootstrap),
		kgo.RequiredAcks(acks[o.acks]),
		kgo.ProducerLinger(time.Duration(o.lingerMs) * time.Millisecond),
		// A record that fits no batch is refused, unlike elsewhere.
		kgo.ProducerBatchMaxBytes(int32(max(o.batchBytes, o.recordBytes+1024))),
		kgo.ProducerBatchCompression(codecs[o.codec]),
		kgo.MaxBufferedBytes(o.bufferBytes),
		// Bytes are to limit the buffer, as elsewhere, and not records.
		kgo.MaxBufferedRecords(100_000_000),
	}
	if !o.idempotence {
		opts = append(opts, kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(o.inFlight))
	}
	if o.tlsAuthority != "" {
		authority, err := os.ReadFile(o.tlsAuthority)
		if err != nil {
			return nil, err
		}
		trusted := x509.NewCertPool()
		if !trusted.AppendCertsFromPEM(authority) {
			return nil, fmt.Errorf("%s has no certificate", o.tlsAuthority)
		}
		opts = append(opts, kgo.DialTLSConfig(&tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS13}))
	}
	if o.spread == "round-robin" {
		opts = append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}
	return opts, nil
}

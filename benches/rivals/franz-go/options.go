package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"time"
)

// options are those of drive::Options, by the same names.
type options struct {
	bootstrap, topic, acks, codec, spread, mode, payload string
	// The file with the certificate of the broker's authority; empty for plaintext.
	tlsAuthority                                        string
	recordBytes, partitions, threads, batchBytes        int
	bufferBytes, inFlight, keys, headers, brokerProcess int
	lingerMs                                            int
	idempotence, callbacks                              bool
	rate, seconds                                       float64
	// 0: the load ends with the time.
	records int64
}

func readOptions() options {
	var o options
	text := func(into *string, name, standard string) { flag.StringVar(into, name, standard, "") }
	number := func(into *int, name string, standard int) { flag.IntVar(into, name, standard, "") }
	text(&o.bootstrap, "bootstrap", "")
	text(&o.topic, "topic", "")
	text(&o.acks, "acks", "1")
	text(&o.codec, "codec", "none")
	text(&o.spread, "spread", "default")
	text(&o.mode, "mode", "throughput")
	text(&o.payload, "payload", "")
	text(&o.tlsAuthority, "tls-authority", "")
	number(&o.recordBytes, "record-bytes", 100)
	number(&o.partitions, "partitions", 8)
	number(&o.threads, "threads", 1)
	number(&o.batchBytes, "batch-bytes", 16384)
	number(&o.bufferBytes, "buffer-bytes", 32<<20)
	number(&o.inFlight, "in-flight", 5)
	number(&o.keys, "keys", 0)
	number(&o.headers, "headers", 0)
	number(&o.brokerProcess, "broker-process", 0)
	number(&o.lingerMs, "linger-ms", 5)
	// Go's own boolean flags take no value of their own.
	var idempotence, callbacks string
	text(&idempotence, "idempotence", "false")
	text(&callbacks, "callbacks", "false")
	flag.Float64Var(&o.rate, "rate", 1000, "")
	flag.Float64Var(&o.seconds, "seconds", 5, "")
	flag.Int64Var(&o.records, "records", 0, "")
	flag.Parse()
	o.idempotence = idempotence == "true"
	o.callbacks = callbacks == "true"
	return o
}

func (o options) span() time.Duration {
	return time.Duration(o.seconds * float64(time.Second))
}

func (o options) values() ([][]byte, error) {
	content, err := os.ReadFile(o.payload)
	if err != nil {
		return nil, err
	}
	values := bytes.Split(bytes.TrimRight(content, "\n"), []byte("\n"))
	for _, value := range values {
		if len(value) != o.recordBytes {
			return nil, fmt.Errorf("the payload's lines are not of %d bytes each", o.recordBytes)
		}
	}
	return values, nil
}

// Command kafka writes messages with librdkafka, which is C and inside of the program.
// The brokers are inside as well, those of librdkafka's own tests:
//
//	/send         sends a message and waits until it is delivered
//	/audit        a leak: as send, with a producer of its own that it does not close
//
// It prints its URL, and ends when its standard input is closed.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

const topic = "events"

func main() {
	cluster, err := kafka.NewMockCluster(1)
	check(err)
	check(cluster.CreateTopic(topic, 1, 1))
	producer, err := newProducer(cluster.BootstrapServers())
	check(err)
	serve := func(path string, f func() error) {
		http.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if err := f(); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		})
	}
	serve("/send", func() error { return send(producer) })
	serve("/audit", func() error { return audit(cluster.BootstrapServers()) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	fmt.Printf("http://%s\n", l.Addr())
	go http.Serve(l, nil)
	io.Copy(io.Discard, os.Stdin)
}

func newProducer(servers string) (*kafka.Producer, error) {
	return kafka.NewProducer(&kafka.ConfigMap{"bootstrap.servers": servers, "linger.ms": 0})
}

// audit does not close its producer.
//
//go:noinline
func audit(servers string) error {
	producer, err := newProducer(servers) // LEAK
	if err != nil {
		return err
	}
	return send(producer)
}

func send(producer *kafka.Producer) error {
	name := topic
	delivered := make(chan kafka.Event, 1)
	err := producer.Produce(&kafka.Message{
		TopicPartition: kafka.TopicPartition{Topic: &name, Partition: kafka.PartitionAny},
		Value:          make([]byte, 1000),
	}, delivered)
	if err != nil {
		return err
	}
	return (<-delivered).(*kafka.Message).TopicPartition.Error
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

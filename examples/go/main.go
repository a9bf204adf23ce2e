// Sends ten messages with the official Go client and waits until a consumer group has had them all.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

const (
	topic = "go-orders"
	count = 10
)

func main() {
	namesrv := []string{"127.0.0.1:9876"}
	if len(os.Args) > 1 {
		namesrv[0] = os.Args[1]
	}

	p, err := rocketmq.NewProducer(producer.WithNameServer(namesrv), producer.WithGroupName("my-producers"))
	check(err)
	check(p.Start())
	for i := 0; i < count; i++ {
		result, err := p.SendSync(context.Background(), primitive.NewMessage(topic, []byte(fmt.Sprint("order ", i))))
		check(err)
		fmt.Println(result)
	}

	consumed := make(chan string, count)
	c, err := rocketmq.NewPushConsumer(
		consumer.WithNameServer(namesrv),
		consumer.WithGroupName("my-go-consumers"),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
	)
	check(err)
	check(c.Subscribe(topic, consumer.MessageSelector{},
		func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			for _, message := range messages {
				consumed <- string(message.Body)
			}
			return consumer.ConsumeSuccess, nil
		}))
	check(c.Start())
	for i := 0; i < count; i++ {
		fmt.Println("consumed", <-consumed)
	}

	check(c.Shutdown())
	check(p.Shutdown())
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

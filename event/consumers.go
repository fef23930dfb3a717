package event

import "github.com/argosy-go/argosy/service"

// Consumer is a durable subscription that a service declared.
type Consumer struct {
	// Name is the durable name, as in "inventory/argosy.shop.order.v1.OrderPlaced".
	Name string
	// Topic is where its events come from.
	Topic string
}

// Consumers returns what the service consumes, in the order of declaration.
func Consumers(s *service.Setup) []Consumer {
	r := service.Find[runtime](s)
	if r == nil {
		return nil
	}
	list := make([]Consumer, len(r.consumers))
	for i, c := range r.consumers {
		list[i] = Consumer{Name: c.durable, Topic: c.topic}
	}
	return list
}

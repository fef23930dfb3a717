// Package broker is the contract between events and whatever carries them.
// It is deliberately small: durable publication with deduplication by id,
// durable positions, acknowledgements. Attempts, delays, order under
// redelivery and dead letters are the inbox's work (package event), so that
// they are the same on every broker.
//
//	errs := b.Publish(ctx, []broker.Message{{ID: id, Topic: "orders", Body: body}})
//	r, err := b.Subscribe(ctx, broker.Subscription{Consumer: "stock/orders", Topic: "orders", Partitions: []int{0}})
//	ds, err := r.Receive(ctx, 64)
//
// broker/embedded runs NATS JetStream in the process, broker/nats connects to
// one outside; broker/brokertest holds the suite that adapters pass.
package broker

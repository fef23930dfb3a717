// Package event publishes and consumes typed events. An event is published if
// and only if its transaction commits, and has its effect once per consumer:
//
//	func setup(s *service.Setup) error {
//		o := &orders{db: s.DB(migrations), placed: event.Publishes[*orderpb.OrderPlaced](s)}
//		event.Consume(s, o.delivered)
//		return nil
//	}
//
//	func (o *orders) place(ctx context.Context, id string) error {
//		return o.db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
//			o.placed.Publish(tx, &orderpb.OrderPlaced{OrderId: id}) // in the commit, or not at all
//			return nil
//		})
//	}
//
//	func (o *orders) delivered(ctx context.Context, tx *store.Tx, d *shippingpb.ShipmentDelivered) error {
//		_, err := tx.ExecContext(ctx, "UPDATE orders SET state = 'DELIVERED' WHERE id = $1", d.OrderId)
//		return err // its effect and the memory of the event are one commit
//	}
//
// The way of an event:
//
//	Publish → argosy_outbox ─commit─ relay → broker → fetcher ─┬─ key held? → argosy_inbox_pending
//	                                                           └─ handler + argosy_inbox ─commit─ ack
//	failed attempt → argosy_inbox_pending → again, later, … → argosy_dead_letters
//	                        └──────────── an operator replays ────────────┘
//
// Events of one key arrive in the order of their commits; a failing event holds
// back its own key only. What travels is protobuf in CloudEvents 1.0 binary
// mode. Attempts, delays and dead letters are kept in the consumer's database,
// so they are the same on every broker.
//
// The replicas of a service share the work by partition, each under a fenced
// lease: a replica that was taken for dead changes nothing. What a consumer
// gave up on is looked at and given back by [DeadLetters], [ReplayDeadLetters]
// and [DiscardDeadLetters]; [ReplayConsumer] sends a consumer back to a time.
package event

// Package discovery says where a service is reached. A [Resolver] watches the
// addresses of a service, a [Registrar] announces them; adapters are values, so
// that a program links only what it uses. Here are the two that need nothing
// but the standard library and a resolver: a [Table] in memory, and [DNS].
//
// The shortest program:
//
//	d, err := discovery.ParseDNS("dns:///{service}.shop.svc:9090")
//	if err != nil {
//		return err
//	}
//	d.Watch(ctx, "order", nil, func(addrs []string, err error) {
//		fmt.Println(addrs, err) // [10.1.0.7:9090 10.1.0.9:9090] <nil>
//	})
//
// # Kubernetes
//
// A headless Service is its own discovery: its name has one A record for each
// ready pod, and a pod that begins to drain is not ready, so it leaves the name.
// Nothing has to be registered, no API server has to be asked, and no rights
// have to be given:
//
//	kind: Service
//	metadata: {name: order, namespace: shop}
//	spec:
//	  clusterIP: None
//	  selector: {app: order}
//	  ports: [{name: grpc, port: 9090}]
//
// It is dns:///order.shop.svc:9090; or, where the port shall come from the
// Service, dns:///_grpc._tcp.order.shop.svc, by its SRV records. Cluster DNS
// answers with a TTL of a few seconds, after which it is asked again; it is
// asked at once when a connection is lost.
package discovery

// Package rest serves contracts as HTTP and JSON, as their google.api.http
// annotations say. Nothing is generated for it: a route is worked out from the
// descriptors when the [Handler] is made, and a request is a gRPC call on any
// connection, in the process or over the network.
//
// The shortest program:
//
//	h, err := rest.New(rest.Config{
//		Services: []protoreflect.ServiceDescriptor{
//			orderpb.File_order_proto.Services().ByName("Orders"),
//		},
//		Conn: conn, // any grpc.ClientConnInterface
//	})
//	if err != nil {
//		return err
//	}
//	return http.ListenAndServe("127.0.0.1:8080", h)
//
// # A request
//
//	route    a literal segment is preferred to *, and * to **, from the left;
//	         no path: 404; not with this method: 405 with Allow
//	headers  Authorization, X-Api-Key, Idempotency-Key, Traceparent, Tracestate,
//	         X-Request-Id, Accept-Language and Grpc-Metadata-* become metadata
//	body     JSON, at most Config.MaxBody: 413; another media type or a
//	         compressed body: 415
//	path     sets its fields after the body, so that what the path says holds
//	query    sets what neither path nor body may set; a.b is field b of a,
//	         tags=x&tags=y a list, labels[k]=v an entry of a map
//	call     bounded by the deadline of the contract, 10 s where it has none
//	answer   JSON with zero values present, without spaces
//
// Whatever the contract does not know is refused with 400, and the error names
// the field: see [Config.AllowUnknown]. Every error is a problem document.
//
// A PATCH whose body is a field of the request fills a field update_mask with
// what the body names, unless the query says it. A string field etag of the
// response is its ETag, and If-None-Match is honoured.
//
// # Streams
//
// A stream of responses is NDJSON, one message a line, or server-sent events
// when the caller accepts text/event-stream. An error before the first message
// has its own HTTP status; a later one is the last line {"@error": problem}, or
// an event "error". A stream of events ends with an event "end", after which
// an EventSource is to be closed, since it would connect again. Empty lines and
// comments are signs of life. A stream of requests is NDJSON too. The call is
// cancelled when the client goes away.
package rest

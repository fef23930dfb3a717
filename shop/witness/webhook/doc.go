// Package webhook tells a fleet what happened at a witness, at least once:
// late, twice and out of order at times, as banks and carriers do.
//
// A receiver checks the signature and takes each id once:
//
//	body, _ := io.ReadAll(http.MaxBytesReader(w, r.Body, webhook.MaxBody))
//	event, err := webhook.Open(secret, r.Header, body, time.Now())
//
// Any 2xx answer ends the deliveries of an event; everything else has it sent
// again, with growing pauses.
package webhook

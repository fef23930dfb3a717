// Package telemetry is the logs, traces and metrics of a process, and the only
// importer of the OpenTelemetry SDK.
//
//	tel := telemetry.New(telemetry.Config{Program: "shop"})
//	log := tel.Logger("order") // works already; follows what Configure says later
//	err := tel.Configure(ctx, telemetry.Settings{Level: "info", Format: "json", OTLPEndpoint: "127.0.0.1:4317", SampleRatio: 0.1})
//	...
//	ctx, span := tel.Tracer().Start(ctx, "reserve")
//	log.InfoContext(ctx, "reserved", "order", id) // carries trace_id and span_id
//	span.End()
//	err = tel.Shutdown(ctx)
//
// Logs are slog: JSON lines, or coloured lines for a person. Metrics are a
// Prometheus registry of the process's own. Traces go to an OTLP endpoint
// where there is one; where there is none nothing is recorded and a span costs
// next to nothing, but the trace id still travels ([Traceparent],
// [WithTraceparent]), so that the log lines of one request share it across
// calls, events and the steps of a saga.
//
// Nothing global is set: neither slog's default logger nor OpenTelemetry's
// global provider. Fields that a contract marks sensitive are blanked by
// [Redact], which every message that is logged goes through.
package telemetry

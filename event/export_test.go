package event

// SetOutboxLimit changes a declared setting, as the configuration would.
func SetOutboxLimit(config any, n int) {
	if s, ok := config.(*settings); ok {
		s.OutboxLimit = n
	}
}

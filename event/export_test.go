package event

import (
	"context"
	"time"

	"github.com/argosy-go/argosy/service"
)

// SetOutboxLimit changes a declared setting, as the configuration would.
func SetOutboxLimit(config any, n int) {
	if s, ok := config.(*settings); ok {
		s.OutboxLimit = n
	}
}

// SetLeaseTTL changes a declared setting, as the configuration would.
func SetLeaseTTL(config any, d time.Duration) {
	if s, ok := config.(*settings); ok {
		s.LeaseTTL = d
	}
}

// Trim is the work of the janitor, once.
func Trim(ctx context.Context, s *service.Setup) error {
	return service.Find[runtime](s).trim(ctx)
}

package event

import (
	"context"

	"github.com/argosy-go/argosy/service"
)

// Settings are those that a service declared, as the configuration sees them.
type Settings = settings

// Trim is the work of the janitor, once.
func Trim(ctx context.Context, s *service.Setup) error {
	return service.Find[runtime](s).trim(ctx)
}

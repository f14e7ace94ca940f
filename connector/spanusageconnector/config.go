package spanusageconnector

import "go.opentelemetry.io/collector/component"

// Config of the spanusage connector, which has no settings.
type Config struct {
	// prevent unkeyed literal initialization
	_ struct{}
}

func createDefaultConfig() component.Config { return &Config{} }

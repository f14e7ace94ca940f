package dedupeprocessor

import (
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/collector/component"
)

// Config of the dedupe processor.
type Config struct {
	// Directory is where the index of events that were let through is kept. One processor owns it.
	Directory string `mapstructure:"directory"`

	// Window is for how long an event is remembered, at least; the ledger knows it for ever. 1m to 8760h.
	Window time.Duration `mapstructure:"window"`

	// MaxDisk bounds the index, in bytes: beyond it the oldest part of the window is forgotten early. At least 16 MiB.
	MaxDisk int64 `mapstructure:"max_disk"`

	// CacheSize bounds the memory for filters of the index, in bytes: 2 for each event that is remembered. Beyond it a new event costs reads. At least 1 MiB.
	CacheSize int64 `mapstructure:"cache_size"`

	// prevent unkeyed literal initialization
	_ struct{}
}

func createDefaultConfig() component.Config {
	return &Config{Directory: "./usage/state/dedupe", Window: 24 * time.Hour, MaxDisk: 4 << 30, CacheSize: 192 << 20}
}

// Validate names every field that is wrong, and what it accepts.
func (c *Config) Validate() error {
	var errs []error
	if c.Directory == "" {
		errs = append(errs, errors.New("directory is empty: set the folder of the index, such as ./usage/state/dedupe"))
	}
	if c.Window < time.Minute || c.Window > 8760*time.Hour {
		errs = append(errs, fmt.Errorf("window is %s: it must be 1m to 8760h", c.Window))
	}
	if c.MaxDisk < 16<<20 {
		errs = append(errs, fmt.Errorf("max_disk is %d bytes: it must be at least %d", c.MaxDisk, 16<<20))
	}
	if c.CacheSize < 1<<20 {
		errs = append(errs, fmt.Errorf("cache_size is %d bytes: it must be at least %d", c.CacheSize, 1<<20))
	}
	return errors.Join(errs...)
}

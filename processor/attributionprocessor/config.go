package attributionprocessor

import (
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/collector/component"
)

// Config of the attribution processor.
type Config struct {
	// Directory is where facts of spans are kept. One processor owns it.
	Directory string `mapstructure:"directory"`

	// Settle says when a trace is complete enough to be counted.
	Settle SettleConfig `mapstructure:"settle"`

	// Dimensions names, for a dimension of identity, the attributes that go before the defaults: customer, user_id, session_id,
	// conversation_id, feature, step, agent. Any other name becomes a dimension of the event.
	Dimensions map[string][]string `mapstructure:"dimensions"`

	// Dialects are files of further dialects, which go before the built-in ones.
	Dialects []string `mapstructure:"dialects"`

	// MaxValueBytes is what a value of identity is cut to; a value that is cut ends in a hash of the whole. 32 to 1024.
	MaxValueBytes int `mapstructure:"max_value_bytes"`

	// MaxValues is how many values of one dimension in an hour raise a warning and a metric. They are never merged. 0: no limit.
	MaxValues int `mapstructure:"max_values"`

	// MaxAhead is how far after its arrival a span may end; a later end is set back to it.
	MaxAhead time.Duration `mapstructure:"max_ahead"`

	// MemoryLimit bounds the memory for open traces, in bytes: beyond it the oldest settle early. At least 1 MiB.
	MemoryLimit int64 `mapstructure:"memory_limit"`

	// MaxDisk bounds the directory, in bytes: beyond it the facts of the oldest settled traces are forgotten, and when that
	// does not suffice the sender is told to try again. At least 64 MiB.
	MaxDisk int64 `mapstructure:"max_disk"`

	// MinFreeDisk is the free disk space, in bytes, below which the sender is told to try again.
	MinFreeDisk int64 `mapstructure:"min_free_disk"`

	// Retention is how long the facts of a settled trace are kept, so that what comes late can be told from what is new.
	Retention time.Duration `mapstructure:"retention"`

	// prevent unkeyed literal initialization
	_ struct{}
}

// SettleConfig says when a trace settles.
type SettleConfig struct {
	// Grace is how long a trace whose root and parents are all there must be quiet.
	Grace time.Duration `mapstructure:"grace"`
	// Idle is how long a trace with missing parents must be quiet.
	Idle time.Duration `mapstructure:"idle"`
	// MaxWait is how long after its first span a trace settles in any case.
	MaxWait time.Duration `mapstructure:"max_wait"`
}

func createDefaultConfig() component.Config {
	return &Config{
		Directory:     "./usage/state/attribution",
		Settle:        SettleConfig{Grace: 2 * time.Second, Idle: 30 * time.Second, MaxWait: 10 * time.Minute},
		MaxValueBytes: 256,
		MaxValues:     100_000,
		MaxAhead:      10 * time.Minute,
		MemoryLimit:   512 << 20,
		MaxDisk:       16 << 30,
		MinFreeDisk:   256 << 20,
		Retention:     72 * time.Hour,
	}
}

// Validate names every field that is wrong, and what it accepts.
func (c *Config) Validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Directory == "" {
		wrong("directory is empty: set the folder in which facts of spans are kept, such as ./usage/state/attribution")
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"settle.grace", c.Settle.Grace}, {"settle.idle", c.Settle.Idle}, {"settle.max_wait", c.Settle.MaxWait}, {"retention", c.Retention}, {"max_ahead", c.MaxAhead}} {
		if d.value <= 0 {
			wrong("%s is %s: it must be above 0", d.name, d.value)
		}
	}
	if c.Settle.Grace > c.Settle.Idle {
		wrong("settle.grace is %s, above settle.idle, %s: a complete trace can't wait longer than an incomplete one", c.Settle.Grace, c.Settle.Idle)
	}
	if c.Settle.Idle > c.Settle.MaxWait {
		wrong("settle.idle is %s, above settle.max_wait, %s", c.Settle.Idle, c.Settle.MaxWait)
	}
	if c.MaxValueBytes < 32 || c.MaxValueBytes > 1024 {
		wrong("max_value_bytes is %d: it must be 32 to 1024", c.MaxValueBytes)
	}
	if c.MaxValues < 0 {
		wrong("max_values is %d: it must be 0 (no limit) or above", c.MaxValues)
	}
	if c.MemoryLimit < 1<<20 {
		wrong("memory_limit is %d bytes: it must be at least %d", c.MemoryLimit, 1<<20)
	}
	if c.MaxDisk < 64<<20 {
		wrong("max_disk is %d bytes: it must be at least %d", c.MaxDisk, 64<<20)
	}
	if c.MinFreeDisk < 0 {
		wrong("min_free_disk is %d bytes: it must be 0 or above", c.MinFreeDisk)
	}
	for name, attributes := range c.Dimensions {
		if len(attributes) == 0 {
			wrong("dimensions.%s is empty: list the attributes to look at, best first", name)
		}
	}
	return errors.Join(errs...)
}

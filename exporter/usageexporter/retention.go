package usageexporter

import (
	"fmt"
	"math"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// RetentionConfig is how long files stay after the end of their hour, those of daily/ after that of their day: 0 (for ever) or at least 840h, which is 35 days;
// sums as long as what they sum, or longer. What leaves is recorded in the chain with its totals first, and nothing leaves that a receiver of the feed has not been
// sent. Ids stay known for ever.
type RetentionConfig struct {
	Events  time.Duration `mapstructure:"events"`
	Rollups time.Duration `mapstructure:"rollups"`
	Runs    time.Duration `mapstructure:"runs"`
	Daily   time.Duration `mapstructure:"daily"`

	_ struct{} // fields are set by name
}

func (c *RetentionConfig) ledger() ledger.Retention {
	return ledger.Retention{Events: c.Events, Rollups: c.Rollups, Runs: c.Runs, Daily: c.Daily}
}

// Validate says which field has a value that is not accepted, and which values are.
func (c *RetentionConfig) Validate() error {
	for _, d := range [...]struct {
		field string
		time.Duration
	}{{"events", c.Events}, {"rollups", c.Rollups}, {"runs", c.Runs}, {"daily", c.Daily}} {
		if d.Duration != 0 && d.Duration < ledger.MinRetention {
			return fmt.Errorf("%s is %s: it takes 0 for ever, or a duration of at least %s (35 days)", d.field, d.Duration, ledger.MinRetention)
		}
	}
	return c.ledger().Validate()
}

// keepFrom is the first hour that may not leave: the feed is not through with it.
func (e *usageExporter) keepFrom() (usage.Hour, error) {
	if len(e.config.Feed.Receivers) == 0 {
		return math.MaxInt64, nil
	}
	feeding := e.feeding.Load()
	if feeding == nil {
		return 0, nil // it is being started
	}
	return feeding.feed.KeepFrom()
}

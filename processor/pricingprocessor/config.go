package pricingprocessor

import (
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/collector/component"
)

// Config of the pricing processor.
type Config struct {
	// Catalog is the file or folder of rates. Empty: the built-in catalogue alone.
	Catalog string `mapstructure:"catalog"`

	// Directory is where every version of the catalogue that priced something is kept, by its hash, and which one is in force.
	Directory string `mapstructure:"directory"`

	// ReloadInterval is how often the catalogue is looked at; a change takes force once two looks saw the same. 100ms to 1h.
	ReloadInterval time.Duration `mapstructure:"reload_interval"`

	// MetricSeries bounds the series by provider, model and meter: what comes beyond counts as _other. 1 to 100000.
	MetricSeries int `mapstructure:"metric_series"`

	// prevent unkeyed literal initialization
	_ struct{}
}

func createDefaultConfig() component.Config {
	return &Config{Directory: "./usage/state/catalogs", ReloadInterval: time.Second, MetricSeries: 1000}
}

// Validate names every field that is wrong, and what it accepts.
func (c *Config) Validate() error {
	var errs []error
	if c.Directory == "" {
		errs = append(errs, errors.New("directory is empty: set the folder of the catalogue's versions, such as ./usage/state/catalogs"))
	}
	if c.ReloadInterval < 100*time.Millisecond || c.ReloadInterval > time.Hour {
		errs = append(errs, fmt.Errorf("reload_interval is %s: it must be 100ms to 1h", c.ReloadInterval))
	}
	if c.MetricSeries < 1 || c.MetricSeries > 100_000 {
		errs = append(errs, fmt.Errorf("metric_series is %d: it must be 1 to 100000", c.MetricSeries))
	}
	return errors.Join(errs...)
}

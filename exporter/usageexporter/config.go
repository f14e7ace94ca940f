package usageexporter

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/collector/component"

	"github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
)

// Config is the exporter's configuration.
type Config struct {
	// Directory holds the ledger: events/, rollups/, runs/, refused/ and the private state/. It is made if it isn't there.
	// Several writers may share it.
	Directory string `mapstructure:"directory"`

	// WriterID names this process among the writers of one directory. It is part of every path, writer=ID: 1 to 64 of the
	// characters A-Z, a-z, 0-9, '.', '_' and '-', the first a letter or digit. Each process needs its own, and keeps it.
	WriterID string `mapstructure:"writer_id"`

	// FlushInterval is how soon acknowledged events appear as a part: 100ms to 1h. Shorter intervals make more and
	// smaller parts until the hour's seal merges them.
	FlushInterval time.Duration `mapstructure:"flush_interval"`

	// SealAfter is how long after an hour's end its parts are merged into a sealed one: 0s to 168h. Events that come
	// later are counted all the same, in further parts, with the flag late.
	SealAfter time.Duration `mapstructure:"seal_after"`

	// CorrectionWait is how long a correction or retraction waits for the event that it names, before it is refused with
	// the reason unknown_target: 0s (refused at once) to 8760h.
	CorrectionWait time.Duration `mapstructure:"correction_wait"`

	// Catalogs is where the pricing processor keeps the versions of its catalogue, by which corrections are priced as what they correct was. Empty:
	// state/catalogs in Directory.
	Catalogs string `mapstructure:"catalogs"`

	// RollupDimensions are what rollups/ is grouped by besides hour, customer, meter, unit and currencies: any of feature, step, agent,
	// operation, provider, model, user_id, session_id, conversation_id, run_id, source, service, and dimensions.KEY for a key of the
	// event's own. It may be changed at any time: parts that are there stay as they are.
	RollupDimensions []string `mapstructure:"rollup_dimensions"`

	// MaxOpenBytes bounds the events that wait in the store for a seal, in bytes before compression: at least 16 MiB. Beyond it events
	// are turned away, to be sent again.
	MaxOpenBytes int64 `mapstructure:"max_open_bytes"`

	// MinFreeBytes is the room on the disk below which events are turned away, to be sent again, so that parts can still
	// be made of what was acknowledged: 0 or more.
	MinFreeBytes int64 `mapstructure:"min_free_bytes"`

	// Retention is how long files stay; by default for ever.
	Retention RetentionConfig `mapstructure:"retention"`

	// CacheBytes bounds the memory for blocks of the store, in bytes, and that for a filter of the ids that are known: at least 1 MiB.
	CacheBytes int64 `mapstructure:"cache_bytes"`

	// Feed sends what the ledger counts to billers.
	Feed FeedConfig `mapstructure:"feed"`

	_ struct{} // fields are set by name
}

func createDefaultConfig() component.Config {
	return &Config{
		Directory:      "./usage",
		WriterID:       "main",
		FlushInterval:  ledger.DefaultFlushInterval,
		SealAfter:      ledger.DefaultSealAfter,
		CorrectionWait: ledger.DefaultCorrectionWait,
		MaxOpenBytes:   ledger.DefaultMaxOpenBytes,

		RollupDimensions: slices.Clone(parquetfile.DefaultDimensions),

		MinFreeBytes: ledger.DefaultMinFreeBytes,
		CacheBytes:   ledger.DefaultCacheBytes,
	}
}

// Validate says which field has a value that is not accepted, and which values are.
func (c *Config) Validate() error {
	if strings.TrimSpace(c.Directory) == "" {
		return fmt.Errorf("directory is empty: set the path of the ledger's directory, such as ./usage")
	}
	if !ledger.ValidWriterID(c.WriterID) {
		return fmt.Errorf("writer_id is %q: it takes 1 to 64 of the characters A-Z, a-z, 0-9, '.', '_' and '-', the first a letter or digit", c.WriterID)
	}
	if _, err := parquetfile.NewGrouping(c.RollupDimensions); err != nil {
		return fmt.Errorf("rollup_dimensions: %w", err)
	}
	for _, d := range [...]struct {
		field          string
		value, low, up time.Duration
	}{
		{"flush_interval", c.FlushInterval, 100 * time.Millisecond, time.Hour},
		{"seal_after", c.SealAfter, 0, 168 * time.Hour},
		{"correction_wait", c.CorrectionWait, 0, 8760 * time.Hour},
	} {
		if d.value < d.low || d.value > d.up {
			return fmt.Errorf("%s is %s: it takes a duration from %s to %s", d.field, d.value, d.low, d.up)
		}
	}
	for _, n := range [...]struct {
		field      string
		value, low int64
	}{
		{"max_open_bytes", c.MaxOpenBytes, 16 << 20},
		{"min_free_bytes", c.MinFreeBytes, 0},
		{"cache_bytes", c.CacheBytes, 1 << 20},
	} {
		if n.value < n.low {
			return fmt.Errorf("%s is %d: it takes a number of bytes, at least %d", n.field, n.value, n.low)
		}
	}
	return nil // Feed is validated by itself
}

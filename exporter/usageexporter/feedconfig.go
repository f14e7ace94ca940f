package usageexporter

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"

	"github.com/usagebox/otelcol-usagebox/internal/configkeys"
	"github.com/usagebox/otelcol-usagebox/internal/feed"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// When records of an hour are made.
const (
	emitSealed = "sealed"
	emitOpen   = "open"

	defaultEvery = 5 * time.Minute
	maxDecimals  = 12
)

// FeedConfig is the billing feed. Without receivers there is none.
type FeedConfig struct {
	// Emit says which hours are sent: sealed (default), those that have been sealed and what changes them later; open, those too that go on, each Every.
	Emit string `mapstructure:"emit"`

	// Every is how often the change of an hour that goes on is sent: 1s to 1h, 5m by default. Setting it is enough to set emit: open.
	Every time.Duration `mapstructure:"every"`

	// Receivers are who is sent the records, by type or type/name. The types are file, webhook, stripe, metronome, openmeter, lago, orb, flexprice
	// and kafka.
	Receivers map[string]feedReceiver `mapstructure:"receivers"`

	_ struct{} // fields are set by name
}

// feedReceiver is the configuration of one receiver.
type feedReceiver interface {
	common() *ReceiverConfig
	validate() error
	limits() (decimals int, zeroes, unattributed bool)
}

// Unmarshal reads each receiver as its type says.
func (c *FeedConfig) Unmarshal(conf *confmap.Conf) error {
	if err := configkeys.Check[FeedConfig](conf); err != nil {
		return err
	}
	own := conf.ToStringMap()
	delete(own, "receivers")
	type plain FeedConfig // that is not read by this method
	if err := confmap.NewFromStringMap(own).Unmarshal((*plain)(c)); err != nil {
		return err
	}
	receivers, err := conf.Sub("receivers")
	if err != nil {
		return fmt.Errorf("receivers: %w", err)
	}
	c.Receivers = map[string]feedReceiver{}
	for name, value := range receivers.ToStringMap() {
		kind, err := receiverType(name)
		if err != nil {
			return err
		}
		r := receiverConfigs[kind]()
		c.Receivers[name] = r
		if value == nil {
			continue
		}
		sub, err := receivers.Sub(name)
		if err != nil {
			return fmt.Errorf("receivers: %s: %w", name, err)
		}
		if err := sub.Unmarshal(r); err != nil {
			return fmt.Errorf("receivers: %s: %w", name, err)
		}
	}
	return nil
}

// receiverConfigs is what each type's configuration begins with.
var receiverConfigs = map[string]func() feedReceiver{
	"file":      newFileConfig,
	"webhook":   newWebhookConfig,
	"stripe":    newStripeConfig,
	"metronome": newEventsConfig("metronome"),
	"openmeter": newEventsConfig("openmeter"),
	"lago":      newEventsConfig("lago"),
	"orb":       newEventsConfig("orb"),
	"flexprice": newEventsConfig("flexprice"),
	"kafka":     newKafkaConfig,
}

// receiverType is the type in type or type/name.
func receiverType(name string) (string, error) {
	var id component.ID
	if err := id.UnmarshalText([]byte(name)); err != nil {
		return "", fmt.Errorf("receivers: %q is not type or type/name: %w", name, err)
	}
	if receiverConfigs[id.Type().String()] == nil {
		return "", fmt.Errorf("receivers: %q is of no type that there is: it takes %s, and a name behind a slash", name, slices.Sorted(maps.Keys(receiverConfigs)))
	}
	if id.Name() != "" && !folderName.MatchString(id.Name()) {
		return "", fmt.Errorf("receivers: %q has a name that is no name of a folder, which it becomes in feed/: it takes letters, digits, '.', '_' and '-', the first a letter or digit", name)
	}
	return id.Type().String(), nil
}

// folderName is what a receiver may be called: feed/TYPE/NAME/ is the folder of its lines.
var folderName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// Validate says which field has a value that is not accepted, and which values are.
func (c *FeedConfig) Validate() error {
	switch {
	case c.Emit != "" && c.Emit != emitSealed && c.Emit != emitOpen:
		return fmt.Errorf("emit is %q: it takes sealed or open", c.Emit)
	case c.Emit == emitSealed && c.Every != 0:
		return fmt.Errorf("every is %s with emit sealed: every is for hours that go on, leave it out or set emit: open", c.Every)
	case c.Every != 0 && (c.Every < time.Second || c.Every > time.Hour):
		return fmt.Errorf("every is %s: it takes a duration from 1s to 1h", c.Every)
	}
	folders := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(c.Receivers)) {
		folder := strings.ToLower(name)
		if other, taken := folders[folder]; taken {
			return fmt.Errorf("receivers: %s and %s are one folder where file systems don't tell A from a: give one of them another name", other, name)
		}
		folders[folder] = name
		r := c.Receivers[name]
		if err := errors.Join(r.common().validate(r), r.validate()); err != nil {
			return fmt.Errorf("receivers: %s: %w", name, err)
		}
	}
	return nil
}

// every is how often open hours are sent, 0: never.
func (c *FeedConfig) every() time.Duration {
	switch {
	case c.Every > 0:
		return c.Every
	case c.Emit == emitOpen:
		return defaultEvery
	}
	return 0
}

// ReceiverConfig is what all receivers have.
type ReceiverConfig struct {
	// Meters are which of the ledger's meters go to which of the receiver's; all of them under their own names when it is left out.
	Meters []meterConfig `mapstructure:"meters"`

	// Dimensions keep records apart and go with them: any of feature, step, agent, operation, provider, model.
	Dimensions []string `mapstructure:"dimensions"`

	// Customers gives customers their names at the receiver; their own when it is left out.
	Customers customersConfig `mapstructure:"customers"`

	// Unattributed says whether usage of no known customer is sent, as of the customer unattributed.
	Unattributed *bool `mapstructure:"unattributed"`

	// From is the first hour that is sent, RFC 3339. Left out: all, or, when the ledger has counted before the receiver was there, the hour in
	// which the receiver came.
	From string `mapstructure:"from"`

	// Negative says what becomes of an hour that gets less, by a correction: send (default) it as a negative value, or hold it back until later usage makes up for it.
	Negative string `mapstructure:"negative"`

	// Workers is how many calls are under way at once: 1 to 256. One customer's meter has one at a time.
	Workers int `mapstructure:"workers"`

	// RateLimit is how many calls begin in a second: 1 to 10,000.
	RateLimit int `mapstructure:"rate_limit"`

	// Retry is how long to wait after a call that failed.
	Retry retryConfig `mapstructure:"retry"`

	_ struct{}
}

// retryConfig doubles the wait from one failure to the next, and takes half to the whole of it at random.
type retryConfig struct {
	// InitialInterval is the wait after the first failure: 10ms to 1h.
	InitialInterval time.Duration `mapstructure:"initial_interval"`

	// MaxInterval is the longest wait: at least initial_interval, to 24h.
	MaxInterval time.Duration `mapstructure:"max_interval"`
}

// meterConfig is one of the receiver's meters.
type meterConfig struct {
	// Meter is one of the ledger's, or a pattern with * and ?. The sum of all that fit is sent.
	Meter string `mapstructure:"meter"`

	// Name is the receiver's name of it; the ledger's when it is left out.
	Name string `mapstructure:"name"`

	// Value is what is sent: quantity (default), cost or price.
	Value string `mapstructure:"value"`

	// Currency is that of a cost or price: what is in others is not sent by this meter.
	Currency string `mapstructure:"currency"`

	// Per is how many of the ledger's units, or of the currency, are one of the receiver's: 1000 sends thousands, 0.01 sends cents. A decimal of at most 15 digits, 1 by default.
	Per any `mapstructure:"per"`

	// Where has patterns by dimension, or by customer: only usage of which each dimension fits one of its patterns is sent.
	Where map[string][]string `mapstructure:"where"`
}

// customersConfig has one of its fields.
type customersConfig struct {
	// Template is a text with {customer}, or {feature} and so on of the record's dimensions.
	Template string `mapstructure:"template"`

	// File is a CSV file of customer,name, read again when it changes. A customer that is not there has dead records, until it is and they are retried.
	File string `mapstructure:"file"`

	// Column is a dimension of the record that is the name.
	Column string `mapstructure:"column"`
}

func newReceiverConfig(dimensions ...string) ReceiverConfig {
	return ReceiverConfig{
		Dimensions: dimensions, Workers: feed.DefaultWorkers, RateLimit: feed.DefaultRate,
		Retry: retryConfig{feed.DefaultMinBackoff, feed.DefaultMaxBackoff},
	}
}

func (c *ReceiverConfig) common() *ReceiverConfig { return c }

func (c *ReceiverConfig) validate(r feedReceiver) error {
	if _, err := c.mapping(r); err != nil {
		return err
	}
	if _, err := c.from(); err != nil {
		return err
	}
	named := 0
	for _, text := range [...]string{c.Customers.Template, c.Customers.File, c.Customers.Column} {
		if text != "" {
			named++
		}
	}
	templateError := (&feed.Customers{Template: c.Customers.Template}).Validate(c.Dimensions)
	switch {
	case named > 1:
		return errors.New("customers: it takes one of template, file and column")
	case templateError != nil:
		return fmt.Errorf("customers: %w", templateError)
	case c.Customers.Column != "" && !slices.Contains(c.Dimensions, c.Customers.Column):
		return fmt.Errorf("customers: column is %q: it takes one of the receiver's dimensions, %v", c.Customers.Column, c.Dimensions)
	case c.Negative != "" && c.Negative != "send" && c.Negative != "hold":
		return fmt.Errorf("negative is %q: it takes send or hold", c.Negative)
	case c.Workers < 1 || c.Workers > 256:
		return fmt.Errorf("workers is %d: it takes a number from 1 to 256", c.Workers)
	case c.RateLimit < 1 || c.RateLimit > 10_000:
		return fmt.Errorf("rate_limit is %d: it takes a number of calls a second from 1 to 10000", c.RateLimit)
	case c.Retry.InitialInterval < 10*time.Millisecond || c.Retry.InitialInterval > time.Hour:
		return fmt.Errorf("retry: initial_interval is %s: it takes a duration from 10ms to 1h", c.Retry.InitialInterval)
	case c.Retry.MaxInterval < c.Retry.InitialInterval || c.Retry.MaxInterval > 24*time.Hour:
		return fmt.Errorf("retry: max_interval is %s: it takes a duration from initial_interval to 24h", c.Retry.MaxInterval)
	}
	return nil
}

// mapping is which totals become which records.
func (c *ReceiverConfig) mapping(r feedReceiver) (feed.Mapping, error) {
	decimals, _, unattributed := r.limits()
	if c.Unattributed != nil {
		unattributed = *c.Unattributed
	}
	m := feed.Mapping{Dimensions: c.Dimensions, Unattributed: unattributed, Decimals: decimals, HoldNegative: c.Negative == "hold"}
	for _, meter := range c.Meters {
		m.Meters = append(m.Meters, feed.Meter{
			Meter: meter.Meter, Name: meter.Name, Value: meter.Value, Currency: meter.Currency, Per: decimalText(meter.Per), Where: meter.Where,
		})
	}
	return m, m.Validate()
}

// decimalText is a number of a configuration as it was written. What YAML reads as a float has its text again, up to 15 digits.
func decimalText(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return fmt.Sprint(value)
}

func (c *ReceiverConfig) from() (*usage.Hour, error) {
	if c.From == "" {
		return nil, nil
	}
	at, err := time.Parse(time.RFC3339, c.From)
	if err != nil || !at.Equal(at.Truncate(time.Hour)) || at.Before(time.Unix(0, 0)) {
		return nil, fmt.Errorf("from is %q: it takes the beginning of an hour, such as 2026-11-01T00:00:00Z", c.From)
	}
	h := usage.MicrosOf(at).Hour()
	return &h, nil
}

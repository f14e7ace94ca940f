package usageexporter

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/confmap"

	"github.com/usagebox/otelcol-usagebox/internal/configkeys"
	"github.com/usagebox/otelcol-usagebox/internal/feed"
	"github.com/usagebox/otelcol-usagebox/internal/feed/biller"
)

// fileConfig is the receiver whose delivery is the line in feed/.
type fileConfig struct {
	ReceiverConfig `mapstructure:",squash"`

	// Parquet makes a Parquet file of the lines of each day of delivery, beside them, when it is over.
	Parquet bool `mapstructure:"parquet"`
}

func newFileConfig() feedReceiver { return &fileConfig{ReceiverConfig: newReceiverConfig("model")} }

func (c *fileConfig) Unmarshal(conf *confmap.Conf) error { return unmarshalReceiver(conf, c) }
func (*fileConfig) validate() error                      { return nil }
func (*fileConfig) limits() (int, bool, bool)            { return maxDecimals, true, true }

// unmarshalReceiver refuses keys that nobody reads.
func unmarshalReceiver[T any](conf *confmap.Conf, c *T) error {
	if err := configkeys.Check[T](conf); err != nil {
		return err
	}
	if err := checkParts(conf.ToStringMap()); err != nil {
		return err
	}
	return conf.Unmarshal(c)
}

// checkParts is about what lies deeper: a `per` with a slip in it would be an invoice that is a thousand times too high.
func checkParts(values map[string]any) error {
	meters, _ := values["meters"].([]any)
	for i, meter := range meters {
		if m, ok := meter.(map[string]any); ok {
			if err := configkeys.CheckMap[meterConfig](m); err != nil {
				return fmt.Errorf("meters[%d]: %w", i, err)
			}
		}
	}
	return errors.Join(checkPart[customersConfig](values, "customers"), checkPart[retryConfig](values, "retry"), checkPart[reportsConfig](values, "error_reports"))
}

func checkPart[T any](values map[string]any, key string) error {
	part, ok := values[key].(map[string]any)
	if !ok {
		return nil
	}
	if err := configkeys.CheckMap[T](part); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

// webhookConfig posts CloudEvents, signed as Standard Webhooks says.
type webhookConfig struct {
	ReceiverConfig `mapstructure:",squash"`

	// ClientConfig is confighttp's: endpoint, tls, auth, headers, timeout, proxy_url and so on.
	ClientConfig confighttp.ClientConfig `mapstructure:",squash"`

	// Secret is what messages are signed with: whsec_ and base64. Without it they are not signed.
	Secret configopaque.String `mapstructure:"secret"`

	// BatchSize is how many events go in one message: 1 to 1000. With more than one the body is an array.
	BatchSize int `mapstructure:"batch_size"`

	// IdempotencyWindow is how long the receiver remembers the ids of events: 1h or more, or 0 when it never forgets.
	IdempotencyWindow time.Duration `mapstructure:"idempotency_window"`
}

func newWebhookConfig() feedReceiver {
	return &webhookConfig{ReceiverConfig: newReceiverConfig("model"), ClientConfig: newClientConfig(""), BatchSize: 1, IdempotencyWindow: 24 * time.Hour}
}

func newClientConfig(endpoint string) confighttp.ClientConfig {
	client := confighttp.NewDefaultClientConfig()
	client.Endpoint, client.Timeout = endpoint, 20*time.Second
	return client
}

func (c *webhookConfig) Unmarshal(conf *confmap.Conf) error { return unmarshalReceiver(conf, c) }
func (*webhookConfig) limits() (int, bool, bool)            { return maxDecimals, true, true }

func (c *webhookConfig) validate() error {
	if err := checkClient(&c.ClientConfig); err != nil {
		return err
	}
	switch {
	case c.BatchSize < 1 || c.BatchSize > 1000:
		return fmt.Errorf("batch_size is %d: it takes a number from 1 to 1000", c.BatchSize)
	case !validWindow(c.IdempotencyWindow):
		return windowError(c.IdempotencyWindow)
	}
	if c.Secret != "" {
		if _, err := biller.SecretKey(string(c.Secret)); err != nil {
			return fmt.Errorf("secret is not one of Standard Webhooks: %w", err)
		}
	}
	return nil
}

func validWindow(w time.Duration) bool { return w == 0 || w >= time.Hour }

func windowError(w time.Duration) error {
	return fmt.Errorf("idempotency_window is %s: it takes a duration of 1h or more, or 0s for a receiver that never forgets an id", w)
}

func checkClient(c *confighttp.ClientConfig) error {
	if c.Timeout <= 0 || c.Timeout > feed.CallTimeout {
		return fmt.Errorf("timeout is %s: it takes a duration up to %s", c.Timeout, feed.CallTimeout)
	}
	return checkEndpoint("endpoint", c.Endpoint)
}

func checkEndpoint(field, endpoint string) error {
	u, err := url.Parse(endpoint)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return fmt.Errorf("%s is not an address: it takes one such as https://example.com/usage", field)
	case u.User != nil:
		return fmt.Errorf("%s has a password in it, which would be seen in places where secrets are not: use auth or headers", field)
	}
	return nil
}

// eventsConfig is a biller that takes batches of events.
type eventsConfig struct {
	ReceiverConfig `mapstructure:",squash"`

	// ClientConfig is confighttp's: endpoint, tls, headers, timeout, proxy_url and so on.
	ClientConfig confighttp.ClientConfig `mapstructure:",squash"`

	// APIKey is the key of the biller's API.
	APIKey configopaque.String `mapstructure:"api_key"`

	// ValueProperty is the property of an event that the value is in.
	ValueProperty string `mapstructure:"value_property"`

	// IdempotencyWindow is how long the biller remembers the ids of events: 1h or more, or 0 when it never forgets. What it is by default differs from biller to biller.
	IdempotencyWindow time.Duration `mapstructure:"idempotency_window"`

	protocol *biller.Protocol
	kind     string
}

// protocols are those of the billers that take batches of events.
var protocols = map[string]*biller.Protocol{
	"metronome": &biller.Metronome, "openmeter": &biller.OpenMeter, "lago": &biller.Lago, "orb": &biller.Orb, "flexprice": &biller.Flexprice,
}

func newEventsConfig(kind string) func() feedReceiver {
	return func() feedReceiver {
		p := protocols[kind]
		return &eventsConfig{ReceiverConfig: newReceiverConfig("model"), ClientConfig: newClientConfig(p.Endpoint), ValueProperty: "value", IdempotencyWindow: p.Window, protocol: p, kind: kind}
	}
}

func (c *eventsConfig) Unmarshal(conf *confmap.Conf) error { return unmarshalReceiver(conf, c) }
func (*eventsConfig) limits() (int, bool, bool)            { return maxDecimals, false, false }

func (c *eventsConfig) validate() error {
	if err := checkClient(&c.ClientConfig); err != nil {
		return err
	}
	switch {
	case c.APIKey == "" && c.kind != "openmeter": // one that is run by oneself has none
		return errors.New("api_key is empty: set it, best from the environment, as ${env:NAME}")
	case !validWindow(c.IdempotencyWindow):
		return windowError(c.IdempotencyWindow)
	case c.ValueProperty == "":
		return errors.New("value_property is empty: name the property that the biller's meters add up, such as value")
	case slices.Contains(c.Dimensions, c.ValueProperty):
		return fmt.Errorf("value_property is %q, as one of the dimensions: a property has one of both", c.ValueProperty)
	}
	return nil
}

// stripeConfig sends meter events.
type stripeConfig struct {
	ReceiverConfig `mapstructure:",squash"`

	// ClientConfig is confighttp's: endpoint, tls, headers, timeout, proxy_url and so on.
	ClientConfig confighttp.ClientConfig `mapstructure:",squash"`

	// APIKey is a secret or restricted key.
	APIKey configopaque.String `mapstructure:"api_key"`

	// API is v1 (default), one event a call that is checked at once, or v2, streams of up to 100 events a call that are checked later: set error_reports with it.
	API string `mapstructure:"api"`

	// APIVersion is sent as Stripe-Version.
	APIVersion string `mapstructure:"api_version"`

	// StreamEndpoint is where streams go.
	StreamEndpoint string `mapstructure:"stream_endpoint"`

	// CustomerKey and ValueKey are the keys of the payload that the meters read.
	CustomerKey string `mapstructure:"customer_key"`
	ValueKey    string `mapstructure:"value_key"`

	// ErrorReports is an endpoint for Stripe's reports of events that it found wrong after it had taken them.
	ErrorReports configoptional.Optional[reportsConfig] `mapstructure:"error_reports"`
}

// reportsConfig is an endpoint for reports.
type reportsConfig struct {
	// ServerConfig is confighttp's: endpoint, tls and so on.
	ServerConfig confighttp.ServerConfig `mapstructure:",squash"`

	// Secret is what Stripe signs reports with: whsec_….
	Secret configopaque.String `mapstructure:"secret"`
}

func newStripeConfig() feedReceiver {
	server := confighttp.NewDefaultServerConfig()
	server.NetAddr.Endpoint = "localhost:8081"
	return &stripeConfig{
		ReceiverConfig: newReceiverConfig(), ClientConfig: newClientConfig(biller.StripeEndpoint), API: "v1", APIVersion: biller.StripeVersion,
		StreamEndpoint: biller.StripeStreamEndpoint, CustomerKey: "stripe_customer_id", ValueKey: "value",
		ErrorReports: configoptional.Default(reportsConfig{ServerConfig: server}),
	}
}

func (c *stripeConfig) Unmarshal(conf *confmap.Conf) error { return unmarshalReceiver(conf, c) }
func (*stripeConfig) limits() (int, bool, bool)            { return 0, false, false }

func (c *stripeConfig) validate() error {
	if err := errors.Join(checkClient(&c.ClientConfig), checkEndpoint("stream_endpoint", c.StreamEndpoint)); err != nil {
		return err
	}
	switch {
	case c.APIKey == "":
		return errors.New("api_key is empty: set it, best from the environment, as ${env:STRIPE_API_KEY}")
	case c.API != "v1" && c.API != "v2":
		return fmt.Errorf("api is %q: it takes v1 or v2", c.API)
	case len(c.Meters) == 0:
		return errors.New("meters is empty: name the meters that Stripe has, such as [{meter: llm_tokens_*, name: tokens, per: 1000}]")
	case c.CustomerKey == "" || c.ValueKey == "" || c.CustomerKey == c.ValueKey:
		return errors.New("customer_key and value_key are the names of two fields of a meter event's payload, by default stripe_customer_id and value")
	case slices.Contains(c.Dimensions, c.CustomerKey) || slices.Contains(c.Dimensions, c.ValueKey):
		return errors.New("customer_key or value_key is as one of the dimensions: a field of a meter event's payload has one of both")
	case c.ErrorReports.HasValue() && !strings.HasPrefix(string(c.ErrorReports.Get().Secret), "whsec_"):
		return errors.New("error_reports: secret is not one of Stripe's: it takes the signing secret of the endpoint, whsec_…")
	}
	return nil
}

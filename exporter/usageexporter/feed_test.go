package usageexporter

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.yaml.in/yaml/v3"

	"github.com/usagebox/otelcol-usagebox/internal/feed"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// feedOf reads the key feed of a configuration as the Collector does.
func feedOf(t *testing.T, text string) (*Config, error) {
	t.Helper()
	var values map[string]any
	require.NoError(t, yaml.Unmarshal([]byte("feed: "+text), &values))
	cfg := createDefaultConfig().(*Config)
	if err := confmap.NewFromStringMap(values).Unmarshal(cfg); err != nil {
		return nil, err
	}
	return cfg, confmap.Validate(cfg)
}

func TestFeedErrorsNameTheFieldAndWhatItTakes(t *testing.T) {
	const stripe = "{receivers: {stripe: {api_key: sk_live_secret, meters: [{meter: units}]"
	for text, message := range map[string]string{
		"{emit: now}":                                                                       "emit is \"now\": it takes sealed or open",
		"{emit: sealed, every: 5m}":                                                         "leave it out or set emit: open",
		"{every: 2h}":                                                                       "every is 2h0m0s: it takes a duration from 1s to 1h",
		"{interval: 5m}":                                                                    "has invalid keys: interval; the keys are emit, every, receivers",
		"{receivers: {paypal: {}}}":                                                         "\"paypal\" is of no type that there is",
		"{receivers: {file: {path: x}}}":                                                    "has invalid keys: path",
		"{receivers: {file: {meters: [{}]}}}":                                               "meter is empty",
		"{receivers: {file: {dimensions: [user_id]}}}":                                      "\"user_id\" is not a column of rollups",
		"{receivers: {file: {from: yesterday}}}":                                            "from is \"yesterday\": it takes the beginning of an hour",
		"{receivers: {file: {from: '2026-11-01T00:30:00Z'}}}":                               "it takes the beginning of an hour",
		"{receivers: {file: {negative: drop}}}":                                             "negative is \"drop\": it takes send or hold",
		"{receivers: {file: {workers: 0}}}":                                                 "workers is 0: it takes a number from 1 to 256",
		"{receivers: {file: {rate_limit: 0}}}":                                              "rate_limit is 0",
		"{receivers: {file: {retry: {initial_interval: 0s}}}}":                              "initial_interval is 0s",
		"{receivers: {file: {retry: {initial_interval: 1h, max_interval: 1m}}}}":            "max_interval is 1m0s",
		"{receivers: {file: {customers: {template: a, file: b}}}}":                          "it takes one of template, file and column",
		"{receivers: {file: {customers: {column: agent}}}}":                                 "column is \"agent\"",
		"{receivers: {file: {meters: [{meter: a, value: cost, name: b}]}}}":                 "currency is \"\" with value cost",
		"{receivers: {file: {meters: [{meter: a, value: cost, currency: USD}]}}}":           "name is empty with value cost",
		"{receivers: {file: {meters: [{meter: a, value: tokens}]}}}":                        "value is \"tokens\": it takes quantity, cost or price",
		"{receivers: {file: {meters: [{meter: a, per: 0}]}}}":                               "per is \"0\"",
		"{receivers: {file: {meters: [{meter: a, where: {user: [b]}}]}}}":                   "\"user\" is not a column",
		"{receivers: {file: {meters: [{meter: a, name: c}, {meter: b, name: c, per: 2}]}}}": "are both named \"c\"",
		"{receivers: {webhook: {}}}":                                                        "endpoint is not an address",
		"{receivers: {webhook: {endpoint: 'http://a', secret: hush}}}":                      "secret is not one of Standard Webhooks",
		"{receivers: {webhook: {endpoint: 'http://a', batch_size: 0}}}":                     "batch_size is 0",
		"{receivers: {webhook: {endpoint: 'http://a', idempotency_window: 1m}}}":            "idempotency_window is 1m0s",
		"{receivers: {orb: {}}}":                                                            "api_key is empty",
		"{receivers: {stripe: {api_key: a}}}":                                               "meters is empty",
		stripe + ", api: v3}}}":                                                             "api is \"v3\": it takes v1 or v2",
		stripe + ", customer_key: value}}}":                                                 "customer_key and value_key",
		stripe + ", error_reports: {secret: sk}}}}":                                         "error_reports: secret is not one of Stripe's",
		"{receivers: {webhook: {endpoint: 'http://a', timeout: 1m}}}":                       "timeout is 1m0s: it takes a duration up to 30s",
		"{receivers: {webhook: {endpoint: 'http://me:hush@a'}}}":                            "endpoint has a password in it",
		"{receivers: {kafka: {topic: a}}}":                                                  "brokers is empty",
		"{receivers: {kafka: {brokers: [a]}}}":                                              "topic is empty",
		"{receivers: {kafka: {brokers: [a], topic: b, auth: {sasl: {username: c}}}}}":       "username or password is empty",
		"{receivers: {kafka: {brokers: [a], topic: b, auth: {sasl: {mechanism: GSSAPI}}}}}": "mechanism is \"GSSAPI\"",
		"{receivers: {file: {customers: {template: 'cus_{custmer}'}}}}":                     "template has {custmer}, which nothing stands for",
		"{receivers: {file: {customers: {template: 'cus_{agent}'}}}}":                       "{agent}, which is not one of the receiver's dimensions",
		"{receivers: {file: {customers: {template: 'cus_{customer'}}}}":                     "a brace is not closed",
		"{receivers: {file: {dimensions: [model, model]}}}":                                 "\"model\" is there twice",
		"{receivers: {file: {meters: [{meter: a, where: {model: []}}]}}}":                   "model has no pattern",
		"{receivers: {file: {meters: [{meter: a, name: b, value: cost, currency: usd}]}}}":  "currency is \"usd\"",
		"{receivers: {file: {meters: [{meter: 'a*', name: b, per: 2}, {meter: '*'}]}}}":     "which goes under its own name",
		"{receivers: {orb: {api_key: a, value_property: model}}}":                           "value_property is \"model\"",
		stripe + ", dimensions: [model], value_key: model}}}":                               "customer_key or value_key",
		stripe + ", stream_endpoint: here}}}":                                               "stream_endpoint is not an address",
	} {
		_, err := feedOf(t, text)
		require.ErrorContains(t, err, message, text)
		require.NotContains(t, err.Error(), "sk_live_secret")
		require.NotContains(t, err.Error(), "hush")
	}
}

func TestFeedConfigurationsThatAreRight(t *testing.T) {
	cfg, err := feedOf(t, `{emit: open, receivers: {file: , webhook/erp: {endpoint: "https://erp.example/usage", secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw},
		stripe: {api_key: sk, meters: [{meter: "llm_tokens_*", name: tokens, per: 1000}, {meter: "*", name: spend, value: price, currency: USD, per: 0.01}], from: "2026-11-01T00:00:00Z"}}}`)
	require.NoError(t, err)
	require.Equal(t, defaultEvery, cfg.Feed.every())
	require.Len(t, cfg.Feed.Receivers, 3)
	m, err := cfg.Feed.Receivers["stripe"].common().mapping(cfg.Feed.Receivers["stripe"])
	require.NoError(t, err)
	require.Equal(t, feed.Mapping{Meters: []feed.Meter{
		{Meter: "llm_tokens_*", Name: "tokens", Value: "quantity", Per: "1000"}, {Meter: "*", Name: "spend", Value: "price", Currency: "USD", Per: "0.01"},
	}, Dimensions: []string(nil)}, m)
	cfg, err = feedOf(t, "{}")
	require.NoError(t, err)
	require.Zero(t, cfg.Feed.every())
}

// The exporter feeds while it runs, ends in order while a receiver does not answer, and goes on where it stopped.
func TestTheFeedEndsWithTheExporterAndGoesOn(t *testing.T) {
	var calls atomic.Int64
	var taken atomic.Bool
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 1 {
			select { // it does not answer
			case <-release:
			case <-r.Context().Done():
			}
			return
		}
		taken.Store(true)
		w.WriteHeader(http.StatusNoContent)
	}))
	defer server.Close()
	defer close(release)
	cfg, err := feedOf(t, `{every: 1s, receivers: {file: {}, webhook: {endpoint: "`+server.URL+`", retry: {initial_interval: 10ms}}}}`)
	require.NoError(t, err)
	cfg.Directory, cfg.MinFreeBytes, cfg.FlushInterval = t.TempDir(), 0, 100*time.Millisecond

	e := start(t, cfg, exportertest.NewNopSettings(typ))
	require.NoError(t, e.ConsumeLogs(context.Background(), usage.EncodeLogs([]usage.Event{event("1", 5)})))
	require.Eventually(t, func() bool { return calls.Load() > 0 && len(lines(t, cfg, "file")) == 1 }, 30*time.Second, 10*time.Millisecond)
	require.NoError(t, e.Shutdown(context.Background()))
	require.Empty(t, lines(t, cfg, "webhook"))

	e = start(t, cfg, exportertest.NewNopSettings(typ))
	require.Eventually(t, func() bool { return len(lines(t, cfg, "webhook")) == 1 }, 30*time.Second, 10*time.Millisecond)
	require.True(t, taken.Load())
	require.NoError(t, e.Shutdown(context.Background()))
	require.Len(t, lines(t, cfg, "file"), 1)
}

func TestAnHourIsSentWhenItIsSealedAndNotBefore(t *testing.T) {
	cfg, err := feedOf(t, `{receivers: {file: {}}}`)
	require.NoError(t, err)
	cfg.Directory, cfg.MinFreeBytes, cfg.FlushInterval, cfg.SealAfter = t.TempDir(), 0, 100*time.Millisecond, 0
	e := start(t, cfg, exportertest.NewNopSettings(typ))
	now := event("now", 3)
	now.Timestamp = usage.MicrosOf(time.Now().Add(2 * time.Hour)) // of an hour that goes on
	require.NoError(t, e.ConsumeLogs(context.Background(), usage.EncodeLogs([]usage.Event{event("1", 5), now})))
	require.Eventually(t, func() bool { return len(lines(t, cfg, "file")) > 0 }, 30*time.Second, 10*time.Millisecond)
	require.NoError(t, e.ConsumeLogs(context.Background(), usage.EncodeLogs([]usage.Event{event("late", 2)})))
	require.Eventually(t, func() bool { return len(lines(t, cfg, "file")) > 1 }, 30*time.Second, 10*time.Millisecond)
	require.NoError(t, e.Shutdown(context.Background()))
	all := lines(t, cfg, "file")
	require.Len(t, all, 2)
	require.Contains(t, all[0], `"quantity":"5"`)
	require.Contains(t, all[1], `"revision":2`)
	require.Contains(t, all[1], `"quantity":"2"`)
}

func lines(t *testing.T, cfg *Config, receiver string) (all []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(cfg.Directory, "feed", receiver, "*.ndjson"))
	require.NoError(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		all = append(all, strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")...)
	}
	return all
}

func TestAFeedThatCannotStartLeavesTheDirectoryFree(t *testing.T) {
	cfg, err := feedOf(t, `{receivers: {stripe: {api_key: sk, meters: [{meter: a}], tls: {ca_file: /does/not/exist}}}}`)
	require.NoError(t, err)
	cfg.Directory, cfg.MinFreeBytes = t.TempDir(), 0
	e, err := NewFactory().CreateLogs(context.Background(), exportertest.NewNopSettings(typ), cfg)
	require.NoError(t, err)
	require.ErrorContains(t, e.Start(context.Background(), componenttest.NewNopHost()), "the billing feed can't start, nothing was sent: receiver stripe")
	require.NoError(t, e.Shutdown(context.Background()))
	cfg.Feed.Receivers = nil
	e = start(t, cfg, exportertest.NewNopSettings(typ))
	require.NoError(t, e.Shutdown(context.Background()))
}

package usageexporter

import (
	"context"
	"math"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/usagebox/otelcol-usagebox/exporter/usageexporter/internal/metadatatest"
	"github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/usage"
)

func testConfig(t *testing.T) *Config {
	cfg := createDefaultConfig().(*Config)
	cfg.Directory = t.TempDir()
	cfg.MinFreeBytes = 0
	return cfg
}

func start(t *testing.T, cfg *Config, set exporter.Settings) exporter.Logs {
	t.Helper()
	e, err := NewFactory().CreateLogs(context.Background(), set, cfg)
	require.NoError(t, err)
	require.NoError(t, e.Start(context.Background(), componenttest.NewNopHost()))
	return e
}

func event(id string, quantity int64) usage.Event {
	e := usage.Event{
		ID: id, Customer: "acme", Timestamp: usage.MicrosOf(time.Date(2026, 5, 16, 18, 42, 11, 0, time.UTC)),
		Lines: []usage.Line{{Meter: "llm_tokens_in", Quantity: usage.Units(quantity)}},
	}
	e.Normalize()
	return e
}

func TestConfigErrorsNameTheFieldAndWhatItTakes(t *testing.T) {
	for message, change := range map[string]func(*Config){
		"directory is empty: set the path of the ledger's directory, such as ./usage":                                                                                                                    func(c *Config) { c.Directory = " " },
		`writer_id is "a/b": it takes 1 to 64 of the characters A-Z, a-z, 0-9, '.', '_' and '-', the first a letter or digit`:                                                                            func(c *Config) { c.WriterID = "a/b" },
		`rollup_dimensions: unknown dimension "colour": it is one of feature, step, agent, operation, provider, model, user_id, session_id, conversation_id, run_id, source, service, or dimensions.KEY`: func(c *Config) { c.RollupDimensions = []string{"colour"} },
		"flush_interval is 0s: it takes a duration from 100ms to 1h0m0s":                                                                                                                                 func(c *Config) { c.FlushInterval = 0 },
		"seal_after is -1s: it takes a duration from 0s to 168h0m0s":                                                                                                                                     func(c *Config) { c.SealAfter = -time.Second },
		"correction_wait is 8761h0m0s: it takes a duration from 0s to 8760h0m0s":                                                                                                                         func(c *Config) { c.CorrectionWait = 8761 * time.Hour },
		"max_open_bytes is 1: it takes a number of bytes, at least 16777216":                                                                                                                             func(c *Config) { c.MaxOpenBytes = 1 },
		"min_free_bytes is -1: it takes a number of bytes, at least 0":                                                                                                                                   func(c *Config) { c.MinFreeBytes = -1 },
		"cache_bytes is 0: it takes a number of bytes, at least 1048576":                                                                                                                                 func(c *Config) { c.CacheBytes = 0 },
	} {
		cfg := createDefaultConfig().(*Config)
		require.NoError(t, cfg.Validate())
		change(cfg)
		require.EqualError(t, cfg.Validate(), message)
	}
}

func TestEveryEventIsAnsweredWhenItIsDurable(t *testing.T) {
	cfg := testConfig(t)
	e := start(t, cfg, exportertest.NewNopSettings(typ))
	require.False(t, e.Capabilities().MutatesData)
	require.NoError(t, e.ConsumeLogs(context.Background(), usage.EncodeLogs([]usage.Event{event("1", 5), event("2", 7)})))
	require.NoError(t, e.Shutdown(context.Background()))

	e = start(t, cfg, exportertest.NewNopSettings(typ))
	require.NoError(t, e.ConsumeLogs(context.Background(), usage.EncodeLogs([]usage.Event{event("1", 5)})), "a duplicate is success")
	err := e.ConsumeLogs(context.Background(), usage.EncodeLogs([]usage.Event{event("1", 6), event("3", 1)}))
	require.True(t, consumererror.IsPermanent(err))
	rejections, ok := usage.Rejected(err)
	require.True(t, ok)
	require.Len(t, rejections, 1)
	require.Equal(t, usage.ReasonConflict, rejections[0].Reason)
	require.NoError(t, e.Shutdown(context.Background()))

	files, err := filepath.Glob(cfg.Directory + "/*/date=2026-05-16/hour=18/writer=main/*.parquet")
	require.NoError(t, err)
	require.Len(t, files, 6, "two parts with three files each")
	refused, err := filepath.Glob(cfg.Directory + "/refused/*/writer=main/*.parquet")
	require.NoError(t, err)
	require.Len(t, refused, 1)
}

func TestRecordsOfSomethingElseAreRefusedForEver(t *testing.T) {
	e := start(t, testConfig(t), exportertest.NewNopSettings(typ))
	ld := usage.EncodeLogs([]usage.Event{event("1", 5)})
	ld.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().AppendEmpty().Body().SetStr("GET /")
	err := e.ConsumeLogs(context.Background(), ld)
	require.True(t, consumererror.IsPermanent(err))
	require.ErrorContains(t, err, "1 log records carry no usage event")
	rejections, ok := usage.Rejected(err)
	require.True(t, ok, "the event beside them is kept")
	require.Empty(t, rejections)
	require.NoError(t, e.ConsumeLogs(context.Background(), plog.NewLogs()))
	require.NoError(t, e.Shutdown(context.Background()))
}

func TestWhatIsReceivedIsAccountedFor(t *testing.T) {
	tel := componenttest.NewTelemetry()
	t.Cleanup(func() { require.NoError(t, tel.Shutdown(context.Background())) })
	e := start(t, testConfig(t), metadatatest.NewSettings(tel))
	unattributed := event("u", 1)
	unattributed.Customer = usage.Unattributed
	broken := usage.EncodeLogs([]usage.Event{event("broken", 1)})
	broken.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).Attributes().PutStr(usage.AttributeKind, "gift")
	require.NoError(t, e.ConsumeLogs(context.Background(), usage.EncodeLogs([]usage.Event{event("1", 1), unattributed})))
	require.NoError(t, e.ConsumeLogs(context.Background(), usage.EncodeLogs([]usage.Event{event("1", 1)})))
	require.Error(t, e.ConsumeLogs(context.Background(), usage.EncodeLogs([]usage.Event{event("1", 2)})))
	require.Error(t, e.ConsumeLogs(context.Background(), broken))

	point := func(n int64, attributes ...attribute.KeyValue) []metricdata.DataPoint[int64] {
		return []metricdata.DataPoint[int64]{{Value: n, Attributes: attribute.NewSet(attributes...)}}
	}
	ignore := metricdatatest.IgnoreTimestamp()
	metadatatest.AssertEqualUsageboxLedgerReceived(t, tel, point(5), ignore)
	metadatatest.AssertEqualUsageboxLedgerAccepted(t, tel, point(2), ignore)
	metadatatest.AssertEqualUsageboxLedgerDuplicates(t, tel, point(1), ignore)
	metadatatest.AssertEqualUsageboxLedgerUnattributed(t, tel, point(1), ignore)
	metadatatest.AssertEqualUsageboxLedgerOpenEvents(t, tel, point(2), ignore)
	metadatatest.AssertEqualUsageboxLedgerRejected(t, tel, append(
		point(1, attribute.String("reason", usage.ReasonConflict)), point(1, attribute.String("reason", usage.ReasonInvalidField))...), ignore)
	require.NoError(t, e.Shutdown(context.Background()))
}

func TestASecondExporterOnADirectoryIsTold(t *testing.T) {
	cfg := testConfig(t)
	e := start(t, cfg, exportertest.NewNopSettings(typ))
	other, err := NewFactory().CreateLogs(context.Background(), exportertest.NewNopSettings(typ), cfg)
	require.NoError(t, err)
	require.ErrorContains(t, other.Start(context.Background(), componenttest.NewNopHost()), "is in use by this process")
	require.NoError(t, other.Shutdown(context.Background()))
	require.NoError(t, e.Shutdown(context.Background()))
}

func TestRetentionIsAMonthOrForEverAndNeverShorterForSums(t *testing.T) {
	const month = 35 * 24 * time.Hour
	for message, r := range map[string]RetentionConfig{
		"": {Events: month, Rollups: 2 * month, Runs: month},
		"events is 839h0m0s: it takes 0 for ever, or a duration of at least 840h0m0s (35 days)": {Events: month - time.Hour},
		"rollups (840h0m0s) is shorter than events (for ever)":                                  {Rollups: month},
		"runs (840h0m0s) is shorter than events (1680h0m0s)":                                    {Events: 2 * month, Runs: month},
	} {
		err := r.Validate()
		if message == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, message)
	}
}

func TestNothingLeavesThatTheFeedHasNotSent(t *testing.T) {
	var refuse atomic.Bool
	refuse.Store(true)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if refuse.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer server.Close()
	cfg, err := feedOf(t, `{every: 1s, receivers: {webhook: {endpoint: "`+server.URL+`", retry: {initial_interval: 10ms}}}}`)
	require.NoError(t, err)
	cfg.Directory, cfg.MinFreeBytes, cfg.FlushInterval, cfg.SealAfter = t.TempDir(), 0, 100*time.Millisecond, 0
	cfg.Retention.Events = 840 * time.Hour
	e := start(t, cfg, exportertest.NewNopSettings(typ))
	require.NoError(t, e.ConsumeLogs(context.Background(), usage.EncodeLogs([]usage.Event{event("1", 5)}))) // of May 2026, long over
	sealed := filepath.Join(cfg.Directory, "events", "*", "*", "*", "sealed-*.parquet")
	files := func() int {
		found, err := filepath.Glob(sealed)
		require.NoError(t, err)
		return len(found)
	}
	require.Eventually(t, func() bool { return files() == 1 }, 30*time.Second, 10*time.Millisecond)
	refuse.Store(false)
	require.Eventually(t, func() bool { return len(lines(t, cfg, "webhook")) == 1 && files() == 0 }, 60*time.Second, 10*time.Millisecond)
	require.NoError(t, e.Shutdown(context.Background()))
}

func TestPiecesThatAreSealedAreSmallWhereMemoryIsLimited(t *testing.T) {
	for limit, want := range map[int64]int64{math.MaxInt64: ledger.DefaultSealBytes, 300 << 20: 50 << 20, 10 << 20: 8 << 20} {
		if got := sealBytes(limit); got != want {
			t.Errorf("of %d bytes of memory pieces are of %d, want %d", limit, got, want)
		}
	}
}

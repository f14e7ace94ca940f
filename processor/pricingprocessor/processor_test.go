package pricingprocessor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/processor/processortest"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/usagebox/otelcol-usagebox/internal/catalog"
	"github.com/usagebox/otelcol-usagebox/processor/pricingprocessor/internal/metadata"
	"github.com/usagebox/otelcol-usagebox/usage"
)

const dollar = `catalog: 1
builtin: false
rates:
  - {id: call, book: cost, match: {meter: tool_calls}, price: "1"}
`

const twoDollars = `catalog: 1
builtin: false
rates:
  - {id: call, book: cost, match: {meter: tool_calls}, price: "2"}
`

// statusHost remembers the states that a component reported.
type statusHost struct {
	component.Host
	reported chan componentstatus.Status
}

func (h *statusHost) Report(e *componentstatus.Event) { h.reported <- e.Status() }

// bench is a running processor whose looks at its catalogue are made by hand.
type bench struct {
	*pricing
	t    *testing.T
	sink *consumertest.LogsSink
	tel  *componenttest.Telemetry
	host *statusHost
}

func start(t *testing.T, path string) *bench {
	t.Helper()
	return startIn(t, path, filepath.Join(t.TempDir(), "catalogs"))
}

// startIn starts a processor that keeps its versions in dir.
func startIn(t *testing.T, path, dir string) *bench {
	t.Helper()
	b := &bench{t: t, sink: &consumertest.LogsSink{}, tel: componenttest.NewTelemetry()}
	b.host = &statusHost{componenttest.NewNopHost(), make(chan componentstatus.Status, 16)}
	telemetry, err := metadata.NewTelemetryBuilder(b.tel.NewTelemetrySettings())
	require.NoError(t, err)
	cfg := createDefaultConfig().(*Config)
	cfg.Catalog, cfg.Directory, cfg.MetricSeries = path, dir, 4
	b.pricing = newPricing(cfg, b.sink, b.tel.NewTelemetrySettings().Logger, telemetry)
	b.ticks = func(time.Duration) (<-chan time.Time, func()) { return nil, func() {} }
	require.NoError(t, b.Start(t.Context(), b.host))
	t.Cleanup(func() {
		require.NoError(t, b.Shutdown(context.Background()))
		require.NoError(t, b.tel.Shutdown(context.Background()))
	})
	return b
}

// looks makes the processor look n times.
func (b *bench) looks(n int) {
	for range n {
		b.look(b.t.Context(), b.host)
	}
}

func (b *bench) send(events ...usage.Event) []usage.Event {
	b.t.Helper()
	b.sink.Reset()
	require.NoError(b.t, b.ConsumeLogs(b.t.Context(), usage.EncodeLogs(events)))
	got, _, err := usage.DecodeLogs(b.sink.AllLogs()[0])
	require.NoError(b.t, err)
	return got
}

func (b *bench) cost() string {
	b.t.Helper()
	return b.send(calls("1"))[0].Lines[0].Cost.Amount.String()
}

func (b *bench) metric(name string) int64 {
	b.t.Helper()
	m, err := b.tel.GetMetric("otelcol_" + name)
	if err != nil {
		m, err = b.tel.GetMetric(name)
	}
	require.NoError(b.t, err)
	var sum int64
	switch d := m.Data.(type) {
	case metricdata.Sum[int64]:
		for _, p := range d.DataPoints {
			sum += p.Value
		}
	case metricdata.Gauge[int64]:
		for _, p := range d.DataPoints {
			sum += p.Value
		}
	}
	return sum
}

func calls(quantity string) usage.Event {
	q, _ := usage.ParseQuantity(quantity)
	e := usage.Event{ID: "e", Customer: "acme", Timestamp: 1_700_000_000_000_000, Lines: []usage.Line{{Meter: "tool_calls", Quantity: q}}, Source: "api"}
	e.Normalize()
	return e
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "catalog.yaml")
	write(t, path, text)
	return path
}

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

func TestChangesTakeForceHoweverTheFileIsReplaced(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		path   string
		before func(path string)
		change func(path string)
	}{
		"written in place": {
			filepath.Join(dir, "a.yaml"),
			func(path string) { write(t, path, dollar) },
			func(path string) { write(t, path, twoDollars) },
		},
		"renamed": {
			filepath.Join(dir, "b.yaml"),
			func(path string) { write(t, path, dollar) },
			func(path string) {
				write(t, path+".new", twoDollars)
				require.NoError(t, os.Rename(path+".new", path))
			},
		},
		"linked folder swapped": {
			filepath.Join(dir, "mount", "c.yaml"),
			func(path string) {
				mount := filepath.Dir(path)
				require.NoError(t, os.MkdirAll(filepath.Join(mount, "..v1"), 0o755))
				write(t, filepath.Join(mount, "..v1", "c.yaml"), dollar)
				require.NoError(t, os.Symlink("..v1", filepath.Join(mount, "..data")))
				require.NoError(t, os.Symlink(filepath.Join("..data", "c.yaml"), path))
			},
			func(path string) {
				mount := filepath.Dir(path)
				require.NoError(t, os.MkdirAll(filepath.Join(mount, "..v2"), 0o755))
				write(t, filepath.Join(mount, "..v2", "c.yaml"), twoDollars)
				require.NoError(t, os.Symlink("..v2", filepath.Join(mount, "..tmp")))
				require.NoError(t, os.Rename(filepath.Join(mount, "..tmp"), filepath.Join(mount, "..data")))
				require.NoError(t, os.RemoveAll(filepath.Join(mount, "..v1")))
			},
		},
		"folder that gets another file": {
			filepath.Join(dir, "folder"),
			func(path string) {
				require.NoError(t, os.Mkdir(path, 0o755))
				write(t, filepath.Join(path, "a.yaml"), dollar)
			},
			func(path string) {
				write(t, filepath.Join(path, "b.yaml"), "catalog: 1\nrates: [{book: cost, match: {meter: tool_calls, customer: acme}, price: 2}]\n")
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.before(c.path)
			b := start(t, c.path)
			require.Equal(t, "1", b.cost())
			c.change(c.path)
			b.looks(2)
			require.Equal(t, "2", b.cost())
			require.EqualValues(t, 1, b.metric("usagebox_pricing_reloads"))
		})
	}
}

func TestBrokenCatalogueLeavesTheOldInForce(t *testing.T) {
	for name, broke := range map[string]func(path string){
		"broken":  func(path string) { write(t, path, dollar+"  - {book: cost, match: {meter: tool_calls}, price: -1}\n") },
		"half":    func(path string) { write(t, path, twoDollars[:len(twoDollars)-9]) },
		"missing": func(path string) { require.NoError(t, os.Remove(path)) },
		"two tied": func(path string) {
			write(t, path, dollar+"  - {id: b, book: cost, match: {meter: tool_calls}, price: 3}\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := file(t, dollar)
			b := start(t, path)
			broke(path)
			b.looks(4)
			require.Equal(t, "1", b.cost())
			require.EqualValues(t, 1, b.metric("usagebox_pricing_catalog_stale"))
			require.EqualValues(t, 1, b.metric("usagebox_pricing_reload_failures"), "told once, not at every look")
			require.Equal(t, componentstatus.StatusRecoverableError, <-b.host.reported)
			write(t, path, twoDollars)
			b.looks(2)
			require.Equal(t, "2", b.cost())
			require.EqualValues(t, 0, b.metric("usagebox_pricing_catalog_stale"))
			require.Equal(t, componentstatus.StatusOK, <-b.host.reported)
		})
	}
}

func TestFileThatIsBeingWrittenIsLeftAlone(t *testing.T) {
	path := file(t, dollar)
	b := start(t, path)
	for n := 10; n < len(twoDollars); n += 20 {
		write(t, path, twoDollars[:n])
		b.looks(1)
	}
	write(t, path, twoDollars)
	b.looks(2)
	require.Equal(t, "2", b.cost())
	require.Empty(t, b.host.reported)
}

func TestEveryVersionIsKeptAndPricesTheSame(t *testing.T) {
	path := file(t, dollar)
	b := start(t, path)
	first := b.send(calls("3"))[0].Lines[0].Cost
	write(t, path, twoDollars)
	b.looks(2)
	second := b.send(calls("3"))[0].Lines[0].Cost
	for _, charge := range []usage.Charge{first, second} {
		version := charge.Rate[:16]
		c, err := catalog.Load(filepath.Join(b.config.Directory, version+".json.gz"))
		require.NoError(t, err)
		require.Equal(t, version, c.Version)
		e := calls("3")
		c.Price(&e, nil)
		require.Equal(t, charge, e.Lines[0].Cost)
	}
}

func TestBrokenCatalogueAtAStartLeavesTheLastOneInForce(t *testing.T) {
	path, dir := file(t, dollar), t.TempDir()
	other := startIn(t, file(t, dollar+"  - {book: price, markup: 3}\n"), dir)
	b := startIn(t, path, dir)
	write(t, path, twoDollars)
	b.looks(2)
	write(t, path, "catalog: 7\n")
	require.NoError(t, other.enforce(other.current.Load()), "of another path")
	for range 2 {
		b = startIn(t, path, dir)
		require.Equal(t, "2", b.cost())
		require.EqualValues(t, 1, b.metric("usagebox_pricing_catalog_stale"))
		require.EqualValues(t, 1, b.metric("usagebox_pricing_reload_failures"))
		require.Equal(t, componentstatus.StatusRecoverableError, <-b.host.reported)
		b.looks(3)
		require.Empty(t, b.host.reported)
	}
	write(t, path, dollar)
	b.looks(2)
	require.Equal(t, "1", b.cost())
	require.Equal(t, componentstatus.StatusOK, <-b.host.reported)
}

func TestBrokenCatalogueAtTheStartIsAnError(t *testing.T) {
	telemetry, err := metadata.NewTelemetryBuilder(componenttest.NewNopTelemetrySettings())
	require.NoError(t, err)
	cfg := createDefaultConfig().(*Config)
	cfg.Catalog, cfg.Directory = file(t, "catalog: 1\nrates:\n  - {book: profit}\n"), t.TempDir()
	p := newPricing(cfg, consumertest.NewNop(), componenttest.NewNopTelemetrySettings().Logger, telemetry)
	require.ErrorContains(t, p.Start(t.Context(), componenttest.NewNopHost()), "catalog.yaml:3:12: book is")
	require.NoError(t, p.Shutdown(t.Context()))
}

func TestUnknownModelsAreMarkedCountedAndBounded(t *testing.T) {
	b := start(t, file(t, dollar))
	for _, model := range []string{"a", "b", "c", "d", "e", "f"} {
		e := calls("1")
		e.Model, e.Lines[0].Meter, e.Lines[0].Unit = model, "llm_tokens_in", "token"
		got := b.send(e)[0]
		require.Equal(t, []string{usage.FlagUnpriced}, got.Flags)
		require.False(t, got.Lines[0].Cost.Known())
	}
	require.EqualValues(t, 6, b.metric("usagebox_pricing_unpriced_lines"))
	require.Len(t, b.misses.known, 5, "four and the rest")
}

func TestReportedCostIsKeptAndCompared(t *testing.T) {
	b := start(t, file(t, dollar))
	e := calls("2")
	e.Dimensions = []usage.Dimension{{Key: "reported_cost", Value: "2.5000000000001"}}
	got := b.send(e)[0]
	require.Equal(t, []string{usage.FlagReported}, got.Flags)
	require.Equal(t, e.Dimensions, got.Dimensions)
	require.Equal(t, "2", got.Lines[0].Cost.Amount.String())
	require.EqualValues(t, 2_500_000, b.metric("usagebox_pricing_reported_cost"))
	require.EqualValues(t, 2_000_000, b.metric("usagebox_pricing_compared_cost"))
}

func TestOtherRecordsPassAsTheyAre(t *testing.T) {
	b := start(t, "")
	ld := plog.NewLogs()
	r := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	r.Body().SetStr("hello")
	want := plog.NewLogs()
	ld.CopyTo(want)
	require.NoError(t, b.ConsumeLogs(t.Context(), ld))
	require.Equal(t, want, b.sink.AllLogs()[0])
}

func TestAnswerOfThePipelineIsPassedOn(t *testing.T) {
	telemetry, err := metadata.NewTelemetryBuilder(componenttest.NewNopTelemetrySettings())
	require.NoError(t, err)
	cfg := createDefaultConfig().(*Config)
	cfg.Directory = t.TempDir()
	refused := errors.New("refused")
	next, err := consumer.NewLogs(func(context.Context, plog.Logs) error { return refused })
	require.NoError(t, err)
	p := newPricing(cfg, next, componenttest.NewNopTelemetrySettings().Logger, telemetry)
	require.NoError(t, p.Start(t.Context(), componenttest.NewNopHost()))
	require.ErrorIs(t, p.ConsumeLogs(t.Context(), usage.EncodeLogs([]usage.Event{calls("1")})), refused)
	require.NoError(t, p.Shutdown(t.Context()))
}

func TestPricingAgainChangesNothing(t *testing.T) {
	b := start(t, file(t, dollar))
	once := b.send(calls("1"))
	require.Equal(t, once, b.send(once...))
	e := calls("1")
	payload := e.Payload()
	require.Equal(t, payload, once[0].Payload(), "pricing takes no part in what the sender said")
}

func TestConfigNamesWhatIsWrong(t *testing.T) {
	cfg := createDefaultConfig().(*Config)
	require.NoError(t, cfg.Validate())
	*cfg = Config{MetricSeries: -1, ReloadInterval: time.Millisecond}
	err := cfg.Validate()
	for _, field := range []string{"directory", "reload_interval", "metric_series"} {
		require.ErrorContains(t, err, field)
	}
}

func TestLooksFollowTheTicks(t *testing.T) {
	path := file(t, dollar)
	tick := make(chan time.Time)
	telemetry, err := metadata.NewTelemetryBuilder(componenttest.NewNopTelemetrySettings())
	require.NoError(t, err)
	cfg := createDefaultConfig().(*Config)
	cfg.Catalog, cfg.Directory = path, t.TempDir()
	p := newPricing(cfg, consumertest.NewNop(), componenttest.NewNopTelemetrySettings().Logger, telemetry)
	p.ticks = func(d time.Duration) (<-chan time.Time, func()) {
		require.Equal(t, time.Second, d)
		return tick, func() {}
	}
	require.NoError(t, p.Start(t.Context(), componenttest.NewNopHost()))
	before := p.current.Load().Version
	write(t, path, twoDollars)
	for range 3 { // a tick is taken when the look before it is over
		tick <- time.Time{}
	}
	require.NotEqual(t, before, p.current.Load().Version)
	require.NoError(t, p.Shutdown(t.Context()))
}

func TestShutdownLeavesNothingRunning(t *testing.T) {
	cfg := createDefaultConfig().(*Config)
	cfg.Catalog, cfg.Directory = file(t, dollar), t.TempDir()
	p, err := NewFactory().CreateLogs(t.Context(), processortest.NewNopSettings(metadata.Type), cfg, consumertest.NewNop())
	require.NoError(t, err)
	require.NoError(t, p.Start(t.Context(), componenttest.NewNopHost()))
	require.NoError(t, p.Shutdown(t.Context()))
}

package usageexporter

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/exporter/exportertest"

	"github.com/usagebox/otelcol-usagebox/internal/catalog"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// The rates change between an event and what corrects it: all of it that is taken away costs what it cost.
func TestACorrectionHasTheAmountsOfWhatItCorrects(t *testing.T) {
	cfg := testConfig(t)
	versions := make([]*catalog.Catalog, 2)
	for i, price := range []string{"2", "5"} {
		c, err := catalog.Parse("c.yaml", []byte("catalog: 1\nbuiltin: false\nrates: [{book: cost, match: {meter: llm_tokens_in}, price: "+price+"}]"))
		require.NoError(t, err)
		require.NoError(t, c.Keep(filepath.Join(cfg.Directory, "state", "catalogs")))
		versions[i] = c
	}
	e := start(t, cfg, exportertest.NewNopSettings(typ))
	send := func(one usage.Event, by *catalog.Catalog) {
		by.Price(&one, nil)
		require.NoError(t, e.ConsumeLogs(t.Context(), usage.EncodeLogs([]usage.Event{one})))
	}
	early := event("early", -1)
	early.Kind, early.Corrects = usage.KindCorrection, "b"
	send(early, versions[0]) // it waits for its target
	send(event("a", 10), versions[0])
	send(event("b", 10), versions[1])
	late := event("late", -10)
	late.Kind, late.Corrects = usage.KindCorrection, "a"
	send(late, versions[1])
	send(late, versions[0]) // again, at yet other rates
	require.NoError(t, e.Shutdown(t.Context()))

	sums := map[string]string{}
	files, err := filepath.Glob(filepath.Join(cfg.Directory, "events/*/*/*/*.parquet"))
	require.NoError(t, err)
	for _, name := range files {
		f, err := os.Open(name)
		require.NoError(t, err)
		info, err := f.Stat()
		require.NoError(t, err)
		events, err := parquetfile.OpenEvents(f, info.Size())
		require.NoError(t, err)
		r := events.Events()
		var one usage.Event
		for r.Next(&one) == nil {
			sums[one.ID] = one.Lines[0].Cost.Amount.String() + " " + strings.Join(one.Flags, " ")
		}
		r.Close()
		require.NoError(t, f.Close())
	}
	require.Equal(t, map[string]string{"a": "20 ", "late": "-20 ", "b": "50 ", "early": "-5 "}, sums)
}

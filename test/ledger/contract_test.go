package ledger

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// contract is what DESCRIBE says of each table.
var contract = map[string][]string{
	parquetfile.Events: {
		"event_id|VARCHAR", "kind|VARCHAR", "corrects|VARCHAR", "timestamp|TIMESTAMP", "ingested_at|TIMESTAMP", "customer|VARCHAR",
		"user_id|VARCHAR", "session_id|VARCHAR", "conversation_id|VARCHAR", "feature|VARCHAR", "step|VARCHAR", "agent|VARCHAR",
		"trace_id|VARCHAR", "span_id|VARCHAR", "run_id|VARCHAR", "operation|VARCHAR", "provider|VARCHAR", "model|VARCHAR",
		"meter|VARCHAR", "unit|VARCHAR", "quantity|DECIMAL(18,6)",
		"cost|DECIMAL(18,12)", "currency|VARCHAR", "cost_rate|VARCHAR", "price|DECIMAL(18,12)", "price_currency|VARCHAR", "price_rate|VARCHAR",
		"source|VARCHAR", "service|VARCHAR", "flags|VARCHAR[]", "dimensions|MAP(VARCHAR, VARCHAR)",
	},
	parquetfile.Rollups: {
		"hour_start|TIMESTAMP", "customer|VARCHAR", "feature|VARCHAR", "step|VARCHAR", "agent|VARCHAR", "operation|VARCHAR", "provider|VARCHAR",
		"model|VARCHAR", "meter|VARCHAR", "unit|VARCHAR", "currency|VARCHAR", "price_currency|VARCHAR",
		"quantity|DECIMAL(38,6)", "cost|DECIMAL(38,12)", "price|DECIMAL(38,12)",
		"events|BIGINT", "uncosted_events|BIGINT", "unpriced_events|BIGINT", "first_at|TIMESTAMP", "last_at|TIMESTAMP",
	},
	parquetfile.Daily: {
		"day_start|TIMESTAMP", "customer|VARCHAR", "feature|VARCHAR", "step|VARCHAR", "agent|VARCHAR", "operation|VARCHAR", "provider|VARCHAR",
		"model|VARCHAR", "meter|VARCHAR", "unit|VARCHAR", "currency|VARCHAR", "price_currency|VARCHAR",
		"quantity|DECIMAL(38,6)", "cost|DECIMAL(38,12)", "price|DECIMAL(38,12)",
		"events|BIGINT", "uncosted_events|BIGINT", "unpriced_events|BIGINT", "first_at|TIMESTAMP", "last_at|TIMESTAMP",
	},
	parquetfile.Runs: {
		"run_id|VARCHAR", "customer|VARCHAR", "user_id|VARCHAR", "feature|VARCHAR", "agent|VARCHAR", "started_at|TIMESTAMP", "ended_at|TIMESTAMP", "status|VARCHAR",
		"llm_calls|DECIMAL(38,6)", "tool_calls|DECIMAL(38,6)", "memory_ops|DECIMAL(38,6)", "sub_agents|DECIMAL(38,6)",
		"llm_tokens_in|DECIMAL(38,6)", "llm_tokens_cache_read|DECIMAL(38,6)", "llm_tokens_cache_write|DECIMAL(38,6)", "llm_tokens_out|DECIMAL(38,6)", "llm_tokens_reasoning|DECIMAL(38,6)",
		"llm_tokens_in_audio|DECIMAL(38,6)", "llm_tokens_out_audio|DECIMAL(38,6)", "llm_tokens_in_image|DECIMAL(38,6)", "llm_tokens_out_image|DECIMAL(38,6)",
		"cost|DECIMAL(38,12)", "currency|VARCHAR", "price|DECIMAL(38,12)", "price_currency|VARCHAR",
	},
	parquetfile.Refused: {
		"at|TIMESTAMP", "customer|VARCHAR", "event_id|VARCHAR", "trace_id|VARCHAR", "span_id|VARCHAR", "source|VARCHAR", "reason|VARCHAR", "payload|VARCHAR",
	},
}

func writeRefused(t *testing.T, dir ledgerDir, rows []parquetfile.RefusedRow) {
	t.Helper()
	path := filepath.Join(string(dir), "refused", "date=2026-05-16", "writer=main", "1.parquet")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := parquetfile.WriteRefused(f, rows); err != nil {
		t.Fatal(err)
	}
}

func TestDuckDBDescribesTheTablesAsTheContractDoes(t *testing.T) {
	for name, events := range map[string][]usage.Event{"a few events": mixedEvents(1, hourOfTest, 20), "no runs": noRuns(mixedEvents(2, hourOfTest, 20))} {
		dir := ledgerDir(t.TempDir())
		dir.writePart(t, "main", "1.parquet", events)
		dir.writeDays(t)
		writeRefused(t, dir, nil)
		db := duckdb(t)
		for table, want := range contract {
			got := query(t, db, "SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM "+dir.source(table)+")")
			got = slices.DeleteFunc(got, func(s string) bool {
				return s == "date|DATE" || s == "hour|BIGINT" || s == "writer|VARCHAR" || s == "hour|VARCHAR"
			})
			if !slices.Equal(want, got) {
				t.Errorf("%s, %s:\n%q\nis not\n%q", name, table, got, want)
			}
		}
	}
}

func noRuns(events []usage.Event) []usage.Event {
	for i := range events {
		events[i].RunID = ""
	}
	return events
}

func TestPartitionColumnsAreTheUTCHourOfTheTimestampInEverySession(t *testing.T) {
	dir := ledgerDir(t.TempDir())
	dir.writePart(t, "main", "1.parquet", mixedEvents(1, hourOfTest, 200))
	dir.writePart(t, "other", "1.parquet", mixedEvents(2, hourOfTest+7, 200))
	db := duckdb(t)
	for _, zone := range []string{"UTC", "America/New_York", "Asia/Tokyo"} {
		query(t, db, "SET TimeZone='"+zone+"'")
		for _, q := range []string{
			"SELECT count(*) FROM " + dir.source("events") + " WHERE date <> timestamp::DATE OR hour::INT <> extract(hour FROM timestamp)",
			"SELECT count(*) FROM " + dir.source("rollups") + " WHERE date <> hour_start::DATE OR hour::INT <> extract(hour FROM hour_start) OR date_trunc('hour', first_at) <> hour_start",
		} {
			if got := query(t, db, q); !slices.Equal(got, []string{"0"}) {
				t.Errorf("%s: %s: %q", zone, q, got)
			}
		}
		if got := query(t, db, "SELECT DISTINCT strftime(hour_start, '%Y-%m-%d %H:%M') FROM "+dir.source("rollups")+" ORDER BY 1"); !slices.Equal(got, []string{"2026-05-16 18:00", "2026-05-17 01:00"}) {
			t.Errorf("%s: %q", zone, got)
		}
	}
}

func TestAbsentValuesAreNullWhereTheContractAllowsThem(t *testing.T) {
	dir := ledgerDir(t.TempDir())
	e := usage.Event{ID: "e", Customer: "acme", Timestamp: hourOfTest.Start(), IngestedAt: 1, Lines: []usage.Line{{Meter: "m"}}}
	e.Normalize()
	dir.writePart(t, "main", "1.parquet", []usage.Event{e})
	db := duckdb(t)
	for q, want := range map[string]string{
		"SELECT event_id, kind, corrects, customer, user_id, session_id, conversation_id, feature, step, agent FROM " + dir.source("events"):               "e|usage|NULL|acme|NULL|NULL|NULL|NULL|NULL|NULL",
		"SELECT trace_id, span_id, run_id, operation, provider, model, meter, unit, quantity::VARCHAR FROM " + dir.source("events"):                        "NULL|NULL|NULL|NULL|NULL|NULL|m|unit|0.000000",
		"SELECT cost, currency, cost_rate, price, price_currency, price_rate, len(flags), cardinality(dimensions) FROM " + dir.source("events"):            "NULL|NULL|NULL|NULL|NULL|NULL|0|0",
		"SELECT source = '', service = '', flags IS NULL, dimensions IS NULL FROM " + dir.source("events"):                                                 "true|true|false|false",
		"SELECT feature, currency, price_currency, quantity::VARCHAR, cost, price, events, uncosted_events, unpriced_events FROM " + dir.source("rollups"): "NULL|NULL|NULL|0.000000|NULL|NULL|1|1|1",
		"SELECT count(*) FROM " + dir.source("runs"): "0",
	} {
		if got := query(t, db, q); !slices.Equal(got, []string{want}) {
			t.Errorf("%s:\n%q is not %q", q, got, want)
		}
	}
}

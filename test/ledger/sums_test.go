package ledger

import (
	"fmt"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// fixed writes v, an integer of 10^-scale, as DuckDB shows a decimal.
func fixed(v *big.Int, scale int) string {
	sign := ""
	abs := new(big.Int).Abs(v)
	if v.Sign() < 0 {
		sign = "-"
	}
	digits := fmt.Sprintf("%0*s", scale+1, abs.String())
	return sign + digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
}

// sums of events by a key, in math/big and nothing else.
type sums struct {
	quantity, cost, price *big.Int
	rows, costed, priced  int64
}

func sumBy(events []usage.Event, key func(*usage.Event, *usage.Line) string) map[string]*sums {
	result := map[string]*sums{}
	for i := range events {
		for j := range events[i].Lines {
			l := &events[i].Lines[j]
			k := key(&events[i], l)
			s := result[k]
			if s == nil {
				s = &sums{quantity: new(big.Int), cost: new(big.Int), price: new(big.Int)}
				result[k] = s
			}
			s.quantity.Add(s.quantity, big.NewInt(int64(l.Quantity)))
			s.rows++
			if l.Cost.Known() {
				s.cost.Add(s.cost, big.NewInt(int64(l.Cost.Amount)))
				s.costed++
			}
			if l.Price.Known() {
				s.price.Add(s.price, big.NewInt(int64(l.Price.Amount)))
				s.priced++
			}
		}
	}
	return result
}

func rowsOf(sums map[string]*sums) []string {
	var rows []string
	for k, s := range sums {
		cost, price := "NULL", "NULL"
		if s.costed > 0 {
			cost = fixed(s.cost, usage.AmountScale)
		}
		if s.priced > 0 {
			price = fixed(s.price, usage.AmountScale)
		}
		rows = append(rows, fmt.Sprintf("%s|%s|%s|%s|%d|%d|%d", k, fixed(s.quantity, usage.QuantityScale), cost, price, s.rows, s.rows-s.costed, s.rows-s.priced))
	}
	slices.Sort(rows)
	return rows
}

func sorted(rows []string) []string {
	slices.Sort(rows)
	return rows
}

func mustEqual(t *testing.T, what string, want, got []string) {
	t.Helper()
	if slices.Equal(want, got) {
		return
	}
	for i := range max(len(want), len(got)) {
		w, g := "nothing", "nothing"
		if i < len(want) {
			w = want[i]
		}
		if i < len(got) {
			g = got[i]
		}
		if w != g {
			t.Fatalf("%s: row %d of %d is\n%s\nnot\n%s", what, i, len(got), g, w)
		}
	}
}

// threeParts is a ledger of two writers and three parts, and all of its events.
func threeParts(t *testing.T, n int) (ledgerDir, []usage.Event) {
	dir := ledgerDir(t.TempDir())
	var all []usage.Event
	for i, p := range []struct {
		writer, name string
		hour         usage.Hour
	}{{"main", "1.parquet", hourOfTest}, {"main", "2.parquet", hourOfTest}, {"second", "1.parquet", hourOfTest + 6}} {
		events := mixedEvents(uint64(i), p.hour, n)
		dir.writePart(t, p.writer, p.name, events)
		all = append(all, events...)
	}
	return dir, all
}

func TestEventsAndRollupsHaveTheSameSumsInDuckDBAndInGo(t *testing.T) {
	dir, events := threeParts(t, 3000)
	db := duckdb(t)
	or := func(s string) string {
		if s == "" {
			return "NULL"
		}
		return s
	}
	for name, group := range map[string]struct {
		columns string
		key     func(*usage.Event, *usage.Line) string
	}{
		"customer and meter": {"customer, meter", func(e *usage.Event, l *usage.Line) string { return e.Customer + "|" + l.Meter }},
		"every dimension": {
			"customer, feature, step, agent, operation, provider, model, meter, unit, currency, price_currency",
			func(e *usage.Event, l *usage.Line) string {
				return strings.Join([]string{e.Customer, or(e.Feature), or(e.Step), or(e.Agent), or(e.Operation), or(e.Provider), or(e.Model), l.Meter, l.Unit, or(l.Cost.Currency), or(l.Price.Currency)}, "|")
			},
		},
		"nothing": {"'all'", func(*usage.Event, *usage.Line) string { return "all" }},
	} {
		want := rowsOf(sumBy(events, group.key))
		mustEqual(t, "events by "+name, want, sorted(query(t, db,
			"SELECT "+group.columns+", sum(quantity)::VARCHAR, sum(cost)::VARCHAR, sum(price)::VARCHAR, count(*), count(*) FILTER (cost IS NULL), count(*) FILTER (price IS NULL) FROM "+dir.source("events")+" GROUP BY ALL")))
		mustEqual(t, "rollups by "+name, want, sorted(query(t, db,
			"SELECT "+group.columns+", sum(quantity)::VARCHAR, sum(cost)::VARCHAR, sum(price)::VARCHAR, sum(events)::BIGINT, sum(uncosted_events)::BIGINT, sum(unpriced_events)::BIGINT FROM "+dir.source("rollups")+" GROUP BY ALL")))
	}
}

func TestEveryPartsRollupIsTheSumOfItsEventsInDuckDB(t *testing.T) {
	dir, _ := threeParts(t, 2000)
	got := query(t, duckdb(t), `
WITH e AS (
  SELECT parse_path(filename)[-4:] AS part, date_trunc('hour', timestamp) AS hour_start, customer, feature, step, agent, operation, provider, model, meter, unit, currency, price_currency,
    sum(quantity)::DECIMAL(38,6) AS quantity, sum(cost)::DECIMAL(38,12) AS cost, sum(price)::DECIMAL(38,12) AS price, count(*) AS events,
    count(*) FILTER (cost IS NULL) AS uncosted_events, count(*) FILTER (price IS NULL) AS unpriced_events, min(timestamp) AS first_at, max(timestamp) AS last_at
  FROM read_parquet('`+string(dir)+`/events/**/*.parquet', filename=true) GROUP BY ALL),
r AS (SELECT parse_path(filename)[-4:] AS part, * EXCLUDE (filename, date, hour, writer) FROM read_parquet('`+string(dir)+`/rollups/**/*.parquet', filename=true))
SELECT count(*) FROM ((FROM e EXCEPT ALL FROM r) UNION ALL (FROM r EXCEPT ALL FROM e))`)
	mustEqual(t, "rows that differ", []string{"0"}, got)
}

func TestRunsHaveTheSameSumsInDuckDBAndInGo(t *testing.T) {
	dir, events := threeParts(t, 2000)
	db := duckdb(t)
	want := map[string]*sums{}
	for k, s := range sumBy(events, func(e *usage.Event, l *usage.Line) string { return e.RunID + "|" + e.Customer + "|" + l.Meter }) {
		if !strings.HasPrefix(k, "|") && (strings.HasSuffix(k, "|"+usage.MeterTokensIn) || strings.HasSuffix(k, "|"+usage.MeterLLMRequests)) {
			want[k] = s
		}
	}
	var rows []string
	for k, s := range want {
		if s.quantity.Sign() != 0 {
			rows = append(rows, k+"|"+fixed(s.quantity, usage.QuantityScale))
		}
	}
	got := query(t, db, "SELECT run_id, customer, 'llm_tokens_in', sum(llm_tokens_in)::VARCHAR FROM "+dir.source("runs")+" GROUP BY ALL HAVING sum(llm_tokens_in) <> 0 UNION ALL "+
		"SELECT run_id, customer, 'llm_requests', sum(llm_calls)::VARCHAR FROM "+dir.source("runs")+" GROUP BY ALL HAVING sum(llm_calls) <> 0")
	mustEqual(t, "runs", sorted(rows), sorted(got))

	mustEqual(t, "cost of runs by customer and currency",
		sorted(query(t, db, "SELECT customer, currency, sum(cost)::VARCHAR FROM "+dir.source("events")+" WHERE run_id IS NOT NULL AND cost IS NOT NULL GROUP BY ALL")),
		sorted(query(t, db, "SELECT customer, currency, sum(cost)::VARCHAR FROM "+dir.source("runs")+" WHERE cost IS NOT NULL GROUP BY ALL")))
}

func TestOrderedAndSingleColumnQueriesReadTheRightRows(t *testing.T) {
	dir, events := threeParts(t, 5000)
	db := duckdb(t)
	type row struct {
		q    usage.Quantity
		text string
	}
	var rows []row
	for _, e := range events {
		for _, l := range e.Lines {
			rows = append(rows, row{l.Quantity, fixed(big.NewInt(int64(l.Quantity)), usage.QuantityScale)})
		}
	}
	slices.SortFunc(rows, func(a, b row) int { return int(max(-1, min(1, int64(b.q)-int64(a.q)))) })
	var want []string
	for _, r := range rows[:25] {
		want = append(want, r.text)
	}
	mustEqual(t, "ORDER BY … LIMIT", want, query(t, db, "SELECT quantity::VARCHAR FROM "+dir.source("events")+" ORDER BY quantity DESC LIMIT 25"))
	ids := make([]string, len(events))
	for i, e := range events {
		ids[i] = e.ID
	}
	mustEqual(t, "one column", sorted(ids), sorted(query(t, db, "SELECT DISTINCT event_id FROM "+dir.source("events"))))
	e := events[len(events)/2]
	mustEqual(t, "one event", []string{fmt.Sprint(len(e.Lines))}, query(t, db, "SELECT count(*) FROM "+dir.source("events")+" WHERE event_id = '"+e.ID+"' AND customer = '"+e.Customer+"'"))
	mustEqual(t, "flags and dimensions", query(t, db, "SELECT count(*) FROM "+dir.source("events")+" WHERE cardinality(dimensions) = 2"),
		query(t, db, "SELECT count(*) FROM "+dir.source("events")+" WHERE dimensions['region'] IN ('eu', 'us') AND dimensions['team'] = ''"))
}

func TestPredicatesOnDecimalsOfBothSignsFindEveryRow(t *testing.T) {
	rows := make([]parquetfile.RollupRow, 20*parquetfile.RollupRowsPerGroup)
	for i := range rows {
		v := decimal.FromInt64((int64(i)*7919%int64(len(rows)) - int64(len(rows))/2) * 1_000_000_000_000)
		rows[i] = parquetfile.RollupRow{Customer: fmt.Sprintf("%06d", i), Meter: "m", Unit: "u", HourStart: hourOfTest.Start(), Quantity: v, Cost: parquetfile.Money{Amount: v, Known: true}}
	}
	path := t.TempDir() + "/rollups.parquet"
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := parquetfile.WriteRollups(f, nil, rows); err != nil {
		t.Fatal(err)
	}
	db := duckdb(t)
	for _, limit := range []int64{-170_000_000_000, -1_000_000, -1, 0, 1, 5_000_000, 179_999_000_000} {
		below := 0
		for _, r := range rows {
			if r.Quantity.Cmp(decimal.FromInt64(limit*1_000_000)) < 0 {
				below++
			}
		}
		mustEqual(t, fmt.Sprintf("quantity < %d", limit), []string{fmt.Sprintf("%d|%d", below, len(rows)-below)},
			query(t, db, fmt.Sprintf("SELECT (SELECT count(*) FROM '%s' WHERE quantity < %d), (SELECT count(*) FROM '%s' WHERE quantity >= %d)", path, limit, path, limit)))
		mustEqual(t, fmt.Sprintf("cost = %d", limit), query(t, db, fmt.Sprintf("SELECT count(*) FROM (SELECT cost + 0 AS c FROM '%s') WHERE c = %d", path, limit)),
			query(t, db, fmt.Sprintf("SELECT count(*) FROM '%s' WHERE cost = %d", path, limit)))
	}
	mustEqual(t, "statistics", query(t, db, "SELECT min(quantity)::VARCHAR, max(quantity)::VARCHAR FROM (SELECT quantity + 0 AS quantity FROM '"+path+"')"),
		query(t, db, "SELECT min(stats_min_value::DECIMAL(38,6))::VARCHAR, max(stats_max_value::DECIMAL(38,6))::VARCHAR FROM parquet_metadata('"+path+"') WHERE path_in_schema = 'quantity'"))
}

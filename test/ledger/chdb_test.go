package ledger

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
)

// textOf is a column's value as text in DuckDB and in ClickHouse, the same in both, and whether it has a sum. ClickHouse has no maps and lists that are null.
func textOf(t *testing.T, name, kind string) (duck, click string, sums bool) {
	t.Helper()
	name = `"` + name + `"`
	switch {
	case strings.HasPrefix(kind, "DECIMAL"):
		scale := kind[strings.Index(kind, ",")+1 : len(kind)-1]
		return name + "::VARCHAR", "toDecimalString(" + name + ", " + scale + ")", true
	case kind == "BIGINT":
		return name + "::VARCHAR", "toString(" + name + ")", true
	case kind == "TIMESTAMP":
		return "epoch_us(" + name + ")::VARCHAR", "toString(toUnixTimestamp64Micro(" + name + "))", false
	case kind == "VARCHAR":
		return name, "toString(" + name + ")", false
	case kind == "VARCHAR[]":
		return "coalesce(array_to_string(" + name + ", ','), '')", "arrayStringConcat(" + name + ", ',')", false
	case kind == "MAP(VARCHAR, VARCHAR)":
		return "coalesce(array_to_string(map_keys(" + name + "), ',') || '=' || array_to_string(map_values(" + name + "), ','), '=')",
			"concat(arrayStringConcat(mapKeys(" + name + "), ','), '=', arrayStringConcat(mapValues(" + name + "), ','))", false
	}
	t.Fatalf("nobody knows how to compare %s, a %s", name, kind)
	return "", "", false
}

func TestClickHouseHasTheValuesAndSumsOfEveryColumnThatDuckDBHas(t *testing.T) {
	dir, _ := threeParts(t, 3000)
	writeRefused(t, dir, []parquetfile.RefusedRow{
		{At: hourOfTest.Start() + 1, Customer: "acme", EventID: "e1", Source: "api", Reason: "negative quantity", Payload: `{"id":"e1"}`},
		{At: hourOfTest.Start() + 2, TraceID: strings.Repeat("a", 32), SpanID: strings.Repeat("b", 16), Source: "span", Reason: "no customer"},
	})
	dir.writeDays(t)
	click, duck := newClickHouse(t), duckdb(t)
	for table, columns := range contract {
		for _, column := range columns {
			name, kind, _ := strings.Cut(column, "|")
			d, c, sums := textOf(t, name, kind)
			mustEqual(
				t, table+"."+name,
				sorted(query(t, duck, "SELECT "+d+" AS v, count(*) FROM "+dir.source(table)+" GROUP BY v")),
				sorted(click.query(t, "SELECT "+c+" AS v, count() FROM "+dir.clickHouseSource(table)+" GROUP BY v")),
			)
			if !sums {
				continue
			}
			d, c, _ = textOf(t, "s", kind)
			mustEqual(
				t, "sum of "+table+"."+name,
				sorted(query(t, duck, "SELECT customer, "+d+", n FROM (SELECT customer, sum(\""+name+"\") AS s, count(\""+name+"\") AS n FROM "+dir.source(table)+" GROUP BY ALL)")),
				sorted(click.query(t, "SELECT customer, "+c+", n FROM (SELECT customer, sum(\""+name+"\") AS s, count(\""+name+"\") AS n FROM "+dir.clickHouseSource(table)+" GROUP BY ALL)")),
			)
		}
	}
	mustEqual(t, "types", []string{"Decimal(38, 6)|Nullable(Decimal(38, 12))|DateTime64(6, \\'UTC\\')|Int64"},
		click.query(t, "SELECT toTypeName(quantity), toTypeName(cost), toTypeName(hour_start), toTypeName(events) FROM "+dir.clickHouseSource(parquetfile.Rollups)+" LIMIT 1"))
	mustEqual(t, "misplaced events", []string{"0"},
		click.query(t, "SELECT count() FROM "+dir.clickHouseSource(parquetfile.Events)+" WHERE date != toDate(timestamp) OR hour != toHour(timestamp)"))
}

func TestClickHouseFindsEveryRowByDecimalsOfBothSigns(t *testing.T) {
	rows := make([]parquetfile.RollupRow, 14*parquetfile.RollupRowsPerGroup)
	for i := range rows {
		v := decimal.FromInt64((int64(i) - int64(len(rows))/2) * 1_000_000_000_000)
		rows[i] = parquetfile.RollupRow{Customer: fmt.Sprintf("%06d", i), Meter: "m", Unit: "u", HourStart: hourOfTest.Start(), Quantity: v, Cost: parquetfile.Money{Amount: v.Neg(), Known: i%3 == 0}}
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
	click := newClickHouse(t)
	count := func(where string) []string {
		return click.query(t, fmt.Sprintf("SELECT count() FROM file('%s', Parquet) WHERE %s", path, where))
	}
	for _, limit := range []string{"-119999000000", "-1", "0", "1", "119998000000"} {
		for _, column := range []string{"quantity", "cost"} {
			mustEqual(t, column+" < "+limit, count(column+" + 0 < "+limit), count(column+" < "+limit))
		}
	}
}

func TestClickHouseNeverSeesATotalAboveTheTruthOrBelowWhatItSaw(t *testing.T) {
	click := newClickHouse(t)
	readWhileALedgerWorks(t, click.ask, map[string]func(ledgerDir) string{
		"events": func(dir ledgerDir) string {
			return "SELECT toDecimalString(sum(quantity), 6) FROM " + dir.clickHouseSource(parquetfile.Events)
		},
		"rollups": func(dir ledgerDir) string {
			return "SELECT toDecimalString(sum(quantity), 6) FROM " + dir.clickHouseSource(parquetfile.Rollups)
		},
		"top of all": func(dir ledgerDir) string {
			return "SELECT toDecimalString(sum(quantity), 6) FROM (SELECT quantity FROM " + dir.clickHouseSource(parquetfile.Events) + " ORDER BY quantity DESC LIMIT 1000000)"
		},
		"by customers": func(dir ledgerDir) string {
			return "SELECT toDecimalString(sum(q), 6) FROM (SELECT customer, sum(quantity) AS q FROM " + dir.clickHouseSource(parquetfile.Rollups) + " GROUP BY ALL)"
		},
	})
}

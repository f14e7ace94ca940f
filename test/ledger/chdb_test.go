package ledger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
)

// chdb runs queries in ClickHouse and gives the lines of each result.
func chdb(t *testing.T, queries ...string) [][]string {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("ClickHouse reads the files in Node.js, which is not installed")
	}
	if _, err := os.Stat("node_modules/chdb"); err != nil {
		t.Skip("ClickHouse is not installed: npm ci in test/ledger does that")
	}
	cmd := exec.CommandContext(t.Context(), "node", "chdb.mjs")
	cmd.Stdin = strings.NewReader(strings.Join(queries, "\n"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	var texts []string
	if err := json.Unmarshal(out, &texts); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	results := make([][]string, len(texts))
	for i, text := range texts {
		if text = strings.TrimRight(text, "\n"); text != "" {
			results[i] = strings.Split(text, "\n")
		}
	}
	return results
}

func TestClickHouseHasTheSumsThatDuckDBHas(t *testing.T) {
	dir, _ := threeParts(t, 3000)
	file := func(table string) string {
		return fmt.Sprintf("file('%s/%s/**/*.parquet', Parquet)", string(dir), table)
	}
	const sums = "toString(sum(quantity)), toString(sum(cost)), toString(sum(price))"
	got := chdb(
		t,
		"SELECT customer, meter, ifNull(currency, '-'), "+sums+", count() FROM "+file("events")+" GROUP BY ALL",
		"SELECT customer, meter, ifNull(currency, '-'), "+sums+", sum(events) FROM "+file("rollups")+" GROUP BY ALL",
		"SELECT customer, toString(sum(llm_tokens_in)), toString(sum(cost)), count() FROM "+file("runs")+" GROUP BY ALL",
		"SELECT toTypeName(quantity), toTypeName(cost), toTypeName(hour_start), toTypeName(events) FROM "+file("rollups")+" LIMIT 1",
		"SELECT count() FROM "+file("events")+" WHERE date != toDate(timestamp) OR hour != toHour(timestamp)",
	)
	db := duckdb(t)
	const duck = "trim(rtrim(rtrim(sum(quantity)::VARCHAR, '0'), '.')), coalesce(rtrim(rtrim(sum(cost)::VARCHAR, '0'), '.'), 'NULL'), coalesce(rtrim(rtrim(sum(price)::VARCHAR, '0'), '.'), 'NULL')"
	same := func(what, query1 string, lines []string) {
		for i := range lines {
			lines[i] = strings.ReplaceAll(strings.ReplaceAll(lines[i], "\t", "|"), `\N`, "NULL")
		}
		mustEqual(t, what, sorted(query(t, db, query1)), sorted(lines))
	}
	same("events", "SELECT customer, meter, coalesce(currency, '-'), "+duck+", count(*) FROM "+dir.source("events")+" GROUP BY ALL", got[0])
	same("rollups", "SELECT customer, meter, coalesce(currency, '-'), "+duck+", sum(events)::BIGINT FROM "+dir.source("rollups")+" GROUP BY ALL", got[1])
	same("runs", "SELECT customer, rtrim(rtrim(sum(llm_tokens_in)::VARCHAR, '0'), '.'), coalesce(rtrim(rtrim(sum(cost)::VARCHAR, '0'), '.'), 'NULL'), count(*) FROM "+dir.source("runs")+" GROUP BY ALL", got[2])
	mustEqual(t, "types", []string{"Decimal(38, 6)\tNullable(Decimal(38, 12))\tDateTime64(6, \\'UTC\\')\tInt64"}, got[3])
	mustEqual(t, "misplaced events", []string{"0"}, got[4])
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
	var queries []string
	for _, limit := range []string{"-119999000000", "-1", "0", "1", "119998000000"} {
		for _, column := range []string{"quantity", "cost"} {
			queries = append(
				queries,
				fmt.Sprintf("SELECT count() FROM file('%s', Parquet) WHERE %s < %s", path, column, limit),
				fmt.Sprintf("SELECT count() FROM file('%s', Parquet) WHERE %s + 0 < %s", path, column, limit),
			)
		}
	}
	results := chdb(t, queries...)
	for i := 0; i < len(results); i += 2 {
		mustEqual(t, queries[i], results[i+1], results[i])
	}
}

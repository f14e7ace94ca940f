package ledger

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// writeDays writes, for each day and writer, the sums of the rollups that are there.
func (d ledgerDir) writeDays(t testing.TB) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(string(d), "rollups", "*", "*", "*", "*.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	days := map[string][]*parquetfile.RollupFile{}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		f, err := parquetfile.OpenRollups(path, strings.NewReader(string(content)), int64(len(content)))
		if err != nil {
			t.Fatal(err)
		}
		elements := strings.Split(path, string(filepath.Separator))
		date, writer := elements[len(elements)-4], elements[len(elements)-2]
		day := filepath.Join(date, writer)
		days[day] = append(days[day], f)
	}
	for day, files := range days {
		at, err := time.Parse("date=2006-01-02", filepath.Dir(day))
		if err != nil {
			t.Fatal(err)
		}
		merge, err := parquetfile.NewDayMerge(usage.MicrosOf(at), parquetfile.DefaultGrouping(), files...)
		if err != nil {
			t.Fatal(err)
		}
		d.writeDay(t, day, merge.Next)
	}
}

// writeDay writes the rows that next gives as the daily part of a day.
func (d ledgerDir) writeDay(t testing.TB, day string, next func(*parquetfile.RollupRow) error) (size int64) {
	t.Helper()
	path := filepath.Join(string(d), "daily", day, "daily-000000000001.parquet")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := parquetfile.NewDailyWriter(f, parquetfile.DefaultGrouping())
	for {
		var row parquetfile.RollupRow
		if err := next(&row); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if err := w.Write(&row); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

const rollupKey = "customer, feature, step, agent, operation, provider, model, meter, unit, currency, price_currency"

func TestDailySumsAreThoseOfRollupsInDuckDBAndClickHouse(t *testing.T) {
	dir := ledgerDir(filepath.Join(realLedger(t), "usage"))
	for _, writer := range []string{"main", "second"} {
		now := hourOfTest.Start().Time().Add(100 * time.Hour)
		l, err := ledger.Open(ledger.Options{Directory: string(dir), WriterID: writer, SealAfter: time.Minute, Clock: func() time.Time { return now }, Manual: true})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := l.Seal(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		if st, err := l.StatusNow(); err != nil || st.OpenEvents > 0 || st.Days > 0 {
			t.Fatalf("%+v: %v", st, err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	duck, click := duckdb(t), newClickHouse(t)
	const sums = ", sum(quantity)::VARCHAR, sum(cost)::VARCHAR, sum(price)::VARCHAR, sum(events)::BIGINT, sum(uncosted_events)::BIGINT, sum(unpriced_events)::BIGINT, epoch_us(min(first_at)), epoch_us(max(last_at))"
	want := sorted(query(t, duck, "SELECT date_trunc('day', hour_start)::VARCHAR, writer, "+rollupKey+sums+" FROM "+dir.source("rollups")+" GROUP BY ALL"))
	if len(want) < 100 {
		t.Fatalf("%d sums", len(want))
	}
	mustEqual(t, "DuckDB", want, sorted(query(t, duck, "SELECT day_start::VARCHAR, writer, "+rollupKey+sums+" FROM "+dir.source("daily")+" GROUP BY ALL")))
	const clickSums = ", toString(sum(quantity)), toString(sum(cost)), toString(sum(price)), sum(events), sum(uncosted_events), sum(unpriced_events), min(first_at), max(last_at)"
	mustEqual(t, "ClickHouse",
		sorted(click.query(t, "SELECT toStartOfDay(hour_start) AS day, "+rollupKey+clickSums+" FROM "+dir.clickHouseSource("rollups")+" GROUP BY day, "+rollupKey)),
		sorted(click.query(t, "SELECT toStartOfDay(day_start) AS day, "+rollupKey+clickSums+" FROM "+dir.clickHouseSource("daily")+" GROUP BY day, "+rollupKey)))
}

package ledger

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// invoiceRow is what the i-th customer has in an hour, or day, which begins at hour.
func invoiceRow(hour usage.Hour, i, n int) parquetfile.RollupRow {
	return parquetfile.RollupRow{
		HourStart: hour.Start(), Customer: fmt.Sprintf("customer-%06d", i), Feature: "support", Operation: "chat", Provider: "anthropic", Model: "claude-4.5-sonnet",
		Meter: usage.MeterTokensIn, Unit: "token", Currency: "USD", PriceCurrency: "USD",
		Quantity: decimal.FromInt64(int64(i*7919+n) * 1_000_000), Cost: parquetfile.Money{Amount: decimal.FromInt64(int64(i*n) * 3_000), Known: true},
		Price: parquetfile.Money{Amount: decimal.FromInt64(int64(i*n) * 4_000), Known: true}, Events: int64(i), FirstAt: hour.Start() + usage.Micros(i), LastAt: hour.Start() + usage.Micros(i)*2,
	}
}

// writeHours writes rollups of hours in which every customer has one row.
func writeHours(t testing.TB, dir ledgerDir, hours, customers int) int64 {
	t.Helper()
	var size int64
	for h := range hours {
		hour := hourOfTest + usage.Hour(h)
		rows := make([]parquetfile.RollupRow, 0, customers)
		for i := range customers {
			rows = append(rows, invoiceRow(hour, i, h))
		}
		path := dir.file("rollups", hour, "main", "sealed-1.parquet")
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := parquetfile.WriteRollups(f, nil, rows); err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return size
}

// BenchmarkInvoice asks for one customer's totals of three days and of a month in which every customer has usage every hour, at a growing number of customers.
func BenchmarkInvoice(b *testing.B) {
	for _, hours := range []int{72, 720} {
		for _, customers := range []int{100, 1_000, 10_000, 100_000} {
			b.Run(fmt.Sprintf("hours=%d/customers=%d", hours, customers), func(b *testing.B) {
				dir := ledgerDir(b.TempDir())
				size := writeHours(b, dir, hours, customers)
				db := duckdb(b)
				for b.Loop() {
					rows := query(b, db, "SELECT meter, sum(quantity)::VARCHAR, sum(price)::VARCHAR FROM "+dir.source("rollups")+" WHERE customer = 'customer-000077' GROUP BY ALL")
					if len(rows) != 1 {
						b.Fatal(rows)
					}
				}
				b.ReportMetric(float64(size)/float64(hours*customers), "B/row")
			})
		}
	}
}

// BenchmarkDailyInvoice asks daily/ for the same month: 30 files in which every customer has the 24 hours of a day in one row.
func BenchmarkDailyInvoice(b *testing.B) {
	const days = 30
	for _, customers := range []int{100, 1_000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("customers=%d", customers), func(b *testing.B) {
			dir := ledgerDir(b.TempDir())
			var size int64
			for day := range days {
				hour := (hourOfTest/24 + usage.Hour(day)) * 24
				i := -1
				size += dir.writeDay(b, hour.Start().Time().Format("date=2006-01-02/writer=main"), func(row *parquetfile.RollupRow) error {
					if i++; i == customers {
						return io.EOF
					}
					*row = invoiceRow(hour, i, day)
					return nil
				})
			}
			db := duckdb(b)
			for b.Loop() {
				rows := query(b, db, "SELECT meter, sum(quantity)::VARCHAR, sum(price)::VARCHAR FROM "+dir.source("daily")+" WHERE customer = 'customer-000077' GROUP BY ALL")
				if len(rows) != 1 {
					b.Fatal(rows)
				}
			}
			b.ReportMetric(float64(size)/float64(days*customers), "B/row")
		})
	}
}

func TestACustomersInvoiceTouchesFewRowGroupsOfAFile(t *testing.T) {
	dir := ledgerDir(t.TempDir())
	writeHours(t, dir, 1, 100_000)
	got := query(t, duckdb(t), "SELECT count(*) FILTER ('customer-000077' BETWEEN stats_min_value AND stats_max_value), count(*) FROM parquet_metadata('"+
		string(dir)+"/rollups/**/*.parquet') WHERE path_in_schema = 'customer'")
	mustEqual(t, "row groups with the customer, and all", []string{"1|13"}, got)
}

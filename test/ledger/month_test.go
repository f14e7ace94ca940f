package ledger

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/internal/ledgercmd"
	"github.com/usagebox/otelcol-usagebox/test/bench/postgres"
	"github.com/usagebox/otelcol-usagebox/usage"
)

var monthCustomers = flag.Int("month.customers", 200, "customers of BenchmarkMonth")

const (
	monthHours  = 720
	monthEvents = 5 // of a customer in an hour
	lateEvery   = 20
)

// month is the events of a ledger's month, an hour after the other.
type month struct {
	from      time.Time
	customers int
}

func (m month) event(hour, customer, n int) usage.Event {
	e := usage.Event{
		ID: fmt.Sprintf("req-%03d-%06d-%d", hour, customer, n), Customer: customerName(customer), Source: usage.SourceAPI, Model: "claude-4.5-sonnet", Feature: "support",
		Timestamp: usage.MicrosOf(m.from.Add(time.Duration(hour)*time.Hour + time.Duration(n)*time.Minute)),
		Lines:     []usage.Line{{Meter: usage.MeterTokensIn, Quantity: usage.Units(int64(1000 + customer + n))}},
	}
	e.Normalize()
	return e
}

func customerName(n int) string { return fmt.Sprintf("customer-%06d", n) }

// late says of an event that it comes after everything was sealed: one in twenty.
func late(hour, customer, n int) bool { return (hour+customer+n)%lateEvery == 0 }

// write appends what isLate of a month, and seals it.
func (m month) write(b *testing.B, l *ledger.Ledger, isLate bool) {
	for hour := range monthHours {
		var events []usage.Event
		for customer := range m.customers {
			for n := range monthEvents {
				if late(hour, customer, n) == isLate {
					events = append(events, m.event(hour, customer, n))
				}
			}
		}
		if _, err := l.Append(context.Background(), events); err != nil {
			b.Fatal(err)
		}
	}
	for { // a day is summed in each round
		if err := l.Seal(context.Background()); err != nil {
			b.Fatal(err)
		}
		if st, err := l.StatusNow(); err != nil {
			b.Fatal(err)
		} else if st.Days == 0 {
			return
		}
	}
}

// BenchmarkMonth asks for the total of one customer's month, of another customer each time, in a ledger in which every customer has usage in each of 720 hours: before and after a
// twentieth of it came late; and PostgreSQL, by an index on customer and time, for the same events.
func BenchmarkMonth(b *testing.B) {
	m := month{time.Now().UTC().Add(-1000 * time.Hour).Truncate(time.Hour), *monthCustomers}
	dir := b.TempDir()
	l, err := ledger.Open(ledger.Options{Directory: dir, WriterID: "main", Manual: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := l.Close(); err != nil {
			b.Error(err)
		}
	})
	db := duckdb(b)
	for _, isLate := range []bool{false, true} {
		m.write(b, l, isLate)
		name := map[bool]string{false: "no late usage", true: "5 % late"}[isLate]
		files, err := filepath.Glob(dir + "/rollups/*/*/*/*.parquet")
		if err != nil {
			b.Fatal(err)
		}
		daily, err := filepath.Glob(dir + "/daily/*/*/*.parquet")
		if err != nil {
			b.Fatal(err)
		}
		asked := func(b *testing.B, ask func(customer string)) {
			n := 0
			for b.Loop() {
				ask(customerName(n * 7919 % m.customers))
				n++
			}
			b.ReportMetric(float64(len(files)), "files")
		}
		b.Run("DuckDB/"+name, func(b *testing.B) {
			asked(b, func(customer string) { m.duckdb(b, db, dir, "rollups", customer, isLate) })
		})
		b.Run("DuckDB, daily/"+name, func(b *testing.B) {
			asked(b, func(customer string) { m.duckdb(b, db, dir, "daily", customer, isLate) })
			b.ReportMetric(float64(len(daily)), "files")
		})
		b.Run("ledger explain/"+name, func(b *testing.B) {
			asked(b, func(customer string) {
				cmd := ledgercmd.NewCommand()
				cmd.SetOut(io.Discard)
				cmd.SetArgs([]string{"explain", "--directory", dir, "--customer", customer})
				if err := cmd.Execute(); err != nil {
					b.Fatal(err)
				}
			})
		})
		b.Run("totals in the store/"+name, func(b *testing.B) {
			asked(b, func(customer string) {
				for hour := range usage.Hour(monthHours) {
					if err := l.Totals(usage.MicrosOf(m.from).Hour()+hour, customer, func(*parquetfile.RollupRow) error { return nil }); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
	b.Run("PostgreSQL", m.postgres)
}

// duckdb asks DuckDB and holds the answer against what was sent.
func (m month) duckdb(b *testing.B, db *sql.DB, dir, table, customer string, all bool) {
	b.Helper()
	rows := query(b, db, "SELECT sum(quantity)::BIGINT, sum(events)::BIGINT FROM "+ledgerDir(dir).source(table)+" WHERE customer = '"+customer+"'")
	var number, quantity, events int
	if _, err := fmt.Sscanf(customer, "customer-%d", &number); err != nil {
		b.Fatal(err)
	}
	for hour := range monthHours {
		for n := range monthEvents {
			if all || !late(hour, number, n) {
				quantity += 1000 + number + n
				events++
			}
		}
	}
	if want := fmt.Sprintf("%d|%d", quantity, events); len(rows) != 1 || rows[0] != want {
		b.Fatalf("%s: %v, want %s", customer, rows, want)
	}
}

// postgres asks PostgreSQL as often as the benchmark wants, in one session.
func (m month) postgres(b *testing.B) {
	bin, err := postgres.Find()
	if err != nil {
		b.Skip(err)
	}
	dir, err := os.MkdirTemp("", "month-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	pg, err := postgres.Start(bin, dir)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := pg.Stop(); err != nil {
			b.Error(err)
		}
	})
	sql := func(statements ...string) {
		b.Helper()
		args := []string{"-q", "-t", "-v", "ON_ERROR_STOP=1"}
		for _, s := range statements {
			args = append(args, "-c", s)
		}
		if err := pg.Run("psql", args...); err != nil {
			b.Fatal(err)
		}
	}
	sql(`CREATE TABLE events (customer text, event_id text, at timestamptz, meter text, model text, quantity numeric(18,6), feature text, PRIMARY KEY (customer, event_id))`,
		fmt.Sprintf(`INSERT INTO events SELECT 'customer-' || lpad(c::text, 6, '0'), 'req-' || h || '-' || c || '-' || n, timestamptz '%s' + h * interval '1 hour' + n * interval '1 minute', 'llm_tokens_in', 'claude-4.5-sonnet', 1000 + c + n, 'support'
			FROM generate_series(0, %d) h, generate_series(0, %d) c, generate_series(0, %d) n`, m.from.Format(time.RFC3339), monthHours-1, m.customers-1, monthEvents-1),
		`CREATE INDEX ON events (customer, at)`, `VACUUM ANALYZE events`)
	var questions strings.Builder
	for n := range b.N {
		fmt.Fprintf(&questions, "SELECT meter, sum(quantity), count(*) FROM events WHERE customer = '%s' AND at >= '%s' AND at < '%s' GROUP BY meter;\n",
			customerName(n*7919%m.customers), m.from.Format(time.RFC3339), m.from.Add(monthHours*time.Hour).Format(time.RFC3339))
	}
	file := filepath.Join(dir, "questions.sql")
	if err := os.WriteFile(file, []byte(questions.String()), 0o644); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	if err := pg.Run("psql", "-q", "-t", "-v", "ON_ERROR_STOP=1", "-f", file); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
}

package ledger

import (
	"context"
	"math/big"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// millionths is the text of a sum of quantities as an integer.
func millionths(t *testing.T, text string) *big.Int {
	t.Helper()
	if text == "NULL" {
		return new(big.Int)
	}
	v, ok := new(big.Int).SetString(strings.Replace(text, ".", "", 1), 10)
	if !ok {
		t.Fatal(text)
	}
	return v
}

// readWhileALedgerWorks asks again and again while a ledger takes events, makes parts, seals hours and takes late events, and compares the answers with what
// came and with earlier answers. Only a file that was exchanged between listing and opening may fail a query.
func readWhileALedgerWorks(t *testing.T, ask func(query string) ([]string, error), queries map[string]func(ledgerDir) string) {
	t.Helper()
	dir := ledgerDir(filepath.Join(t.TempDir(), "usage"))
	var now atomic.Int64
	now.Store(int64(hourOfTest.Start()))
	l, err := ledger.Open(ledger.Options{
		Directory: string(dir), WriterID: "main", SealAfter: time.Minute, CorrectionWait: time.Hour,
		Clock: func() time.Time { return time.UnixMicro(now.Load()) }, Manual: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	var offered atomic.Pointer[big.Int] // at least what readers may see: events that were given to Append
	offered.Store(new(big.Int))
	const rounds = 25
	work := func(round int) error {
		for part := range 2 {
			events := usageOf(uint64(1000+10*round+part), hourOfTest+usage.Hour(round%4), 40)
			more := new(big.Int).Set(offered.Load())
			for _, e := range events {
				for _, line := range e.Lines {
					more.Add(more, big.NewInt(int64(line.Quantity)))
				}
			}
			offered.Store(more)
			if _, err := l.Append(context.Background(), events); err != nil {
				return err
			}
			if err := l.Flush(context.Background()); err != nil {
				return err
			}
		}
		now.Add(int64(time.Hour / time.Microsecond))
		return l.Seal(context.Background())
	}
	if err := work(0); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		for round := 1; round < rounds; round++ {
			if err := work(round); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()

	exchanged := func(err error) bool {
		return slices.ContainsFunc([]string{"No such file or directory", "Cannot open file", "doesn't exist", "FILE_DOESNT_EXIST"}, func(s string) bool { return strings.Contains(err.Error(), s) })
	}
	answer := func(query string) string {
		for {
			rows, err := ask(query)
			if err == nil {
				return strings.Join(rows, "")
			}
			if !exchanged(err) {
				t.Fatalf("%s: %v", query, err)
			}
		}
	}
	seen := map[string]*big.Int{}
	asked := 0
	look := func() {
		for name, query := range queries {
			got := millionths(t, answer(query(dir)))
			if most := offered.Load(); got.Cmp(most) > 0 {
				t.Fatalf("%s: %s, but only %s came", name, got, most)
			}
			if before := seen[name]; before != nil && got.Cmp(before) < 0 {
				t.Fatalf("%s: %s, after %s", name, got, before)
			}
			seen[name] = got
			asked++
		}
	}
	for running := true; running; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			running = false
		default:
			look()
		}
	}
	look()
	for name, got := range seen {
		if got.Cmp(offered.Load()) != 0 {
			t.Errorf("%s: %s at the end, not %s", name, got, offered.Load())
		}
	}
	if asked < 20 {
		t.Errorf("%d questions are too few to say anything", asked)
	}
	t.Logf("%d questions", asked)
}

func TestReadersNeverSeeATotalAboveTheTruthOrBelowWhatTheySaw(t *testing.T) {
	db := duckdb(t)
	ask := func(query string) ([]string, error) {
		var text string
		err := db.QueryRowContext(context.Background(), query).Scan(&text)
		return []string{text}, err
	}
	readWhileALedgerWorks(t, ask, map[string]func(ledgerDir) string{
		"events": func(dir ledgerDir) string {
			return "SELECT coalesce(sum(quantity), 0)::DECIMAL(38,6)::VARCHAR FROM " + dir.source("events")
		},
		"rollups": func(dir ledgerDir) string {
			return "SELECT coalesce(sum(quantity), 0)::DECIMAL(38,6)::VARCHAR FROM " + dir.source("rollups")
		},
		"top of all": func(dir ledgerDir) string {
			return "SELECT sum(quantity)::DECIMAL(38,6)::VARCHAR FROM (SELECT quantity FROM " + dir.source("events") + " ORDER BY quantity DESC LIMIT 1000000)"
		},
		"by customers": func(dir ledgerDir) string {
			return "SELECT sum(q)::DECIMAL(38,6)::VARCHAR FROM (SELECT customer, sum(quantity) AS q FROM " + dir.source("rollups") + " GROUP BY ALL)"
		},
	})
}

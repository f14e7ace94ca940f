package ledger

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// documentedQueries are the SQL blocks of docs/ledger.md, by the line before them.
func documentedQueries(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/ledger.md")
	if err != nil {
		t.Fatal(err)
	}
	queries := map[string]string{}
	parts := strings.Split(string(text), "```sql\n")
	for i, p := range parts[1:] {
		sql, _, ok := strings.Cut(p, "\n```")
		if !ok {
			t.Fatal("a block has no end")
		}
		before := strings.Split(strings.TrimSpace(parts[i]), "\n")
		queries[before[len(before)-1]] = sql
	}
	if len(queries) != len(parts)-1 {
		t.Fatal("two blocks have the same line before them")
	}
	return queries
}

const emptyMark = "-- no rows\n"

// realLedger is a folder with the ledger usage/: two writers, sealed and open hours, days that are summed, late usage in parts that were merged, an hour whose events have left, a correction, a retraction, a refusal.
func realLedger(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	now := hourOfTest.Start().Time().Add(30 * time.Minute)
	for w, writer := range []string{"main", "second"} {
		l, err := ledger.Open(ledger.Options{
			Directory: filepath.Join(dir, "usage"), WriterID: writer, SealAfter: time.Minute, CorrectionWait: time.Hour,
			Clock: func() time.Time { return now }, Manual: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		take := func(events ...usage.Event) {
			if _, err := l.Append(context.Background(), events); err != nil {
				t.Fatal(err)
			}
			if err := l.Flush(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		take(usageOf(uint64(10*w), hourOfTest, 300)...)
		take(usageOf(uint64(10*w+1), hourOfTest+1, 300)...)
		target := usageOf(uint64(10*w), hourOfTest, 300)[7]
		fix := target
		fix.ID, fix.Kind, fix.Corrects = "fix-"+target.ID, usage.KindRetraction, target.ID
		fix.Lines = nil
		conflict := usageOf(uint64(10*w), hourOfTest, 300)[8]
		conflict.Feature = "another"
		take(fix, conflict)
		now = now.Add(3 * time.Hour)
		if err := l.Seal(context.Background()); err != nil {
			t.Fatal(err)
		}
		for n := range 9 { // late; the first eight are merged
			take(usageOf(uint64(100+10*w+n), hourOfTest, 5)...)
			now = now.Add(time.Hour)
			if err := l.Seal(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		take(usageOf(uint64(10*w+3), hourOfTest+4, 50)...)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if w > 0 { // an hour of its own, which leaves but for its sums
			old := usageOf(uint64(10*w+4), hourOfTest-100, 50)
			o := ledger.Options{
				Directory: filepath.Join(dir, "usage"), WriterID: writer, SealAfter: 0, Clock: func() time.Time { return now }, Manual: true,
				Retention: ledger.Retention{Events: 90 * time.Hour},
			}
			if l, err = ledger.Open(o); err != nil {
				t.Fatal(err)
			}
			take(old...)
			if err := l.Seal(context.Background()); err != nil {
				t.Fatal(err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// usageOf are mixedEvents of the kind usage.
func usageOf(seed uint64, hour usage.Hour, n int) (events []usage.Event) {
	for _, e := range mixedEvents(seed, hour, n) {
		if e.Kind == usage.KindUsage {
			events = append(events, e)
		}
	}
	return events
}

func TestTheDocumentedQueriesRunAndTheAuditsFindNothing(t *testing.T) {
	queries := documentedQueries(t)
	t.Chdir(realLedger(t))
	db := duckdb(t)
	audits := 0
	for title, sql := range queries {
		rows := query(t, db, sql)
		if strings.HasPrefix(sql, emptyMark) {
			audits++
			if len(rows) > 0 {
				t.Errorf("%s: %d rows, first %s", title, len(rows), rows[0])
			}
		} else if len(rows) == 0 {
			t.Errorf("%s: no rows", title)
		}
	}
	if len(queries) < 14 || audits < 7 {
		t.Errorf("%d queries, %d audits", len(queries), audits)
	}
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatal(pattern, err)
	}
	return paths
}

func TestTheDocumentedAuditsFindWhatIsWrong(t *testing.T) {
	queries := documentedQueries(t)
	rewrite := func(t *testing.T, path string, change func([]byte) []byte) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, change(b), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put := func(t *testing.T, hour usage.Hour, name string, e usage.Event) {
		e.Normalize()
		at := hour.Start().Time()
		path := fmt.Sprintf("usage/events/date=%s/hour=%02d/writer=main/%s", at.Format(time.DateOnly), at.Hour(), name)
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := parquetfile.WriteEvents(f, []usage.Event{e}); err != nil {
			t.Fatal(err)
		}
	}
	e := usage.Event{ID: "new", Customer: "acme", Timestamp: hourOfTest.Start(), Lines: []usage.Line{{Meter: "m", Quantity: 1}}}
	for title, damage := range map[string]func(t *testing.T){
		"Every part's rollups are the sums of its events, but for those whose events have left:": func(t *testing.T) { put(t, hourOfTest, "part-1.parquet", e) },
		"Every day's sums are those of the rollups that entered `daily/`, but for days of which rollups have left:": func(t *testing.T) {
			if err := os.Remove(glob(t, "usage/daily/*/writer=main/*")[0]); err != nil {
				t.Fatal(err)
			}
		},
		"Every event lies in its hour:": func(t *testing.T) { put(t, hourOfTest+1, "part-1.parquet", e) },
		"No id of a customer is there twice, at no writer and in no hour:": func(t *testing.T) {
			put(t, hourOfTest, "part-1.parquet", e)
			put(t, hourOfTest, "part-2.parquet", e)
		},
		"Nothing is corrected below zero, and nothing that isn't there (where events have left, corrections of theirs in later hours show up here):": func(t *testing.T) {
			c := e
			c.Kind, c.Corrects, c.Lines = usage.KindCorrection, "nothing", []usage.Line{{Meter: "m", Quantity: 5}}
			put(t, hourOfTest, "part-1.parquet", c)
		},
		"Every line of a chain names the SHA-256 of the line before it:": func(t *testing.T) {
			rewrite(t, "usage/state/writer=main/chain.ndjson", func(b []byte) []byte { return []byte(strings.Replace(string(b), `"events":`, `"events":1`, 1)) })
		},
		"Every sealed file is the one that its record says, byte for byte, and those that left are gone:": func(t *testing.T) {
			rewrite(t, glob(t, "usage/runs/*/*/*/sealed-*")[0], func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		},
	} {
		t.Run(title, func(t *testing.T) {
			sql, ok := queries[title]
			if !ok {
				t.Fatal("the documentation has no such query")
			}
			t.Chdir(realLedger(t))
			damage(t)
			if rows := query(t, duckdb(t), sql); len(rows) == 0 {
				t.Error("it finds nothing")
			}
		})
	}
}

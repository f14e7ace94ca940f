package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	_ "github.com/duckdb/duckdb-go/v2"

	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

func duckdb(t testing.TB) *sql.DB {
	t.Helper()
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// query gives the rows of a query as text, columns separated by '|', null as 'NULL'.
func query(t testing.TB, db *sql.DB, text string) []string {
	t.Helper()
	rows, err := db.QueryContext(context.Background(), text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var result []string
	values, pointers := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		pointers[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(pointers...); err != nil {
			t.Fatal(err)
		}
		line := ""
		for i, v := range values {
			if i > 0 {
				line += "|"
			}
			if v == nil {
				line += "NULL"
			} else {
				line += fmt.Sprint(v)
			}
		}
		result = append(result, line)
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return result
}

// ledgerDir is a directory with the layout of a ledger.
type ledgerDir string

func (d ledgerDir) file(table string, hour usage.Hour, writer, name string) string {
	at := hour.Start().Time()
	return filepath.Join(string(d), table, "date="+at.Format("2006-01-02"), "hour="+at.Format("15"), "writer="+writer, name)
}

// writePart writes events, which are of one hour and in order, as a part.
func (d ledgerDir) writePart(t testing.TB, writer, name string, events []usage.Event) {
	t.Helper()
	hour := events[0].Timestamp.Hour()
	create := func(table string) *os.File {
		path := d.file(table, hour, writer, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	w := parquetfile.NewPartWriter(create(parquetfile.Events), create(parquetfile.Rollups), create(parquetfile.Runs), nil)
	for i := range events {
		if err := w.Write(&events[i]); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// source is a table of the ledger as DuckDB reads it.
func (d ledgerDir) source(table string) string {
	return fmt.Sprintf("read_parquet('%s/%s/**/*.parquet', hive_partitioning=true)", string(d), table)
}

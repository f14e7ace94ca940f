package ledgercmd

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// BenchmarkVerify checks two hours of 200,000 events each, on all processors.
func BenchmarkVerify(b *testing.B) {
	const hours, perHour = 2, 200_000
	dir := b.TempDir()
	for h := range usage.Hour(hours) {
		f := folder{hour0 + h, "main"}
		var files [len(trees)]io.Writer
		for i, tree := range trees {
			path := filepath.Join(dir, filepath.FromSlash(f.part(tree, "part-1-2")))
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				b.Fatal(err)
			}
			file, err := os.Create(path)
			if err != nil {
				b.Fatal(err)
			}
			defer file.Close()
			files[i] = file
		}
		w := parquetfile.NewPartWriter(files[0], files[2], files[1], nil)
		for i := range perHour {
			e := event(fmt.Sprintf("event-%d-%d", h, i), 0, int64(i%5000))
			e.Customer = fmt.Sprintf("customer-%04d", i/1000)
			e.Timestamp = f.hour.Start() + usage.Micros(i)
			if err := w.Write(&e); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := w.Close(); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		cmd := NewCommand()
		cmd.SetOut(io.Discard)
		cmd.SetArgs([]string{"verify", "--directory", dir})
		if err := cmd.Execute(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*hours*perHour/b.Elapsed().Seconds(), "events/s")
}

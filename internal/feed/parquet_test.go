package feed

import (
	"math/big"
	"path/filepath"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
)

// Days that are over are in Parquet, each line once, though the process dies between any two steps.
func TestDaysThatAreOverAreInParquetLineForLine(t *testing.T) {
	s := newSim(t, 3)
	for i := range s.specs {
		s.specs[i].Parquet = true
	}
	s.calm(false)
	for range 200 {
		s.survive(func() {
			s.random1()
			if s.feed == nil {
				return
			}
			for _, r := range s.feed.receivers {
				if r.sender.log.checked {
					_ = r.sender.convert()
				}
			}
		})
	}
	s.calm(true)
	if err := s.settle(); err != nil {
		t.Fatal(err)
	}
	s.clock = s.clock.Add(48 * time.Hour)
	for _, r := range s.feed.receivers {
		if err := r.sender.writeLines(); err != nil {
			t.Fatal(err)
		}
		if err := r.sender.convert(); err != nil {
			t.Fatal(err)
		}
		want, got := map[string]string{}, map[string]string{}
		if err := (Lines{Directory: s.dir, Receiver: r.name, Writer: "main"}).Each(func(record *Record) error {
			want[record.ID] = record.Quantity
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(s.dir, "feed", r.name, "*.parquet"))
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		for _, file := range files {
			rows, err := parquet.ReadFile[parquetRow](file)
			if err != nil {
				t.Fatal(err)
			}
			for _, row := range rows {
				if _, twice := got[row.ID]; twice {
					t.Fatalf("%s: %s is there twice", r.name, row.ID)
				}
				n := new(big.Int).SetBytes(row.Quantity[:])
				if row.Quantity[0] > 127 {
					n.Sub(n, new(big.Int).Lsh(big.NewInt(1), 128))
				}
				got[row.ID] = decimalText(n, 6)
			}
		}
		if len(got) != len(want) {
			t.Fatalf("%s: %d rows of %d lines", r.name, len(got), len(want))
		}
		for id, quantity := range want {
			if got[id] != quantity {
				t.Fatalf("%s: %s has %s, the line %s", r.name, id, got[id], quantity)
			}
		}
	}
}

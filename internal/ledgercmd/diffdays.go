package ledgercmd

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"

	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// diffDays compares the sums of daily parts with those of rollups and tells of each key where they differ.
func diffDays(d dayFolder, daily, rollups []*file, differs func(row *parquetfile.RollupRow, detail string)) error {
	have, err := openSums(parquetfile.OpenDaily, daily)
	if err != nil {
		return err
	}
	defer closeSums(have)
	want, err := openSums(parquetfile.OpenRollups, rollups)
	if err != nil {
		return err
	}
	defer closeSums(want)
	start, _ := d.start()
	g := unionOf(slices.Concat(have, want))
	got, err := newPeeker(start, g, have)
	if err != nil {
		return err
	}
	of, err := newPeeker(start, g, want)
	if err != nil {
		return err
	}
	for !got.over || !of.over {
		var c int
		switch {
		case got.over:
			c = 1
		case of.over:
			c = -1
		default:
			c = got.row.Compare(&of.row)
		}
		switch {
		case c < 0:
			differs(&got.row, quantityText(got.row.Quantity)+", and no rollup is summed by it")
		case c > 0:
			differs(&of.row, "is not there, its rollups add up to "+quantityText(of.row.Quantity))
		case !reflect.DeepEqual(got.row, of.row):
			differs(&got.row, fmt.Sprintf("quantity %s, cost %s, price %s, events %d; its rollups add up to %s, %s, %s, %d",
				quantityText(got.row.Quantity), moneyText(got.row.Cost), moneyText(got.row.Price), got.row.Events,
				quantityText(of.row.Quantity), moneyText(of.row.Cost), moneyText(of.row.Price), of.row.Events))
		}
		if c <= 0 {
			if err := got.next(); err != nil {
				return err
			}
		}
		if c >= 0 {
			if err := of.next(); err != nil {
				return err
			}
		}
	}
	return nil
}

// peeker is a merge with its next row in view.
type peeker struct {
	merge *parquetfile.DayMerge
	row   parquetfile.RollupRow
	over  bool
}

func newPeeker(start usage.Micros, g *parquetfile.Grouping, files []*parquetfile.RollupFile) (*peeker, error) {
	merge, err := parquetfile.NewDayMerge(start, g, files...)
	if err != nil {
		return nil, err
	}
	p := &peeker{merge: merge}
	return p, p.next()
}

func (p *peeker) next() error {
	err := p.merge.Next(&p.row)
	if errors.Is(err, io.EOF) {
		p.over = true
		return nil
	}
	return err
}

func openSums(open func(string, io.ReaderAt, int64) (*parquetfile.RollupFile, error), files []*file) ([]*parquetfile.RollupFile, error) {
	opened := make([]*parquetfile.RollupFile, 0, len(files))
	for _, f := range files {
		r, err := open(f.rel, f, f.size)
		if err != nil {
			closeSums(opened)
			return nil, err
		}
		opened = append(opened, r)
	}
	return opened, nil
}

func closeSums(files []*parquetfile.RollupFile) {
	for _, f := range files {
		f.Close()
	}
}

func unionOf(files []*parquetfile.RollupFile) *parquetfile.Grouping {
	groupings := make([]*parquetfile.Grouping, 0, len(files))
	for _, f := range files {
		groupings = append(groupings, f.Grouping())
	}
	return parquetfile.UnionGrouping(groupings...)
}

package idtable

import (
	"cmp"
	"fmt"
	"slices"
)

// spared is of how many absent ids that a layer is asked for one goes on to the next.
const spared = 6

// Share has of the tables' filters in memory what so many bytes take, first what spares most reads for its size: a byte of a layer spares the less, the larger the layer is, and a sixth
// of what one of the layer before does. What is in memory and may stay there is not read again. It may be called beside MayHave and Get, not beside itself.
// An error is of table number failed.
func Share(tables []*Table, bytes int64) (failed int, err error) {
	type part struct {
		table, layer int
		weight       float64
		chunks       int
	}
	var parts []part
	for i, t := range tables {
		weight := float64(t.layerPages)
		for n := range t.layers {
			parts = append(parts, part{table: i, layer: n, weight: weight})
			weight *= spared
		}
	}
	slices.SortStableFunc(parts, func(a, b part) int { return cmp.Compare(a.weight, b.weight) })
	for i := range parts {
		p := &parts[i]
		t := tables[p.table]
		if size := t.layerPages * pageBytes; size <= bytes {
			p.chunks = len(t.layers[p.layer].chunks)
			bytes -= size
		} else {
			p.chunks = int(bytes / chunkBytes)
			bytes -= int64(p.chunks) * chunkBytes
		}
		t.layers[p.layer].release(p.chunks)
	}
	for _, p := range parts {
		if err := tables[p.table].load(p.layer, p.chunks); err != nil {
			return p.table, fmt.Errorf("read its filter: %w", err)
		}
	}
	return 0, nil
}

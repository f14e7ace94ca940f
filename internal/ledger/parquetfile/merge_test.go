package parquetfile

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/usagebox/otelcol-usagebox/usage"
)

func TestMergingPartsGivesTheEventsOfAll(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		events := anyEvents(rt)
		parts := make([][]usage.Event, rapid.IntRange(1, 5).Draw(rt, "parts"))
		for _, e := range events {
			i := rapid.IntRange(0, len(parts)-1).Draw(rt, "part")
			parts[i] = append(parts[i], e)
		}
		sources := make([]Source, len(parts))
		for i, p := range parts {
			r := opened(t, written(t, 7, p)).Events()
			defer r.Close()
			sources[i] = r
		}
		got, err := readAll(NewMerge(sources...))
		if err != nil {
			rt.Fatal(err)
		}
		mustEqual(rt, len(events), len(got))
		for i := range got {
			mustEqual(rt, events[i], got[i])
		}
	})
}

func TestMergingAnEventThatIsThereTwiceFails(t *testing.T) {
	events := load(10)
	again, all := SliceSource(events[3:4]), SliceSource(events)
	if _, err := readAll(NewMerge(&all, &again)); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	backwards := SliceSource{events[1], events[0]}
	if _, err := readAll(NewMerge(&backwards)); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
}

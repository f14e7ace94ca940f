package billing

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// load makes series of lines, and says at which minute the longest ends.
func load(t *testing.T, lines []string) (storage.Queryable, int) {
	t.Helper()
	var all []storage.Series
	end := 0
	for _, line := range lines {
		of, values, err := parser.NewParser(parser.Options{}).ParseSeriesDesc(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		var samples []chunks.Sample
		for i, v := range values {
			if !v.Omitted {
				samples = append(samples, sample{now.Add(time.Duration(i) * scrape).UnixMilli(), v.Value})
			}
		}
		all = append(all, storage.NewListSeries(of, samples))
		if !strings.HasPrefix(line, alive) {
			end = max(end, len(values)-1)
		}
	}
	return &storage.MockQueryable{MockQuerier: &storage.MockQuerier{
		SelectMockFunction: func(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
			var fit []storage.Series
			for _, s := range all {
				if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(s.Labels().Get(m.Name)) }) {
					fit = append(fit, s)
				}
			}
			return &seriesSet{series: fit}
		},
	}}, end
}

// sample is a float at a time.
type sample struct {
	at    int64 // milliseconds
	value float64
}

func (s sample) T() int64                      { return s.at }
func (s sample) ST() int64                     { return 0 }
func (s sample) F() float64                    { return s.value }
func (s sample) H() *histogram.Histogram       { return nil }
func (s sample) FH() *histogram.FloatHistogram { return nil }
func (s sample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s sample) Copy() chunks.Sample           { return s }

// seriesSet goes through series.
type seriesSet struct {
	series []storage.Series
	n      int
}

func (s *seriesSet) Next() bool                        { s.n++; return s.n <= len(s.series) }
func (s *seriesSet) At() storage.Series                { return s.series[s.n-1] }
func (s *seriesSet) Err() error                        { return nil }
func (s *seriesSet) Warnings() annotations.Annotations { return nil }

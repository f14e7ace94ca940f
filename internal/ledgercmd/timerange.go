package ledgercmd

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/spf13/cobra"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// timeRange is half open: from is in it, to is not.
type timeRange struct{ from, to usage.Micros }

var always = timeRange{math.MinInt64, math.MaxInt64}

func (r timeRange) contains(m usage.Micros) bool { return m >= r.from && m < r.to }

// touches says whether any microsecond of an hour is in r.
func (r timeRange) touches(h usage.Hour) bool { return h.Start() < r.to && (h+1).Start() > r.from }

// covers says whether all of an hour is in r.
func (r timeRange) covers(h usage.Hour) bool { return h.Start() >= r.from && (h+1).Start() <= r.to }

// rangeFlags are --from and --to.
type rangeFlags struct{ from, to string }

func (f *rangeFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.from, "from", "", "the first moment: 2026-05, 2026-05-16, 2026-05-16T18 or RFC 3339 (UTC without a zone)")
	cmd.Flags().StringVar(&f.to, "to", "", "the moment after the last one, in the same forms")
}

func (f *rangeFlags) parse() (timeRange, error) {
	r := always
	var err error
	if f.from != "" {
		if r.from, err = parseMoment("--from", f.from); err != nil {
			return r, err
		}
	}
	if f.to != "" {
		if r.to, err = parseMoment("--to", f.to); err != nil {
			return r, err
		}
	}
	if r.from >= r.to {
		return r, errors.New("--from is not before --to: the range is empty")
	}
	return r, nil
}

// layouts of moments; the first fraction of a second that is lost would be below a microsecond, which is refused.
var layouts = []string{"2006-01", time.DateOnly, "2006-01-02T15", "2006-01-02T15:04", "2006-01-02T15:04:05.999999", time.RFC3339Nano, "2006-01-02T15Z07:00"}

func parseMoment(flag, text string) (usage.Micros, error) {
	for _, layout := range layouts {
		t, err := time.Parse(layout, text)
		if err != nil {
			continue
		}
		if t.Nanosecond()%1000 != 0 {
			return 0, fmt.Errorf("%s %q is finer than a microsecond, which is what the ledger keeps", flag, text)
		}
		return usage.MicrosOf(t), nil
	}
	return 0, fmt.Errorf("%s %q is none of 2026-05, 2026-05-16, 2026-05-16T18, 2026-05-16T18:42:11Z", flag, text)
}

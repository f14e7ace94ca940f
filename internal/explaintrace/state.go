package explaintrace

import (
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/usagebox/otelcol-usagebox/internal/attribution"
	"github.com/usagebox/otelcol-usagebox/internal/tracestore"
)

// readState explains traces from the facts that a collector keeps.
func readState(directory string, ids []string) (traces []Trace, err error) {
	store, err := tracestore.OpenReadOnly(directory)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	for _, text := range ids {
		b, err := hex.DecodeString(text)
		if err != nil || len(b) != 16 {
			return nil, fmt.Errorf("%q is no trace id: expected 32 hexadecimal digits", text)
		}
		id := attribution.TraceID(b)
		facts, err := store.Facts(id)
		if err != nil {
			return nil, err
		}
		if len(facts) == 0 {
			if forgot, err := store.Forgot(id); err == nil && forgot {
				return nil, fmt.Errorf("the facts of trace %s are forgotten: see retention and max_disk", id)
			}
			return nil, fmt.Errorf("no span of trace %s is known in %s", id, directory)
		}
		others := store.Others(id, true)
		decision := attribution.Decide(facts, others)
		if err := others.Err(); err != nil {
			return nil, err
		}
		traces = append(traces, explain(id, facts, &decision))
	}
	return traces, nil
}

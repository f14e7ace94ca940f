package ledger

import (
	"testing"

	"go.uber.org/goleak"
)

// A store that failed in the middle of its work can't be closed: what Pebble started for it stays, without access to the disk.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/usagebox/otelcol-usagebox/internal/ledger.park"),
		goleak.IgnoreTopFunction("github.com/cockroachdb/pebble/v2.(*ConcurrencyLimitScheduler).periodicGranter"),
		goleak.IgnoreTopFunction("github.com/cockroachdb/pebble/v2.(*cleanupManager).mainLoop"),
		goleak.IgnoreTopFunction("github.com/cockroachdb/pebble/v2/internal/genericcache.(*shard[...]).releaseLoop"),
	)
}

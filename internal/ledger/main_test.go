package ledger

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// A store that failed in the middle of its work can't be closed: what Pebble started for it stays, without access to the disk.
func TestMain(m *testing.M) {
	if os.Getenv(childDirectory) != "" {
		runChild()
	}
	const pebble = "github.com/cockroachdb/pebble/v2"
	options := make([]goleak.Option, 0, 10)
	for _, function := range []string{
		"github.com/usagebox/otelcol-usagebox/internal/ledger.park",
		pebble + ".Open", pebble + ".(*DB).Close", pebble + ".(*DB).GetWaitingCompaction", pebble + ".(*DB).compact", pebble + ".(*DB).flush",
		pebble + ".(*DB).collectTableStats", pebble + ".(*ConcurrencyLimitScheduler).periodicGranter", pebble + ".(*cleanupManager).mainLoop",
		pebble + "/record.(*LogWriter).flushLoop", pebble + "/internal/genericcache.(*shard[...]).releaseLoop",
	} {
		options = append(options, goleak.IgnoreAnyFunction(function))
	}
	goleak.VerifyTestMain(m, options...)
}

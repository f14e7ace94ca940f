package dedupeprocessor

import (
	"errors"

	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/usagebox/otelcol-usagebox/usage"
)

type recordKind int8

const (
	anEvent    recordKind = iota
	unreadable            // a usage event that the ledger will refuse
	refusal               // what was not counted, on its way to the ledger
	foreign               // something else
)

// record is what a log record says, as far as it matters here.
type record struct {
	key     usage.Key
	hash    hash
	payload usage.Payload
	kind    recordKind
	drop    bool
}

// read is one record for each log record, in order.
func read(ld plog.Logs) []record {
	records := make([]record, 0, ld.LogRecordCount())
	var e usage.Event
	for _, rl := range ld.ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			for _, lr := range sl.LogRecords().All() {
				switch err := usage.DecodeRecord(rl.Resource(), lr, &e); {
				case err == nil:
					records = append(records, record{key: e.Key(), hash: hashOf(e.Key()), payload: e.Payload()})
				case usage.IsRefusal(lr):
					records = append(records, record{kind: refusal})
				case errors.Is(err, usage.ErrNotUsage):
					records = append(records, record{kind: foreign})
				default:
					records = append(records, record{kind: unreadable})
				}
			}
		}
	}
	return records
}

// keepOnly leaves the records whose number, counted from 0, keep says yes to.
func keepOnly(ld plog.Logs, keep func(i int) bool) {
	i := -1
	ld.ResourceLogs().RemoveIf(func(rl plog.ResourceLogs) bool {
		rl.ScopeLogs().RemoveIf(func(sl plog.ScopeLogs) bool {
			sl.LogRecords().RemoveIf(func(plog.LogRecord) bool {
				i++
				return !keep(i)
			})
			return sl.LogRecords().Len() == 0
		})
		return rl.ScopeLogs().Len() == 0
	})
}

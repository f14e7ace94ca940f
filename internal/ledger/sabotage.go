package ledger

import "github.com/usagebox/otelcol-usagebox/usage"

// sabotage is a bug that the simulation plants, to show that it would be found. It is 0 outside of tests.
type sabotage int

const (
	_                   sabotage = iota
	ackBeforeSync                // answers before the fsync
	skipFolderSync               // a folder is not synced after a file appeared in it
	skipFileSync                 // a file appears without an fsync
	doneBeforeMade               // a part is recorded as done before its files appear
	sealBeforeExchange           // a seal is recorded before the folders are exchanged
	lateNotRolledUp              // late events enter events/, but no part after
	forgetSealedIDs              // ids of sealed hours are not looked up
	sealTakesAll                 // a seal removes from the store what came after it was planned
	retractTwice                 // what was retracted can be retracted again
	answerFailure                // a failed commit is answered as if it were durable
	reuseNames                   // parts are named by their place in the hour
	forgetWaiting                // what waits for an event is not applied when it comes
	totalsApart                  // totals change in a transaction of their own, before the one that records the part
	mergeBeforeExchange          // a merge of late parts is recorded before the folders are exchanged
	mergeSkipsLast               // a merge of late parts leaves the last one's events out
	leaveUnrecorded              // files leave before the chain says so
	leaveEarly                   // files leave an hour too early
	leaveForgets                 // the id of an event that left is not known any more
	idsBeforeTable               // the store says that ids are in a table before the table is there
	sealDropsIDs                 // a seal takes the chunks of events whose ids are in no table
	dayBeforeSeals               // a day is summed before its hours are sealed, and what is sealed then is forgotten
	dailyTwice                   // a sealed part is not marked as being in its daily part, so that it enters another
	dailyBeforeFile              // a daily part is recorded before its file is there
	sabotages                    // their number, and one
)

// exchangeAfterAll exchanges an hour's folders after it was recorded.
func (l *Ledger) exchangeAfterAll(h usage.Hour) error {
	for _, tree := range trees {
		if err := l.o.FS.Exchange(l.paths.staged(tree), l.paths.hour(tree, h)); err != nil {
			return err
		}
		if err := l.syncExchange(h, tree); err != nil {
			return err
		}
	}
	return nil
}

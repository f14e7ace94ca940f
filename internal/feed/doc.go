// Package feed brings what the ledger counts to billers, once in effect.
//
// A plan compares an hour's totals with what was already made into records for that hour, and makes the difference a record: its content
// and id are fixed when it is made, in the transaction that says that it was made. Records wait in an outbox until their receiver has
// taken them. An attempt is on disk before it begins, so that after a crash it is known which records a receiver may have: they go again under the same id while the
// receiver surely remembers it, and are asked about, or wait for a person, after that. Each record that was delivered is a line in feed/RECEIVER/*.ndjson.
//
// All of it lies in the annex of the ledger's store: what the feed knows of totals is on disk only if they are.
package feed

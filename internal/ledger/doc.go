// Package ledger keeps usage events: each once, for ever, in Parquet files that any engine reads. docs/ledger.md describes the
// files, the chain and what happens when the process or the machine dies at any line.
//
// An event that arrives is judged by its id: every id that ever came is known, with its hour and half of its payload's
// digest, in tables of their own and, the newest, in memory (ids.go), so a copy is a duplicate or a conflict whenever and under whichever timestamp it comes. New events of all callers that wait become
// one transaction, durable with one fsync, and lie in the store in chunks, one for each hour of the commit (chunk.go).
//
// Every FlushInterval the maintainer makes parts of what came: records which events the part has and its name, writes events/, runs/ and rollups/, lets them
// appear, and records that it is done, with the hour's totals. When an hour is over its parts are merged into a sealed part,
// which takes their place in one step and is recorded in the chain; then its events leave the store.
//
// # The store
//
// state/writer=W/store is a Pebble store. The first byte of a key says what it is about, see keys.go. The number in
// version is that of this layout; a newer one is refused. Numbers of events rise by one over all hours and name the parts, so no
// name is ever given twice. Records are JSON where they are few, binary where there is one for each event.
//
// # Failures
//
// After an error of a write or fsync of the store nothing is tried again on it: its access to the disk is cut, appends fail so that
// senders send again, and the store is opened anew from what is surely on disk, at growing intervals (store.go, commit.go). An error
// while a part is made leaves what was recorded as begun; the next round makes the same part again.
package ledger

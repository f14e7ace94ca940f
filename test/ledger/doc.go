// Package ledger holds the ledger's files against other readers: DuckDB reads what the collector writes. It is a module of its
// own, so that the collector needs no C compiler.
package ledger

// Package parquetfile is the form of the ledger's files: which columns they have, how they are written so that the same
// events give the same bytes, and how they are read again.
//
// There are four tables. events has one row per event and meter; rollups and runs are sums over the events of the part of
// the same name; refused has one row per event that was not taken. The columns are in the tables of schema.go.
//
// What all files have in common:
//
//   - Parquet format version 2, data pages v2, Zstandard, a page index, no encryption. The key-value metadata has
//     usagebox.format = "1" and usagebox.table = events, rollups, runs or refused. created_by is constant.
//   - Times are INT64 microseconds since 1970 in UTC, TIMESTAMP(MICROS) not adjusted: a reader shows UTC, whatever its own
//     time zone is. Decimals of 18 digits are INT64, those of 38 FIXED_LEN_BYTE_ARRAY(16), big endian two's complement, with
//     minima and maxima in signed order.
//   - An absent string is null in a nullable column and empty in another one.
//
// And events files:
//
//   - The rows of an event follow each other, one per meter, meters ascending; what is not of the line (flags and dimensions
//     included) is repeated in each. They never lie in two row groups.
//   - Events are in the order of Compare: customer, timestamp, event_id, strings by their bytes.
//   - Row groups have RowsPerGroup rows or a few more. Each has a split-block bloom filter on event_id.
package parquetfile

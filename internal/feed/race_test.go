//go:build race

package feed

// raced says that the race detector watches: it makes a simulation five times as long and finds nothing in one goroutine.
const raced = true

//go:build unix

package offheap

import (
	"runtime"
	"testing"
)

func TestTheHeapDoesNotGrowWithIt(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	b, err := New(64 << 20)
	if err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 {
		t.Errorf("the heap has given %d bytes", grown)
	}
	if err := b.Free(); err != nil {
		t.Fatal(err)
	}
}

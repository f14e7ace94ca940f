package offheap

import (
	"runtime"
	"testing"
)

func TestMemoryIsZeroAndIsGivenBack(t *testing.T) {
	for _, size := range []int{0, 1, 4095, 4096, 3<<20 + 5} {
		b, err := New(size)
		if err != nil || len(b.Bytes()) != size {
			t.Fatal(size, len(b.Bytes()), err)
		}
		for i, v := range b.Bytes() {
			if v != 0 {
				t.Fatalf("byte %d of %d is %d", i, size, v)
			}
			b.Bytes()[i] = 0xff
		}
		for range 2 { // a second time is nothing
			if err := b.Free(); err != nil || b.Bytes() != nil {
				t.Fatal(size, err)
			}
		}
	}
	if _, err := New(-1); err == nil {
		t.Fatal("memory of a negative size")
	}
}

func TestTheHeapDoesNotGrowWithIt(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("it is of the heap on Windows")
	}
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

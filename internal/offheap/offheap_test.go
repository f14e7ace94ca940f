package offheap

import "testing"

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

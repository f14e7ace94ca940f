// Package offheap has memory that the collector of garbage does not count: what is large, holds no pointers and has an end that its user knows. On the heap such memory
// would let as much garbage again pile up before it is collected, twice over, and it would be asked from the system in small pages, which can cost more than what is
// done in it.
package offheap

import (
	"errors"
	"fmt"
)

// Block is memory outside of the heap. The zero value has none.
type Block struct{ bytes []byte }

// New gives so many bytes, all zero. They are to be given back by Free.
func New(size int) (Block, error) {
	if size < 0 {
		return Block{}, errors.New("memory of a negative size")
	}
	if size == 0 {
		return Block{}, nil
	}
	bytes, err := allocate(size)
	if err != nil {
		return Block{}, fmt.Errorf("%d bytes of memory: %w", size, err)
	}
	return Block{bytes}, nil
}

// Bytes is the memory. Nothing may lead to it after Free: no slice of it and no string.
func (b *Block) Bytes() []byte { return b.bytes }

// Free gives the memory back. What still leads to it is a fault that ends the program.
func (b *Block) Free() error {
	bytes := b.bytes
	b.bytes = nil
	if bytes == nil {
		return nil
	}
	return release(bytes)
}

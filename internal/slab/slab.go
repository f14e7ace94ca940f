// Package slab keeps many values of one size by number. They lie in chunks, so that, when there are no pointers in them, a collection of garbage does not take longer
// with each of them.
package slab

// Slab holds values of T. The zero value is empty.
type Slab[T any] struct {
	chunks [][]T
	free   []uint32
	used   int
}

const (
	chunk = 1 << 12
	kept  = 16 // chunks that an empty slab keeps at most
)

// New is the number, never 0, of a value that is free until then. It is as its last user left it, at first zero.
func (s *Slab[T]) New() uint32 {
	if len(s.free) == 0 {
		s.chunks = append(s.chunks, make([]T, chunk))
		for last, n := uint32(len(s.chunks)*chunk), uint32(0); n < chunk; n++ {
			s.free = append(s.free, last-n)
		}
	}
	last := len(s.free) - 1
	n := s.free[last]
	s.free = s.free[:last]
	s.used++
	return n
}

// At is the value of a number, which stays where it is until it is freed.
func (s *Slab[T]) At(n uint32) *T { return &s.chunks[(n-1)/chunk][(n-1)%chunk] }

// Max is the highest number that New has made or could give without more memory.
func (s *Slab[T]) Max() uint32 { return uint32(len(s.chunks) * chunk) }

// Free takes a number back. emptied says that it was the last one of many, whose memory was given back.
func (s *Slab[T]) Free(n uint32) (emptied bool) {
	s.free = append(s.free, n)
	s.used--
	if emptied = s.used == 0 && len(s.chunks) > kept; emptied {
		*s = Slab[T]{}
	}
	return emptied
}

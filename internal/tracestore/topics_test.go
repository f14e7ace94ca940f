package tracestore

import (
	"encoding/binary"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/usagebox/otelcol-usagebox/internal/attribution"
)

// Before, while and after the filter is made of what is on disk, and made anew: a topic that somebody told of may have notes; and in the end others have none.
func TestATopicOfWhichSomebodyToldIsNeverTakenForNew(t *testing.T) {
	fs := vfs.NewMem()
	told := 0
	topic := func(i int) (topic attribution.Topic) {
		binary.LittleEndian.PutUint64(topic[:], uint64(i)*0x9e3779b97f4a7c15)
		binary.LittleEndian.PutUint64(topic[8:], uint64(i)*0xd1342543de82ef95)
		return topic
	}
	var s *Store
	tell := func() {
		told++
		x := &Settlement{Trace: attribution.TraceID{byte(told), byte(told >> 8)}, At: 1}
		x.Notes = []attribution.Note{{Topic: topic(told), Sub: uint64(told), Kind: attribution.NoteResponse, Place: attribution.Place{Trace: x.Trace}}}
		round, err := s.Begin([]*Settlement{x})
		if err != nil {
			t.Fatal(err)
		}
		if err := round.Settle(); err != nil {
			t.Fatal(err)
		}
		if err := round.Close(); err != nil {
			t.Fatal(err)
		}
	}
	check := func() {
		t.Helper()
		for i := 1; i <= told; i++ {
			if !s.topics.may(topic(i)) {
				t.Fatalf("topic %d of %d is taken for new", i, told)
			}
		}
	}
	const each = 40
	for range 3 {
		var err error
		if s, err = Open(Options{Directory: "attribution", FS: fs}); err != nil {
			t.Fatal(err)
		}
		for s.topics.next != nil {
			if err := s.topics.read(s, 7); err != nil {
				t.Fatal(err)
			}
			check()
			if err := s.topics.read(s, 1); err != nil {
				t.Fatal(err)
			}
			s.topics.put(topic(1)) // it is told of again
		}
		for range each {
			tell()
		}
		check()
		seeming := 0
		for i := range 1000 {
			if s.topics.may(topic(told + 1 + i)) {
				seeming++
			}
		}
		if seeming > 50 {
			t.Fatalf("%d of 1000 topics that nobody told of seem to have notes", seeming)
		}
		s.topics.added = topicsAtLeast // it is made anew
		for range each {
			tell()
			check()
		}
		if s.topics.added >= topicsAtLeast || s.topics.next != nil {
			t.Fatal("it was not made anew")
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

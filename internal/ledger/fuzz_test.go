package ledger

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// chunkOf is a chunk of events.
func chunkOf(events ...usage.Event) []byte {
	var body []byte
	for i := range events {
		body = appendEvent(body, &events[i], events[i].IngestedAt)
	}
	return appendChunk(nil, len(events), body)
}

func FuzzChunksComeBackOrAreRefused(f *testing.F) {
	f.Add(chunkOf(event("acme", "1", 1, testTime), retraction("other", strings.Repeat("x", 200), "1", testTime)))
	f.Add([]byte{})
	f.Add(chunkOf(event("acme", strings.Repeat("1", 200), 1, testTime), event("acme", strings.Repeat("2", 200), 1, testTime), event("acme", strings.Repeat("3", 200), 1, testTime)))
	f.Add([]byte{chunkPlain, 0xff, 0xff, 0xff, 0xff, 0x0f, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Add([]byte{chunkCompressed, 1, 0x80, 0x80, 0x80, 0x10, 0x80, 0x80, 0x80, 0x10})
	f.Fuzz(func(t *testing.T, b []byte) {
		events, err := splitChunk(nil, b)
		if err != nil {
			return
		}
		size := 0
		for i := range events {
			size += events[i].size
			var e usage.Event
			_ = events[i].id()
			if events[i].decode(&e) == nil && !bytes.Equal(events[i].id(), []byte(e.ID)) {
				t.Fatalf("the id of %+v is read as %q", e, events[i].id())
			}
		}
		if count, bytes, _, err := readChunkHeader(b); err != nil || count != len(events) || bytes != size {
			t.Fatalf("%d events of %d bytes, the header says %d of %d: %v", len(events), size, count, bytes, err)
		}
	})
}

func TestEventsComeBackFromAChunkInOrder(t *testing.T) {
	want := []usage.Event{event("b", "2", 1, testTime), event("a", "1", 1, testTime), event("a", "0", 1, testTime.Add(time.Second))}
	events, err := splitChunk(nil, chunkOf(want...))
	if err != nil || len(events) != 3 {
		t.Fatal(len(events), err)
	}
	for i := range events {
		var e usage.Event
		if err := events[i].decode(&e); err != nil || e.Key() != want[i].Key() || e.Payload() != want[i].Payload() {
			t.Fatal(e, err)
		}
	}
}

func TestTheEventsOfASpanAreInTheOrderOfFiles(t *testing.T) {
	var want []usage.Event
	for i := range 200 {
		at := testTime.Add(time.Duration(i%3) * time.Second)
		want = append(want, event(string(rune('a'+i%7)), strconv.Itoa(i*7919%1000), 1, at))
	}
	h := newHarness(t)
	s := h.state
	of := span{from: 1, to: 201, events: 200}
	hour := want[0].Timestamp.Hour()
	batch := s.store.db.NewBatch()
	for i := 0; i < len(want); i += 20 {
		chunk := chunkOf(want[i : i+20]...)
		_, bytes, _, err := readChunkHeader(chunk)
		if err != nil {
			t.Fatal(err)
		}
		of.bytes += int64(bytes)
		if err := batch.Set(hourSeqKey(keyChunk, hour, uint64(i)+1), chunk, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.store.commit(batch); err != nil {
		t.Fatal(err)
	}
	events, err := s.readSpan(hour, of)
	if err != nil {
		t.Fatal(err)
	}
	parquetfile.Sort(want)
	if err := events.each(func(e *usage.Event) error {
		if e.Key() != want[0].Key() || e.Payload() != want[0].Payload() {
			t.Fatalf("%v is where %v is in files", e.Key(), want[0].Key())
		}
		want = want[1:]
		return nil
	}); err != nil || len(want) > 0 {
		t.Fatal(len(want), err)
	}
	if err := events.free(); err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []span{{1, 201, 200, of.bytes - 1}, {1, 201, 200, of.bytes + 1}, {1, 181, 180, of.bytes}, {1, 201, 200, -1}, {1, 201, 200, 100}, {1, 201, 200, 1 << 33}} {
		var corrupt *CorruptError
		if _, err := s.readSpan(hour, wrong); !errors.As(err, &corrupt) {
			t.Errorf("%+v, when there are %d bytes: %v", wrong, of.bytes, err)
		}
	}
}

func FuzzTotalsComeBackOrAreRefused(f *testing.F) {
	row := parquetfile.RollupRow{Customer: "acme", Meter: "m", Unit: "u", Quantity: decimal.FromInt64(-5), Cost: parquetfile.Money{Known: true}, Events: 3}
	f.Add(totalKey(7, &row), appendTotal(nil, &row))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		row, err := decodeTotal(key, value)
		if err != nil {
			return
		}
		again, err := decodeTotal(totalKey(row.HourStart.Hour(), &row), appendTotal(nil, &row))
		if err != nil || !again.SameKey(&row) || again.Quantity != row.Quantity || again.Cost != row.Cost || again.Price != row.Price || again.Events != row.Events {
			t.Fatalf("%+v comes back as %+v, %v", row, again, err)
		}
	})
}

func FuzzChainIsReadOrRefused(f *testing.F) {
	r := ChainRecord{Version: ChainVersion, Number: 1, Part: "sealed-1-2"}
	line, err := r.line()
	must(err)
	next := ChainRecord{Version: ChainVersion, Number: 2, Previous: HashChainLine(line)}
	second, err := next.line()
	must(err)
	whole := append(append(append([]byte(nil), line...), '\n'), append(second, '\n')...)
	f.Add(whole)
	f.Add(whole[:len(whole)-5])
	f.Fuzz(func(t *testing.T, text []byte) {
		n := uint64(0)
		head, err := ReadChain(text, func(r *ChainRecord) error {
			n++
			if r.Number != n {
				t.Fatalf("record %d has the number %d", n, r.Number)
			}
			return nil
		})
		if err == nil && (head == "") != (n == 0) {
			t.Fatalf("%d records and the head %q", n, head)
		}
	})
}

func TestAChangedChainIsRefusedWithItsRecord(t *testing.T) {
	var text []byte
	head := ""
	for n := uint64(1); n <= 3; n++ {
		r := ChainRecord{Version: ChainVersion, Number: n, Writer: "main", Previous: head}
		line, err := r.line()
		must(err)
		head = HashChainLine(line)
		text = append(append(text, line...), '\n')
	}
	each := func(*ChainRecord) error { return nil }
	if got, err := ReadChain(text, each); err != nil || got != head {
		t.Fatal(got, err)
	}
	changed := bytes.Replace(text, []byte(`"writer":"main"`), []byte(`"writer":"mend"`), 1)
	if _, err := ReadChain(changed, each); err == nil || !strings.Contains(err.Error(), "record 2") {
		t.Fatal(err)
	}
	without := text[bytes.IndexByte(text, '\n')+1:]
	if _, err := ReadChain(without, each); err == nil || !strings.Contains(err.Error(), "record 1") {
		t.Fatal(err)
	}
}

func FuzzLogsAreCheckedWithoutPanic(f *testing.F) {
	f.Add([]byte(strings.Repeat("\x00", 100)), uint32(1))
	f.Fuzz(func(t *testing.T, log []byte, number uint32) {
		if at, _ := unreadable(log, number); at < 0 || at > len(log)+walBlock {
			t.Fatal(at)
		}
	})
}

func FuzzTargetsAndPlacesComeBackOrAreRefused(f *testing.F) {
	t := target{event: event("acme", "1", 1, testTime), retracted: true}
	f.Add(t.append(nil))
	f.Add(known{Hour: 3, Seq: 300}.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, err := decodeKnown(b); err == nil && len(b) == len(k.append(nil)) && !bytes.Equal(k.append(nil), b) {
			t.Fatalf("%+v is written otherwise", k)
		}
		if tg, err := decodeTarget(b); err == nil && tg.append(nil)[0] != b[0] {
			t.Fatal("a target forgets whether it was retracted")
		}
	})
}

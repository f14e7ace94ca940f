package ledgercmd

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// idIndex finds which keys were added more than once, however many there are: hashes of keys in memory up to a
// limit, beyond it in temporary files by their first byte, each of which fits into memory.
type idIndex struct {
	memory []uint64
	dir    string
	files  []*os.File
	out    []*bufio.Writer
}

const (
	idMemory  = 8 << 20 // hashes: 64 MiB
	idBuckets = 256
)

func newIDIndex() *idIndex { return &idIndex{} }

func keyHash(k usage.Key) uint64 {
	var d xxhash.Digest
	d.Reset()
	_, _ = d.WriteString(k.Customer) // never fails
	_, _ = d.Write([]byte{0xff})     // not in UTF-8
	_, _ = d.WriteString(k.ID)
	return d.Sum64()
}

func (x *idIndex) add(hashes []uint64) error {
	if x.files == nil {
		x.memory = append(x.memory, hashes...)
		if len(x.memory) < idMemory {
			return nil
		}
		return x.spill()
	}
	return x.write(hashes)
}

func (x *idIndex) spill() (err error) {
	if x.dir, err = os.MkdirTemp("", "ledger-verify-"); err != nil {
		return fmt.Errorf("room for ids: %w", err)
	}
	for i := range idBuckets {
		f, err := os.Create(fmt.Sprintf("%s/%02x", x.dir, i))
		if err != nil {
			return fmt.Errorf("room for ids: %w", err)
		}
		x.files = append(x.files, f)
		x.out = append(x.out, bufio.NewWriterSize(f, 16<<10))
	}
	memory := x.memory
	x.memory = nil
	return x.write(memory)
}

func (x *idIndex) write(hashes []uint64) error {
	var b [8]byte
	for _, h := range hashes {
		binary.BigEndian.PutUint64(b[:], h)
		if _, err := x.out[b[0]].Write(b[:]); err != nil {
			return fmt.Errorf("room for ids: %w", err)
		}
	}
	return nil
}

// repeated are the hashes that were added more than once.
func (x *idIndex) repeated() (map[uint64]bool, error) {
	result := map[uint64]bool{}
	if x.files == nil {
		collectRepeated(x.memory, result)
		return result, nil
	}
	for i, f := range x.files {
		if err := x.out[i].Flush(); err != nil {
			return nil, fmt.Errorf("room for ids: %w", err)
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
		b, err := io.ReadAll(f)
		if err != nil {
			return nil, err
		}
		hashes := make([]uint64, len(b)/8)
		for j := range hashes {
			hashes[j] = binary.BigEndian.Uint64(b[8*j:])
		}
		collectRepeated(hashes, result)
	}
	return result, nil
}

func collectRepeated(hashes []uint64, into map[uint64]bool) {
	slices.Sort(hashes)
	for i := 1; i < len(hashes); i++ {
		if hashes[i] == hashes[i-1] {
			into[hashes[i]] = true
		}
	}
}

func (x *idIndex) close() {
	for _, f := range x.files {
		_ = f.Close()
	}
	if x.dir != "" {
		_ = os.RemoveAll(x.dir)
	}
}

// place is where an event was found.
type place struct {
	folder folder
	rel    string
	event  usage.Event
}

// copies are the events whose key is there more than once.
type copies struct {
	events map[usage.Key][]place
	mended map[mendKey]bool // retractions by mend-writers that are there
}

type mendKey struct {
	writer string
	event  usage.Key
}

// findCopies reads the events again when ids has repeated ones; most often it hasn't.
func (c *common) findCopies(ids *idIndex, folders []folder) (*copies, error) {
	found := &copies{map[usage.Key][]place{}, map[mendKey]bool{}}
	hashes, err := ids.repeated()
	if err != nil || len(hashes) == 0 {
		return found, err
	}
	for _, f := range folders {
		var places []place
		err := c.steady(f, func(l *listing, _ bool) error {
			places = nil
			for _, name := range l[0] {
				if err := c.eachEvent(f.part(trees[0], name), func(e *usage.Event) error {
					if e.Kind == usage.KindRetraction && strings.HasPrefix(e.ID, mendPrefix) {
						found.mended[mendKey{f.writer, e.Key()}] = true
					}
					if hashes[keyHash(e.Key())] {
						places = append(places, place{f, f.part(trees[0], name), *e})
					}
					return nil
				}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, p := range places {
			found.events[p.event.Key()] = append(found.events[p.event.Key()], p)
		}
	}
	for key, places := range found.events {
		if len(places) < 2 {
			delete(found.events, key)
			continue
		}
		slices.SortStableFunc(places, func(a, b place) int {
			return cmp.Or(cmp.Compare(a.event.IngestedAt, b.event.IngestedAt), strings.Compare(a.folder.writer, b.folder.writer))
		})
	}
	return found, nil
}

// eachEvent calls do for every event of a file.
func (c *common) eachEvent(rel string, do func(e *usage.Event) error) error {
	f, events, err := c.events(rel)
	if err != nil {
		return err
	}
	defer f.Close()
	r := events.Events()
	defer r.Close()
	for {
		var e usage.Event
		err := r.Next(&e)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", rel, err)
		}
		if err := do(&e); err != nil {
			return err
		}
	}
}

// checkTwice reports ids that are there twice. Damaged files were reported before, so their errors are passed over here.
func (v *verifier) checkTwice(folders []folder) error {
	if slices.ContainsFunc(v.problems, func(p problem) bool { return p.Kind == kindUnreadable }) {
		return nil
	}
	found, err := v.findCopies(v.ids, folders)
	if err != nil {
		return err
	}
	for key, places := range found.events {
		first := places[0]
		for _, p := range places[1:] {
			remedy := "the same writer has counted it twice"
			if p.folder.writer != first.folder.writer {
				if found.isMended(key, p) {
					continue
				}
				remedy = "ledger mend-writers takes one of two away"
			}
			same := "says the same"
			if p.event.Payload() != first.event.Payload() {
				same = "says something else"
			}
			v.found(problem{
				Kind: kindTwice, Writer: p.folder.writer, Hour: hourText(p.folder.hour), File: p.rel,
				Detail: fmt.Sprintf("event %q of customer %q is also in %s, where it %s: %s", key.ID, key.Customer, first.rel, same, remedy),
			})
		}
	}
	return nil
}

// isMended says whether a copy was taken away by the retraction that mend-writers makes.
func (x *copies) isMended(key usage.Key, p place) bool {
	return x.mended[mendKey{p.folder.writer, usage.Key{Customer: key.Customer, ID: mendID(key, p.folder.writer)}}]
}

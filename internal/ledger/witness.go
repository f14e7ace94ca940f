package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The witness is a file beside the store that says up to which number events were acknowledged: 8 bytes, then their CRC-32C, little
// endian. It is written after each commit and not synced, so after a power cut it may say less than is true, and never more. It
// shows that the very end of the store's log was damaged, which nothing in the log can.
type witness struct{ file vfs.File }

const witnessBytes = 12

// openWitness reads what was acknowledged, 0 when that can't be known.
func openWitness(f FS, path string) (w *witness, next uint64, err error) {
	text, err := readWhole(f, path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, 0, err
	}
	if len(text) == witnessBytes && crc32.Checksum(text[:8], castagnoli) == binary.LittleEndian.Uint32(text[8:]) {
		next = binary.LittleEndian.Uint64(text)
	}
	file, err := f.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, 0, err
	}
	return &witness{file}, next, nil
}

// record says that events with numbers below next are acknowledged. That it may fail costs no more than what it is for.
func (w *witness) record(next uint64) {
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, witnessBytes), next)
	_, _ = w.file.WriteAt(binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)), 0)
}

// checkWitness compares the store with the witness.
func (l *Ledger) checkWitness(s *state) error {
	var acknowledged uint64
	var err error
	if s.witness, acknowledged, err = openWitness(l.o.FS, l.paths.witness()); err != nil {
		return fmt.Errorf("open %s: %w", l.paths.witness(), err)
	}
	if acknowledged > s.next {
		return corrupt("the end of the store's log", fmt.Errorf("events up to number %d were acknowledged according to %s, the store has those below %d",
			acknowledged-1, l.paths.witness(), s.next))
	}
	return nil
}

// close ends the state's use of its files.
func (s *state) close() error {
	err := errors.Join(s.store.close(), s.ids.close())
	if s.witness != nil {
		err = errors.Join(err, s.witness.file.Close())
	}
	return err
}

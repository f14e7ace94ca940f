// Package manifest checks the manifest of an embedded store, which names the store's tables.
//
// Pebble reads a manifest up to the first record that it can't read, as if a crash had torn that one off. After a flipped bit the tables that this record and
// later ones add would be left out, and then removed: what they hold is lost, and nothing is said. A torn record is one that the file's end cuts off, and
// nothing follows it: each record is synced before the next is written, and before anything that it replaces is removed. All else is damage.
//
// The form is that of github.com/cockroachdb/pebble/v2/record: blocks of 32 KiB; a chunk is CRC (4), length (2), type (1), payload; little endian. The CRC is
// over all from the type on.
package manifest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"
)

const (
	block    = 32 << 10
	header   = 7
	sector   = 512
	lastType = 4
)

// DamageError is what is wrong with a manifest.
type DamageError struct {
	Path string
	At   int
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("%s: its record at byte %d can't be read, and no crash tore it off", e.Path, e.At)
}

// Check reads the manifest that a store in dir uses, if there is one. It changes nothing, and may be called beside the process that writes it.
func Check(fs vfs.FS, dir string) error {
	name, err := atomicfs.ReadMarker(fs, dir, "manifest")
	if errors.Is(err, os.ErrNotExist) || err == nil && name == "" {
		return nil
	} else if err != nil {
		return err
	}
	path := fs.PathJoin(dir, name)
	file, err := fs.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(file)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	if at, ok := whole(text); !ok {
		return &DamageError{path, at}
	}
	return nil
}

// whole is where the readable chunks of a manifest end, and whether that is its end, or what a crash leaves of a record.
func whole(text []byte) (at int, ok bool) {
	for at < len(text) {
		if left := block - at%block; left < header {
			at += left
			continue
		}
		end, ok := chunk(text, at)
		if !ok {
			return at, torn(text, at)
		}
		at = end
	}
	return at, true
}

// chunk reads the chunk at a place.
func chunk(text []byte, at int) (end int, ok bool) {
	if at+header > len(text) {
		return 0, false
	}
	end = at + header + int(binary.LittleEndian.Uint16(text[at+4:]))
	if kind := text[at+6]; kind == 0 || kind > lastType || end > len(text) || at/block != (end-1)/block {
		return 0, false
	}
	return end, binary.LittleEndian.Uint32(text[at:]) == sum(text[at+6:end])
}

// torn says whether a crash can have left what is at a place: less than a chunk, or zeros from some sector on, and nothing after it.
func torn(text []byte, at int) bool {
	if at+header > len(text) || len(bytes.TrimLeft(text[at:], "\x00")) == 0 {
		return true
	}
	written := len(bytes.TrimRight(text, "\x00"))
	written += (sector - written%sector) % sector
	end := at + header + int(binary.LittleEndian.Uint16(text[at+4:]))
	if end <= min(written, len(text)) {
		return false // all of it was written
	}
	for end := at + header; end <= min(len(text), at-at%block+block); end++ {
		if binary.LittleEndian.Uint32(text[at:]) == sum(text[at+6:end]) {
			return false // its length was changed
		}
	}
	for p := at + 1; p < len(text); p++ {
		if _, ok := chunk(text, p); ok {
			return false // another one follows
		}
	}
	return true
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func sum(b []byte) uint32 {
	c := crc32.Checksum(b, castagnoli)
	return (c>>15 | c<<17) + 0xa282ead8
}

package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Pebble ends the replay of its last log at the first record that it can't read, as if a crash had torn it off. After a flipped bit that
// would leave out what was acknowledged behind it. But each record says up to which offset the log was durable when it was
// written: so a readable record further on that vouches for the place of the unreadable one shows that it was whole once. Only the
// records of the very last fsync have none behind them.
//
// The form is that of github.com/cockroachdb/pebble/v2/record: blocks of 32 KiB; a chunk is CRC (4), length (2), type (1), number of the log
// (4), offset up to which it was durable (8), payload; little endian. The CRC is over all from the type on.
const (
	walBlock     = 32 << 10
	walHeader    = 19
	walFirstType = 9
	walLastType  = 12
)

// checkLogs looks through the store's logs for records that can't be read and were durable.
func checkLogs(fs vfs.FS, dir string) error {
	names, err := fs.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".log") {
			continue
		}
		path := fs.PathJoin(dir, name)
		var damage *logDamage
		if err := checkLog(fs, path); errors.As(err, &damage) {
			return corrupt(path, damage)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// logDamage is where a log can't be read that could be read once.
type logDamage struct{ at int }

func (d *logDamage) Error() string {
	return fmt.Sprintf("its record at byte %d can't be read, and it was durable", d.at)
}

// checkLog looks for a record of a log that can't be read and was durable.
func checkLog(fs vfs.FS, path string) error {
	number, err := strconv.ParseUint(strings.TrimSuffix(fs.PathBase(path), ".log"), 10, 32)
	if err != nil {
		return nil //nolint:nilerr // it is none of the store's
	}
	text, err := readWhole(fs, path)
	if err != nil {
		return err
	}
	if at, vouched := unreadable(text, uint32(number)); vouched {
		return &logDamage{at}
	}
	return nil
}

func readWhole(fs vfs.FS, path string) (text []byte, err error) {
	file, err := fs.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return nil, err
	}
	text, err = io.ReadAll(file)
	return text, closeAfter(file, err)
}

// unreadable is where a log's readable records end, and whether a later one vouches for more.
func unreadable(log []byte, number uint32) (at int, vouched bool) {
	for {
		if walBlock-at%walBlock < walHeader {
			at += walBlock - at%walBlock
		}
		end, _, ok := walChunk(log, at, number)
		if !ok {
			break
		}
		at = end
	}
	for p := at + 1; p+walHeader <= len(log); p++ {
		if _, durable, ok := walChunk(log, p, number); ok && durable > uint64(at) {
			return at, true
		}
	}
	return at, false
}

// walChunk reads the chunk at a place.
func walChunk(log []byte, at int, number uint32) (end int, durable uint64, ok bool) {
	if at+walHeader > len(log) {
		return 0, 0, false
	}
	header := log[at : at+walHeader]
	length := int(binary.LittleEndian.Uint16(header[4:]))
	end = at + walHeader + length
	switch {
	case header[6] < walFirstType || header[6] > walLastType,
		binary.LittleEndian.Uint32(header[7:]) != number,
		end > len(log) || at/walBlock != (end-1)/walBlock,
		binary.LittleEndian.Uint32(header) != walSum(log[at+6:end]):
		return 0, 0, false
	}
	return end, binary.LittleEndian.Uint64(header[11:]), true
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func walSum(b []byte) uint32 {
	c := crc32.Checksum(b, castagnoli)
	return (c>>15 | c<<17) + 0xa282ead8
}

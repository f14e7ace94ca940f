// Package factlog is an append-only log of records in segments: what Append has answered for is on disk, and one fsync serves all that wait for it.
//
// A segment is a file named after the offset of its first byte in the log, BASE.facts, 16 hexadecimal digits. All integers are little-endian:
//
//	header   magic "UBXFACTS" | version u32 | base u64 | created u64 (Unix microseconds) | CRC32C of the 28 bytes before it u32
//	record   length of the payload u32 | CRC32C of offset and length u32 | CRC32C of offset, length and payload u32 | payload
//
// Checksums cover the record's offset in the log (u64), so that a record that lies elsewhere is none. A segment that a write failed on, or that a crash left, is never written again: the log goes on in a new one, and what follows the last good record of the old one was
// acknowledged to nobody.
package factlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Version of the files. A file of another version is refused.
const Version = 1

const (
	magic        = "UBXFACTS"
	headerBytes  = 32
	recordHeader = 12
	suffix       = ".facts"
	category     = vfs.DiskWriteCategory("facts")

	// MaxRecord is the largest payload, in bytes.
	MaxRecord = 64 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Place is where a record lies: its offset in the log and the length of its payload.
type Place struct {
	Offset uint64
	Length uint32
}

// ErrGone says that a record's segment was dropped.
var ErrGone = errors.New("the record was dropped")

// ErrClosed says that the log was closed: nothing was written.
var ErrClosed = errors.New("the log of facts is closed: nothing was taken")

// CorruptError says that bytes are not what was written.
type CorruptError struct {
	Path   string
	Offset int64 // in the file
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s is damaged at byte %d: %s", e.Path, e.Offset, e.Reason)
}

// Options of a log.
type Options struct {
	FS           vfs.FS
	Directory    string
	SegmentBytes int64               // a segment that reaches it is ended
	SegmentAge   int64               // microseconds after which a segment is ended; 0: never
	Synced       func(time.Duration) // told how long a group took to be written and synced; may be nil
	ReadOnly     bool                // beside the process that writes
}

// Log is safe for concurrent use.
type Log struct {
	o Options

	mu       sync.Mutex // guards everything below; no file is touched under it except to open and drop segments
	turn     sync.Cond  // of mu: a group is done
	segments []*segment // by base
	active   *segment   // nil: the next group begins one
	next     uint64     // no segment reaches it
	group    *group     // records that wait to be written
	spare    [][]byte   // of groups that are done
	writing  bool
	closed   bool
}

type segment struct {
	base    uint64
	created int64
	path    string
	size    int64 // good bytes, header included
	w       vfs.File
	r       vfs.File
	pins    int // records that are not released
}

// group is records that are written and synced together.
type group struct {
	at    int64
	b     []byte // with room for headers
	ends  []int
	start uint64 // offset in the log, once it is written
	done  bool
	err   error
}

// Open finds the segments of a directory. Every record counts as released until Replay has seen it.
func Open(o Options) (*Log, error) {
	l := &Log{o: o}
	l.turn.L = &l.mu
	if !o.ReadOnly {
		if err := makeDirectory(o.FS, o.Directory); err != nil {
			return nil, err
		}
	}
	names, err := o.FS.List(o.Directory)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	for _, name := range names {
		base, err := strconv.ParseUint(strings.TrimSuffix(name, suffix), 16, 64)
		if err != nil || !strings.HasSuffix(name, suffix) {
			continue
		}
		if err := l.find(base, o.FS.PathJoin(o.Directory, name)); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	return l, nil
}

// makeDirectory makes a directory that is there after a power cut, and those above it.
func makeDirectory(fs vfs.FS, dir string) error {
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for above := fs.PathDir(dir); above != dir; dir, above = above, fs.PathDir(above) {
		d, err := fs.OpenDir(above)
		if err != nil {
			return nil //nolint:nilerr // a directory that can't be read was not made here
		}
		if err := errors.Join(d.Sync(), d.Close()); err != nil {
			return err
		}
	}
	return nil
}

// find adds a segment that is there.
func (l *Log) find(base uint64, path string) error {
	r, err := l.o.FS.Open(path)
	if err != nil {
		if l.o.ReadOnly && errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	info, err := r.Stat()
	if err != nil {
		return errors.Join(err, r.Close())
	}
	l.next = max(l.next, base+uint64(info.Size()))
	if info.Size() <= headerBytes { // nothing in it was acknowledged
		if err := r.Close(); err != nil || l.o.ReadOnly {
			return err
		}
		return l.o.FS.Remove(path)
	}
	s := &segment{base: base, path: path, size: info.Size(), r: r}
	if err := l.readHeader(s); err != nil {
		return errors.Join(err, r.Close())
	}
	l.segments = append(l.segments, s)
	return nil
}

// readHeader takes a segment without a whole header as one that was begun when the one before was: a power cut may have left it, and its records prove
// themselves.
func (l *Log) readHeader(s *segment) error {
	h := make([]byte, headerBytes)
	if _, err := s.r.ReadAt(h, 0); err != nil {
		return err
	}
	if n := len(l.segments); n > 0 {
		s.created = l.segments[n-1].created
	}
	if string(h[:8]) != magic || crc32.Checksum(h[:28], castagnoli) != binary.LittleEndian.Uint32(h[28:]) || binary.LittleEndian.Uint64(h[12:]) != s.base {
		return nil
	}
	if v := binary.LittleEndian.Uint32(h[8:]); v != Version {
		return fmt.Errorf("%s is of version %d, this program reads %d", s.path, v, Version)
	}
	s.created = int64(binary.LittleEndian.Uint64(h[20:]))
	return nil
}

// Close waits for the group that is being written.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.writing {
		l.turn.Wait()
	}
	l.closed = true
	l.turn.Broadcast()
	var errs []error
	for _, s := range l.segments {
		errs = append(errs, s.r.Close())
		if s.w != nil {
			errs = append(errs, s.w.Close())
		}
	}
	l.segments, l.active = nil, nil
	return errors.Join(errs...)
}

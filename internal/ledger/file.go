package ledger

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Buffers of files that are written and read whole, for the next ones: an hour's parts are small and many.
const fileBuffer = 256 << 10

var (
	writeBuffers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, fileBuffer) }}
	readBuffers  = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, fileBuffer) }}
)

// countingFile is a file that is being written. It counts and digests what it is given.
type countingFile struct {
	file  vfs.File // nil to count and digest alone
	out   *bufio.Writer
	bytes int64
	sum   hash.Hash

	sabotage sabotage
}

// countingFile writes to file; nil counts and digests alone.
func (l *Ledger) countingFile(file vfs.File) *countingFile {
	f := &countingFile{file: file, sum: sha256.New(), sabotage: l.o.sabotage}
	if file != nil {
		f.out = writeBuffers.Get().(*bufio.Writer)
		f.out.Reset(file)
	}
	return f
}

func (f *countingFile) Write(b []byte) (int, error) {
	f.bytes += int64(len(b))
	f.sum.Write(b)
	if f.out == nil {
		return len(b), nil
	}
	return f.out.Write(b)
}

func (f *countingFile) digest() string { return hex.EncodeToString(f.sum.Sum(nil)) }

// finish makes the file durable, but not its name. Nothing is written after it.
func (f *countingFile) finish() error {
	if f.file == nil {
		return nil
	}
	if err := f.out.Flush(); err != nil {
		return err
	}
	f.out.Reset(nil)
	writeBuffers.Put(f.out)
	f.out = nil
	if f.sabotage == skipFileSync {
		return nil
	}
	return f.file.Sync()
}

// writeFile makes a file at path in one step, under a temporary name first; the folder is not synced. A file that is there already is from an
// attempt before a crash and has to have the same content.
func (l *Ledger) writeFile(path string, write func(*countingFile) error) (written int64, err error) {
	file, err := l.o.FS.Create(path+temporary, vfs.WriteCategoryUnspecified)
	if err != nil {
		return 0, err
	}
	f := l.countingFile(file)
	err = write(f)
	if err == nil {
		err = f.finish()
	}
	if err = closeAfter(file, err); err == nil {
		err = l.appear(path, f.digest())
	}
	if err != nil {
		// What remains of it is overwritten by the next attempt; the error is the one that matters.
		_ = l.o.FS.Remove(path + temporary)
		return 0, err
	}
	return f.bytes, nil
}

// appear gives the file at path+temporary its name, unless it has it.
func (l *Ledger) appear(path, digest string) error {
	there, err := l.paths.exists(path)
	if err != nil {
		return err
	}
	if !there {
		return l.o.FS.Rename(path+temporary, path)
	}
	_, found, err := l.digestFile(path)
	if err != nil {
		return err
	}
	if found != digest {
		return corrupt(path, fmt.Errorf("it has the SHA-256 %s, what it was made of gives %s", found, digest))
	}
	return l.o.FS.Remove(path + temporary)
}

// digestFile reads a whole file.
func (l *Ledger) digestFile(path string) (size int64, digest string, err error) {
	file, err := l.o.FS.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return 0, "", err
	}
	sum := sha256.New()
	in := readBuffers.Get().(*bufio.Reader)
	in.Reset(file)
	size, err = in.WriteTo(sum)
	in.Reset(nil)
	readBuffers.Put(in)
	return size, hex.EncodeToString(sum.Sum(nil)), closeAfter(file, err)
}

// readAll reads a small file; it is empty when it is not there.
func (l *Ledger) readAll(path string) ([]byte, error) {
	text, err := readWhole(l.o.FS, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return text, err
}

// replaceFile gives path a new content in one step. It is for files that are not part of the ledger's promise.
func (l *Ledger) replaceFile(path string, content []byte) error {
	file, err := l.o.FS.Create(path+temporary, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err == nil {
		err = file.Sync()
	}
	if err = closeAfter(file, err); err != nil {
		return err
	}
	return l.o.FS.Rename(path+temporary, path)
}

package ledger

import (
	"errors"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// FS is what the ledger needs of a file system.
type FS interface {
	vfs.FS

	// Exchange swaps two folders in one step: whoever opens either sees the old or the new, never neither. The error is
	// ErrExchangeUnsupported where the file system can't.
	Exchange(a, b string) error
}

// ErrExchangeUnsupported says that a file system can't exchange two folders in one step.
var ErrExchangeUnsupported = errors.New("the file system can't exchange two folders in one step")

// OS is the operating system's file system.
var OS FS = osFS{vfs.Default}

type osFS struct{ vfs.FS }

func (osFS) Exchange(a, b string) error { return exchange(a, b) }

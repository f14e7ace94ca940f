// Package dirlock gives a directory of state one owner. The lock is the kernel's, so it ends with its process, however
// that ends; the file LOCK says for people whose it is. A command borrows a directory that nobody runs on: who comes meanwhile waits for it.
package dirlock

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	fileName = "LOCK"

	patience = 10 * time.Second       // how long a command is waited for
	signing  = 200 * time.Millisecond // in which whoever takes a directory has surely said who it is
	pause    = 20 * time.Millisecond  // between two attempts
)

// Holder is who has a directory.
type Holder struct {
	PID   int       `json:"pid"`
	Host  string    `json:"host"`
	Since time.Time `json:"since"`

	Borrows bool `json:"borrows,omitempty"` // it is a command, which ends soon
}

// ours says whether this process is the holder.
func (h Holder) ours() bool { return h.PID == os.Getpid() && h.Host == hostname() }

// HeldError says that a directory belongs to somebody else, perhaps to another part of this process.
type HeldError struct {
	What      string // what the directory is for, such as "the ledger's directory"
	Directory string
	Holder    Holder // zero when the holder could not be read
}

func (e *HeldError) Error() string {
	by, advice := "another process", "stop it, or set another directory"
	switch h := e.Holder; {
	case h.Borrows:
		by, advice = fmt.Sprintf("a command, process %d on %s (since %s)", h.PID, h.Host, h.Since.UTC().Format(time.RFC3339)), fmt.Sprintf("it was waited for for %v: start again when it has ended", patience)
	case h.ours():
		return fmt.Sprintf("%s %s is in use by this process already (process %d): give each user of it a directory of its own", e.What, e.Directory, h.PID)
	case h.PID != 0:
		by = fmt.Sprintf("process %d on %s (since %s)", h.PID, h.Host, h.Since.UTC().Format(time.RFC3339))
	}
	return fmt.Sprintf("%s %s is in use by %s: %s", e.What, e.Directory, by, advice)
}

// Lock is a directory that is ours until Release.
type Lock struct{ file *os.File }

// Acquire makes dir if it is missing and takes it. It waits up to ten seconds for a command that has borrowed it, and for another owner only
// the 200 ms in which one that has just come says who it is. what names the directory's purpose in errors. The error is a *HeldError when somebody else has it.
func Acquire(dir, what string) (*Lock, error) { return wait(dir, what, false) }

// Borrow is Acquire for a command, which gives the directory up soon.
func Borrow(dir, what string) (*Lock, error) { return wait(dir, what, true) }

func wait(dir, what string, borrows bool) (*Lock, error) {
	for waited := time.Duration(0); ; waited += pause {
		l, err := take(dir, what, borrows)
		held := (*HeldError)(nil)
		if !errors.As(err, &held) || waited >= patience || waited >= signing && !held.Holder.Borrows {
			return l, err
		}
		time.Sleep(pause)
	}
}

func take(dir, what string, borrows bool) (*Lock, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, unusable(dir, what, err)
	}
	file, err := os.OpenFile(filepath.Join(dir, fileName), os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, unusable(dir, what, err)
	}
	if err := lock(file); err != nil {
		defer file.Close()
		if !errors.Is(err, errHeld) {
			return nil, unusable(dir, what, err)
		}
		held := &HeldError{What: what, Directory: dir}
		// Read after the attempt: who took it wrote it. What can't be read stays unknown.
		_ = json.NewDecoder(io.LimitReader(file, 1<<12)).Decode(&held.Holder)
		return nil, held
	}
	if err := sign(file, borrows); err != nil {
		file.Close()
		return nil, unusable(dir, what, err)
	}
	return &Lock{file}, nil
}

func sign(file *os.File, borrows bool) error {
	text, err := json.Marshal(Holder{PID: os.Getpid(), Host: hostname(), Since: time.Now().UTC().Truncate(time.Second), Borrows: borrows})
	if err != nil {
		return err
	}
	if err := file.Truncate(0); err != nil {
		return err
	}
	_, err = file.WriteAt(append(text, '\n'), 0)
	return err
}

// Release gives the directory up. Further calls do nothing.
func (l *Lock) Release() error {
	if l == nil || l.file == nil {
		return nil
	}
	file := l.file
	l.file = nil
	return file.Close()
}

func unusable(dir, what string, err error) error {
	cause := err
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		cause = path.Err
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s %s can't be written (%w): give this user the right to write there, or set another directory", what, dir, cause)
	default:
		return fmt.Errorf("%s %s can't be used: %w", what, dir, cause)
	}
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown host"
	}
	return name
}

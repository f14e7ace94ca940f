//go:build unix

package pricingprocessor

import (
	"io/fs"
	"strconv"
	"syscall"
)

// inode tells a file from another one that took its name.
func inode(info fs.FileInfo) string {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return strconv.FormatUint(uint64(s.Ino), 10) //nolint:unconvert // it is 32 bits wide elsewhere
	}
	return ""
}

package offheap

import "golang.org/x/sys/unix"

// preferLargePages asks for pages of 2 MiB. A system that has none gives small ones.
func preferLargePages(bytes []byte) { _ = unix.Madvise(bytes, unix.MADV_HUGEPAGE) }

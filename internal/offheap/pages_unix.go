//go:build unix

package offheap

import "golang.org/x/sys/unix"

func allocate(size int) ([]byte, error) {
	bytes, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err == nil {
		preferLargePages(bytes)
	}
	return bytes, err
}

func release(bytes []byte) error { return unix.Munmap(bytes) }

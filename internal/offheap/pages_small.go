//go:build unix && !linux

package offheap

func preferLargePages([]byte) {}

package main

import (
	"io/fs"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// gcPercent lets the heap grow further between collections than Go's default of 100: what lives is small and of a bounded size, caches mostly, and each event
// passes by once. GOGC in the environment goes before it.
const gcPercent = 200

// boundMemory lets garbage be collected more often when the heap comes near what the process may have, so that room for garbage is no reason to be killed. GOMEMLIMIT
// in the environment goes before it.
func boundMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if limit := cgroupLimit(os.DirFS("/")); limit < math.MaxInt64 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(limit - limit/8) // what is not Go's heap, files that are mapped included
	}
}

// cgroupLimit is the memory that the process's control group (version 2), and each above it, may have; MaxInt64 when there is no limit.
func cgroupLimit(root fs.FS) int64 {
	limit := int64(math.MaxInt64)
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return limit
	}
	for line := range strings.Lines(string(groups)) {
		group, ok := strings.CutPrefix(strings.TrimSpace(line), "0::/")
		if !ok {
			continue
		}
		for group = path.Clean(group); ; group = path.Dir(group) {
			text, err := fs.ReadFile(root, path.Join("sys/fs/cgroup", group, "memory.max"))
			if n, bad := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && bad == nil && n > 0 {
				limit = min(limit, n)
			}
			if group == "." {
				break
			}
		}
	}
	return limit
}

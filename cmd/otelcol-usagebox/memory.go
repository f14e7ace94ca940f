package main

import (
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

const (
	// gcPercent lets the heap grow further between collections than Go's default of 100: what lives is small and of a bounded size, caches mostly, and each event
	// passes by once. GOGC in the environment goes before it.
	gcPercent = 200

	// memoryShare is how much of a control group's limit Go may use; the rest is for what is not its heap: the events of which the ledger makes a part, an eighth of the
	// limit at most, and files that are mapped.
	memoryShare = 0.75
)

// boundMemory lets garbage be collected more often when the heap comes near what the process's control group may have, so that room for garbage is no reason to be
// killed. GOMEMLIMIT in the environment goes before it.
func boundMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	_, _ = memlimit.SetGoMemLimitWithOpts(memlimit.WithRatio(memoryShare), memlimit.WithProvider(memlimit.FromCgroup)) // where there is no limit, none is set
}

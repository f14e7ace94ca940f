package ledger

import (
	"slices"
	"testing"
)

// simEveryOperation is a life of a ledger in which the machine dies at the n-th operation of one of its rounds.
func simEveryOperation(round string, n int, unsynced int) []simStep {
	steps := []simStep{{Op: "ingest", Seed: 1}, {Op: "ingest", Seed: 2}, {Op: "flush"}, {Op: "ingest", Seed: 3}, {Op: "correct", Seed: 4}}
	switch round {
	case "seal":
		steps = append(steps, simStep{Op: "later"})
	case "late":
		steps = append(steps, simStep{Op: "later"}, simStep{Op: "seal"}, simStep{Op: "late", Seed: 5}, simStep{Op: "later"})
		round = "seal"
	case "merge": // the second seal of late usage, and the merge of the two
		for seed := range uint64(2) {
			steps = append(steps, simStep{Op: "later"}, simStep{Op: "seal"}, simStep{Op: "old", Seed: 5 + seed}, simStep{Op: "flush"}, simStep{Op: "later"})
		}
		round = "seal"
	case "day":
		steps = append(steps, simStep{Op: "later"}, simStep{Op: "seal"}, simStep{Op: "old", Seed: 5}, simStep{Op: "night"})
		round = "seal"
	case "days": // the third daily part, which takes the place of the two before
		steps = append(steps, simStep{Op: "midnight"})
		for seed := range uint64(2) {
			steps = append(steps, simStep{Op: "old", Seed: 5 + seed}, simStep{Op: "flush"}, simStep{Op: "later"})
			if seed == 0 {
				steps = append(steps, simStep{Op: "seal"})
			}
		}
		round = "seal"
	case "leave":
		steps = append(steps, simStep{Op: "later"}, simStep{Op: "seal"}, simStep{Op: "later"}, simStep{Op: "old", Seed: 5}, simStep{Op: "retain", Seed: 5}, simStep{Op: "later"})
	}
	steps = append(steps, simStep{Op: round, Seed: 6, Fault: &simFault{Kind: "crash", After: n, Unsynced: unsynced}})
	return append(steps, simStep{Op: "retry", Seed: 7})
}

const (
	simOperations = 140    // more than any of simRounds has
	simAll        = 10_000 // seeds from which on everything is tried that takes long
)

// skipRaced leaves tests of thousands of lives, in each of which one goroutine at a time works, to a run without the race detector.
func skipRaced(t *testing.T) {
	if raceEnabled {
		t.Skip("runs without the race detector")
	}
}

var simRounds = []string{"ingest", "restart", "late", "merge", "leave", "day", "days", "flush", "seal"}

func TestDyingAtAnyOperationLosesNothing(t *testing.T) {
	skipRaced(t)
	for _, round := range simRounds {
		t.Run(round, func(t *testing.T) {
			t.Parallel()
			survive, step := []int{0}, 5
			if *simSeeds >= simAll {
				survive, step = []int{0, 50, 100}, 1
			}
			for n := 0; n < simOperations; n += step {
				for _, unsynced := range survive {
					if _, err := simulate(simEveryOperation(round, n, unsynced), 0); err != nil {
						t.Fatalf("operation %d, %d%% of unsynced data survives: %v", n, unsynced, err)
					}
				}
			}
		})
	}
}

// TestPlantedBugsAreFound shows that the simulation can fail: each of these bugs is found.
func TestPlantedBugsAreFound(t *testing.T) {
	skipRaced(t)
	const seeds = 40
	names := [sabotages]string{
		ackBeforeSync: "answers before the fsync", skipFolderSync: "a folder is not synced", skipFileSync: "a file is not synced",
		doneBeforeMade: "a part is recorded before it is made", sealBeforeExchange: "a seal is recorded before the folders are exchanged",
		lateNotRolledUp: "late usage doesn't enter the totals", forgetSealedIDs: "ids of sealed hours are forgotten",
		sealTakesAll: "a seal removes what came after it was planned", retractTwice: "a retraction works twice",
		answerFailure: "a failed commit is answered as durable", reuseNames: "a name is used twice",
		forgetWaiting: "a waiting correction is not applied", totalsApart: "totals and part are recorded apart",
		mergeBeforeExchange: "a merge is recorded before the folders are exchanged", mergeSkipsLast: "a merge leaves a part out",
		leaveUnrecorded: "files leave before the chain says so", leaveEarly: "files leave too early", leaveForgets: "what left is forgotten",
		dayBeforeSeals: "a day is summed before its hours are sealed", dailyTwice: "a sealed part enters two daily parts",
		dailyBeforeFile: "a daily part is recorded before its file is there",
		idsBeforeTable:  "ids are said to be in a table that is not there", sealDropsIDs: "a seal drops ids that are in no table",
	}
	// Bugs that hardly a seed finds are looked for first where the machine has to die for them.
	rare := map[sabotage]string{mergeBeforeExchange: "merge", leaveUnrecorded: "leave"}
	for plant := sabotage(1); plant < sabotages; plant++ {
		t.Run(names[plant], func(t *testing.T) {
			t.Parallel()
			if round := rare[plant]; round != "" && diesOf(t, plant, round) {
				return
			}
			for seed := uint64(1); seed <= seeds; seed++ {
				if _, err := simulate(simPlan(seed), plant); err != nil {
					t.Logf("found by seed %d: %.200v", seed, err)
					return
				}
			}
			if !slices.ContainsFunc(simRounds, func(round string) bool { return diesOf(t, plant, round) }) {
				t.Error("not found")
			}
		})
	}
}

// diesOf says whether a bug is found by a machine that dies somewhere in a round.
func diesOf(t *testing.T, plant sabotage, round string) bool {
	for n := range simOperations {
		if _, err := simulate(simEveryOperation(round, n, 0), plant); err != nil {
			t.Logf("found at operation %d of %s: %.200v", n, round, err)
			return true
		}
	}
	return false
}

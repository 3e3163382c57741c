//go:build race

package block

// raceEnabled skips counts of allocations: the detector makes its own.
const raceEnabled = true

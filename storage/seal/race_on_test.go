//go:build race

package seal

// raceEnabled skips counts of allocations: the detector makes its own.
const raceEnabled = true

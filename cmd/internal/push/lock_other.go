//go:build !unix || solaris || aix

package push

import "os"

// lock does nothing where flock(2) is missing: keep to one push per state file.
func lock(*os.File) error { return nil }

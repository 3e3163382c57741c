package bench

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Usage is what a directory takes on disk, in allocated bytes.
type Usage struct {
	Total int64            `json:"total"`
	Parts map[string]int64 `json:"parts"` // by the first two path elements
}

// usage adds up dir. Files that vanish meanwhile count nothing.
func usage(dir string) (Usage, error) {
	u := Usage{Parts: map[string]int64{}}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		part := filepath.Dir(rel)
		if e := strings.Split(part, string(filepath.Separator)); len(e) > 2 {
			part = filepath.Join(e[:2]...)
		}
		n := allocated(info)
		u.Total += n
		u.Parts[part] += n
		return nil
	})
	return u, err
}

// copyDir copies regular files and directories with their modes; holes stay
// holes, since Badger's mapped files are mostly that.
func copyDir(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(target, info.Mode().Perm()|0o700)
		}
		if !info.Mode().IsRegular() {
			return nil
		}
		return copyFile(path, target, info)
	})
}

func copyFile(from, to string, info fs.FileInfo) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, info.Mode().Perm())
	if err != nil {
		return err
	}
	defer out.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := io.ReadFull(in, buf)
		if n > 0 {
			if zero(buf[:n]) {
				_, werr := out.Seek(int64(n), io.SeekCurrent)
				if werr != nil {
					return werr
				}
			} else if _, werr := out.Write(buf[:n]); werr != nil {
				return werr
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	return out.Truncate(info.Size())
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

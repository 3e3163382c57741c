package faults

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"unsafe"
)

// disk is a small ext4 file system in a file, mounted by loop.
type disk struct {
	t     *testing.T
	image string
	mount string
}

// newDisk makes and mounts a file system of so many MiB, or skips the test.
func newDisk(t *testing.T, dir string, mib int) *disk {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root for a file system of its own")
	}
	for _, name := range []string{"mkfs.ext4", "mount", "umount"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("needs %s", name)
		}
	}
	d := &disk{t: t, image: filepath.Join(dir, "image"), mount: filepath.Join(dir, "mount")}
	f, err := os.Create(d.image)
	if err == nil {
		err = f.Truncate(int64(mib) << 20)
		_ = f.Close()
	}
	if err == nil {
		err = os.Mkdir(d.mount, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", "-m", "0", d.image).CombinedOutput(); err != nil {
		t.Fatalf("mkfs: %v: %s", err, out)
	}
	if err := d.attach(); err != nil {
		t.Skipf("cannot mount a loop device: %v", err)
	}
	t.Cleanup(d.detach)
	return d
}

func (d *disk) attach() error {
	if out, err := exec.Command("mount", "-o", "loop", d.image, d.mount).CombinedOutput(); err != nil {
		return fmt.Errorf("mount: %w: %s", err, out)
	}
	return nil
}

func (d *disk) detach() {
	if out, err := exec.Command("umount", d.mount).CombinedOutput(); err != nil {
		d.t.Logf("umount: %v: %s", err, out)
	}
}

// EXT4_IOC_SHUTDOWN of linux/fs/ext4/ext4.h: _IOR('X', 125, __u32), with
// EXT4_GOING_FLAGS_NOLOGFLUSH: what is not on the disk stays off it, the
// journal included.
const (
	ext4Shutdown   = 2<<30 | 4<<16 | 'X'<<8 | 125
	ext4NoLogFlush = 2
)

// cut takes the power away: from here on nothing reaches the disk.
func (d *disk) cut() error {
	f, err := os.Open(d.mount)
	if err != nil {
		return err
	}
	defer f.Close()
	how := uint32(ext4NoLogFlush)
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), ext4Shutdown, uintptr(unsafe.Pointer(&how))); e != 0 {
		return fmt.Errorf("EXT4_IOC_SHUTDOWN: %w", e)
	}
	return nil
}

// free is what is left, in bytes.
func (d *disk) free() int64 {
	var st syscall.Statfs_t
	if err := syscall.Statfs(d.mount, &st); err != nil {
		d.t.Fatal(err)
	}
	return int64(st.Bavail) * int64(st.Bsize)
}

// ballast takes space until so many bytes are left.
func (d *disk) ballast(n int, left int64) {
	d.t.Helper()
	f, err := os.Create(filepath.Join(d.mount, "ballast-"+strconv.Itoa(n)))
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	if take := d.free() - left; take > 0 {
		if err := syscall.Fallocate(int(f.Fd()), 0, 0, take); err != nil && err != syscall.ENOSPC {
			d.t.Fatal(err)
		}
	}
}

// relieve gives all ballast back.
func (d *disk) relieve() {
	names, _ := filepath.Glob(filepath.Join(d.mount, "ballast-*"))
	for _, n := range names {
		if err := os.Remove(n); err != nil {
			d.t.Fatal(err)
		}
	}
}

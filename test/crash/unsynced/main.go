// A file system in memory that knows what a power cut would leave of it.
//
// Started as `unsynced <folder to mount on> <folder for what is left> <states>`. Each line on standard input is a cut:
// what would be left is written as folders 0, 1, 2 … below a folder named like the line, and the line is answered.
// Folder 0 has only what was synced: bytes as of the last fsync of their file, names as of the last fsync of their
// folder. In the others, a throw of the dice for each page and each name has let more of it reach the disk, in no order.
// The end of standard input ends the program.
package main

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// One lock for all: a cut is a single moment.
var world sync.Mutex

type node interface {
	fs.InodeEmbedder
	// leave writes what is left of it to a path; a nil dice: only what was synced.
	leave(path string, dice *rand.Rand) error
}

type file struct {
	fs.Inode
	data   []byte
	synced []byte
	mode   uint32
}

type folder struct {
	fs.Inode
	names  map[string]node
	synced map[string]node
	mode   uint32
}

func newFolder(mode uint32) *folder {
	return &folder{names: map[string]node{}, synced: map[string]node{}, mode: mode}
}

// Files

func (f *file) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	world.Lock()
	defer world.Unlock()
	if flags&syscall.O_TRUNC != 0 {
		f.data = nil
	}
	return nil, fuse.FOPEN_KEEP_CACHE, 0
}

func (f *file) Read(ctx context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	world.Lock()
	defer world.Unlock()
	if off >= int64(len(f.data)) {
		return fuse.ReadResultData(nil), 0
	}
	return fuse.ReadResultData(dest[:copy(dest, f.data[off:])]), 0
}

func (f *file) Write(ctx context.Context, _ fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	world.Lock()
	defer world.Unlock()
	f.resize(max(len(f.data), int(off)+len(data)))
	return uint32(copy(f.data[off:], data)), 0
}

func (f *file) resize(size int) {
	if size <= len(f.data) {
		f.data = f.data[:size:size]
		return
	}
	f.data = append(f.data, make([]byte, size-len(f.data))...)
}

func (f *file) Fsync(ctx context.Context, _ fs.FileHandle, flags uint32) syscall.Errno {
	world.Lock()
	defer world.Unlock()
	f.synced = append([]byte(nil), f.data...)
	return 0
}

func (f *file) Flush(ctx context.Context, _ fs.FileHandle) syscall.Errno { return 0 }

func (f *file) Getattr(ctx context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	world.Lock()
	defer world.Unlock()
	f.describe(&out.Attr)
	return 0
}

func (f *file) Setattr(ctx context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	world.Lock()
	defer world.Unlock()
	if size, ok := in.GetSize(); ok {
		f.resize(int(size))
	}
	if mode, ok := in.GetMode(); ok {
		f.mode = mode & 0o777
	}
	f.describe(&out.Attr)
	return 0
}

func (f *file) describe(attr *fuse.Attr) {
	attr.Mode = syscall.S_IFREG | f.mode
	attr.Size = uint64(len(f.data))
	attr.Nlink = 1
}

const pageBytes = 4096

func (f *file) leave(path string, dice *rand.Rand) error {
	return os.WriteFile(path, f.left(dice), 0o600)
}

func (f *file) left(dice *rand.Rand) []byte {
	if dice == nil {
		return f.synced
	}
	size := len(f.synced)
	if dice.IntN(2) == 0 {
		size = len(f.data)
	}
	left := make([]byte, size)
	copy(left, f.synced)
	for at := 0; at < min(size, len(f.data)); at += pageBytes {
		if dice.IntN(2) == 0 {
			copy(left[at:min(at+pageBytes, size)], f.data[at:])
		}
	}
	return left
}

// Folders

func (d *folder) add(ctx context.Context, name string, made node, mode uint32, out *fuse.EntryOut) *fs.Inode {
	inode := d.NewPersistentInode(ctx, made, fs.StableAttr{Mode: mode})
	d.names[name] = made
	out.Attr.Mode = mode
	return inode
}

func (d *folder) Create(ctx context.Context, name string, flags uint32, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	world.Lock()
	defer world.Unlock()
	made := &file{mode: mode & 0o777}
	inode := d.add(ctx, name, made, syscall.S_IFREG|made.mode, out)
	return inode, nil, fuse.FOPEN_KEEP_CACHE, 0
}

func (d *folder) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	world.Lock()
	defer world.Unlock()
	made := newFolder(mode & 0o777)
	return d.add(ctx, name, made, syscall.S_IFDIR|made.mode, out), 0
}

func (d *folder) Link(ctx context.Context, target fs.InodeEmbedder, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	world.Lock()
	defer world.Unlock()
	same, ok := target.(*file)
	if !ok {
		return nil, syscall.EPERM
	}
	if _, isThere := d.names[name]; isThere {
		return nil, syscall.EEXIST
	}
	d.names[name] = same
	same.describe(&out.Attr)
	return same.EmbeddedInode(), 0
}

func (d *folder) Unlink(ctx context.Context, name string) syscall.Errno {
	world.Lock()
	defer world.Unlock()
	delete(d.names, name)
	return 0
}

func (d *folder) Rmdir(ctx context.Context, name string) syscall.Errno {
	world.Lock()
	defer world.Unlock()
	if inner, ok := d.names[name].(*folder); ok && len(inner.names) > 0 {
		return syscall.ENOTEMPTY
	}
	delete(d.names, name)
	return 0
}

func (d *folder) Rename(ctx context.Context, name string, parent fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	world.Lock()
	defer world.Unlock()
	target, ok := parent.(*folder)
	if !ok || flags != 0 {
		return syscall.EINVAL
	}
	moved := d.names[name]
	delete(d.names, name)
	target.names[newName] = moved
	return 0
}

func (d *folder) Fsync(ctx context.Context, _ fs.FileHandle, flags uint32) syscall.Errno {
	world.Lock()
	defer world.Unlock()
	d.synced = map[string]node{}
	for name, one := range d.names {
		d.synced[name] = one
	}
	return 0
}

func (d *folder) Getattr(ctx context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Attr.Mode = syscall.S_IFDIR | d.mode
	return 0
}

func (d *folder) Setattr(ctx context.Context, f fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if mode, ok := in.GetMode(); ok {
		d.mode = mode & 0o777
	}
	return d.Getattr(ctx, f, out)
}

func (d *folder) Statfs(ctx context.Context, out *fuse.StatfsOut) syscall.Errno {
	out.Bsize, out.Frsize, out.NameLen = pageBytes, pageBytes, 255
	out.Blocks, out.Bfree, out.Bavail = 1<<24, 1<<24, 1<<24
	return 0
}

func (d *folder) leave(path string, dice *rand.Rand) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	left := d.left(dice)
	for _, name := range sorted(left) {
		if err := left[name].leave(filepath.Join(path, name), dice); err != nil {
			return err
		}
	}
	return nil
}

func (d *folder) left(dice *rand.Rand) map[string]node {
	if dice == nil {
		return d.synced
	}
	left := map[string]node{}
	for _, name := range sorted(d.synced) {
		if d.names[name] == d.synced[name] || dice.IntN(2) == 0 {
			left[name] = d.synced[name]
		}
	}
	for _, name := range sorted(d.names) {
		if d.names[name] == d.synced[name] || dice.IntN(2) == 0 {
			left[name] = d.names[name]
		}
	}
	return left
}

// In order, so that a throw of the dice can be repeated.
func sorted(names map[string]node) []string {
	list := make([]string, 0, len(names))
	for name := range names {
		list = append(list, name)
	}
	sort.Strings(list)
	return list
}

func cut(root *folder, out string, states int) error {
	world.Lock()
	defer world.Unlock()
	for state := range states {
		var dice *rand.Rand
		if state > 0 {
			dice = rand.New(rand.NewPCG(uint64(state), 0))
		}
		if err := root.leave(filepath.Join(out, strconv.Itoa(state)), dice); err != nil {
			return err
		}
	}
	return nil
}

func run(mountpoint, out string, states int) error {
	root := newFolder(0o700)
	server, err := fs.Mount(mountpoint, root, &fs.Options{
		MountOptions: fuse.MountOptions{Name: "unsynced", FsName: "unsynced", DirectMount: true},
	})
	if err != nil {
		return err
	}
	defer server.Unmount()
	fmt.Println("mounted")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if err := cut(root, filepath.Join(out, lines.Text()), states); err != nil {
			return err
		}
		fmt.Println(lines.Text())
	}
	return lines.Err()
}

func main() {
	states, err := strconv.Atoi(os.Args[3])
	if err == nil {
		err = run(os.Args[1], os.Args[2], states)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "unsynced:", err)
		os.Exit(1)
	}
}

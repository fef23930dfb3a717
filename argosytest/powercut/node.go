//go:build linux

package powercut

import (
	"context"
	"maps"
	"slices"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// node is an inode as the mount shows it.
type node struct {
	fs.Inode
	disk  *disk
	inode *inode
}

// handle is an open file. always: every write through it is an fsync (O_SYNC, O_DSYNC).
type handle struct{ always bool }

const blockSize = 512 // of stat's count of blocks

func (n *inode) attr(out *fuse.Attr) {
	out.Ino, out.Mode, out.Nlink = n.number, n.mode, uint32(n.links)
	out.Uid, out.Gid = n.uid, n.gid
	out.Size, out.Blksize = uint64(n.live.size), pageSize
	if n.names == nil {
		out.Blocks = uint64(pagesOf(n.live.size) * pageSize / blockSize)
	}
	if n.target != "" {
		out.Size = uint64(len(n.target))
	}
	out.SetTimes(&n.atime, &n.mtime, &n.mtime)
}

// show returns a file of the disk as a child of this directory.
func (n *node) show(ctx context.Context, child *inode, out *fuse.EntryOut) *fs.Inode {
	child.attr(&out.Attr)
	return n.NewInode(ctx, &node{disk: n.disk, inode: child}, fs.StableAttr{Mode: child.mode & syscall.S_IFMT, Ino: child.number})
}

func (n *node) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if e := n.disk.enter(ctx); e != 0 {
		return nil, e
	}
	defer n.disk.mu.Unlock()
	child := n.inode.names[name]
	if child == nil {
		return nil, syscall.ENOENT
	}
	return n.show(ctx, child, out), 0
}

func (n *node) Getattr(ctx context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	if e := n.disk.enter(ctx); e != 0 {
		return e
	}
	defer n.disk.mu.Unlock()
	n.inode.attr(&out.Attr)
	return 0
}

func (n *node) Setattr(ctx context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if e := n.disk.enter(ctx); e != 0 {
		return e
	}
	defer n.disk.mu.Unlock()
	if mode, ok := in.GetMode(); ok {
		n.inode.mode = n.inode.mode&syscall.S_IFMT | mode&^syscall.S_IFMT
	}
	if uid, ok := in.GetUID(); ok {
		n.inode.uid = uid
	}
	if gid, ok := in.GetGID(); ok {
		n.inode.gid = gid
	}
	if size, ok := in.GetSize(); ok {
		n.inode.truncate(int64(size))
	}
	if at, ok := in.GetATime(); ok {
		n.inode.atime = at
	}
	if at, ok := in.GetMTime(); ok {
		n.inode.mtime = at
	}
	n.inode.attr(&out.Attr)
	return 0
}

// add makes a file under a name that is free.
func (n *node) add(ctx context.Context, name string, child *inode) {
	if caller, ok := fuse.FromContext(ctx); ok {
		child.uid, child.gid = caller.Uid, caller.Gid
	}
	if child.names != nil {
		n.inode.links++
	}
	n.disk.change(change{{n.inode, name, child}})
}

func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	if e := n.disk.enter(ctx); e != 0 {
		return nil, nil, 0, e
	}
	defer n.disk.mu.Unlock()
	child := n.inode.names[name]
	switch {
	case child == nil:
		child = n.disk.make(syscall.S_IFREG | mode&^syscall.S_IFMT)
		n.add(ctx, name, child)
	case flags&syscall.O_EXCL != 0:
		return nil, nil, 0, syscall.EEXIST
	}
	if flags&syscall.O_TRUNC != 0 {
		child.truncate(0)
	}
	return n.show(ctx, child, out), opened(flags), fuse.FOPEN_KEEP_CACHE, 0
}

func opened(flags uint32) handle {
	return handle{always: flags&(syscall.O_SYNC|syscall.O_DSYNC) != 0}
}

func (n *node) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if e := n.disk.enter(ctx); e != 0 {
		return nil, 0, e
	}
	defer n.disk.mu.Unlock()
	if flags&syscall.O_TRUNC != 0 {
		n.inode.truncate(0)
	}
	return opened(flags), fuse.FOPEN_KEEP_CACHE, 0
}

func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if e := n.disk.enter(ctx); e != 0 {
		return nil, e
	}
	defer n.disk.mu.Unlock()
	if n.inode.names[name] != nil {
		return nil, syscall.EEXIST
	}
	child := n.disk.make(syscall.S_IFDIR | mode&^syscall.S_IFMT)
	n.add(ctx, name, child)
	return n.show(ctx, child, out), 0
}

func (n *node) Symlink(ctx context.Context, target, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if e := n.disk.enter(ctx); e != 0 {
		return nil, e
	}
	defer n.disk.mu.Unlock()
	if n.inode.names[name] != nil {
		return nil, syscall.EEXIST
	}
	child := n.disk.make(syscall.S_IFLNK | 0o777)
	child.target = target
	n.add(ctx, name, child)
	return n.show(ctx, child, out), 0
}

func (n *node) Readlink(ctx context.Context) ([]byte, syscall.Errno) {
	if e := n.disk.enter(ctx); e != 0 {
		return nil, e
	}
	defer n.disk.mu.Unlock()
	return []byte(n.inode.target), 0
}

func (n *node) Link(ctx context.Context, target fs.InodeEmbedder, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if e := n.disk.enter(ctx); e != 0 {
		return nil, e
	}
	defer n.disk.mu.Unlock()
	if n.inode.names[name] != nil {
		return nil, syscall.EEXIST
	}
	to := target.(*node).inode
	to.links++
	n.disk.change(change{{n.inode, name, to}})
	return n.show(ctx, to, out), 0
}

func (n *node) Unlink(ctx context.Context, name string) syscall.Errno {
	if e := n.disk.enter(ctx); e != 0 {
		return e
	}
	defer n.disk.mu.Unlock()
	child := n.inode.names[name]
	if child == nil {
		return syscall.ENOENT
	}
	child.links--
	n.disk.change(change{{n.inode, name, nil}})
	return 0
}

func (n *node) Rmdir(ctx context.Context, name string) syscall.Errno {
	if e := n.disk.enter(ctx); e != 0 {
		return e
	}
	defer n.disk.mu.Unlock()
	child := n.inode.names[name]
	switch {
	case child == nil:
		return syscall.ENOENT
	case len(child.names) > 0:
		return syscall.ENOTEMPTY
	}
	child.links = 0
	n.inode.links--
	n.disk.change(change{{n.inode, name, nil}})
	return 0
}

// renameNoReplace is RENAME_NOREPLACE of renameat2.
const renameNoReplace = 1

func (n *node) Rename(ctx context.Context, name string, newParent fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	if e := n.disk.enter(ctx); e != 0 {
		return e
	}
	defer n.disk.mu.Unlock()
	into := newParent.(*node).inode
	moved, replaced := n.inode.names[name], into.names[newName]
	switch {
	case flags&^renameNoReplace != 0:
		return syscall.EINVAL
	case moved == nil:
		return syscall.ENOENT
	case moved == replaced:
		return 0
	case replaced != nil && flags == renameNoReplace:
		return syscall.EEXIST
	case replaced != nil && len(replaced.names) > 0:
		return syscall.ENOTEMPTY
	}
	if moved.names != nil {
		n.inode.links--
		into.links++
	}
	if replaced != nil {
		replaced.links--
		if replaced.names != nil {
			into.links--
		}
	}
	n.disk.change(change{{n.inode, name, nil}, {into, newName, moved}})
	return 0
}

func (n *node) Readdir(ctx context.Context) (fs.DirStream, syscall.Errno) {
	if e := n.disk.enter(ctx); e != 0 {
		return nil, e
	}
	defer n.disk.mu.Unlock()
	var list []fuse.DirEntry
	for _, name := range slices.Sorted(maps.Keys(n.inode.names)) {
		child := n.inode.names[name]
		list = append(list, fuse.DirEntry{Name: name, Mode: child.mode & syscall.S_IFMT, Ino: child.number})
	}
	return fs.NewListDirStream(list), 0
}

func (n *node) Read(ctx context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	if e := n.disk.enter(ctx); e != 0 {
		return nil, e
	}
	defer n.disk.mu.Unlock()
	return fuse.ReadResultData(dest[:n.inode.live.read(dest, off)]), 0
}

func (n *node) Write(ctx context.Context, h fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	if e := n.disk.enter(ctx); e != 0 {
		return 0, e
	}
	defer n.disk.mu.Unlock()
	dice := n.disk.dice
	if n.disk.config.Clean {
		dice = nil
	}
	n.inode.write(data, off, dice)
	if h, ok := h.(handle); ok && h.always {
		n.disk.sync(n.inode)
	}
	return uint32(len(data)), 0
}

// Fsync is fsync and fdatasync, of files and directories: what they differ in,
// times, is not modelled.
func (n *node) Fsync(ctx context.Context, _ fs.FileHandle, _ uint32) syscall.Errno {
	if e := n.disk.enter(ctx); e != 0 {
		return e
	}
	defer n.disk.mu.Unlock()
	n.disk.sync(n.inode)
	return 0
}

// Flush is a close, which makes nothing durable.
func (n *node) Flush(context.Context, fs.FileHandle) syscall.Errno { return 0 }

// keepSize is FALLOC_FL_KEEP_SIZE.
const keepSize = 1

func (n *node) Allocate(ctx context.Context, _ fs.FileHandle, off, size uint64, mode uint32) syscall.Errno {
	if e := n.disk.enter(ctx); e != 0 {
		return e
	}
	defer n.disk.mu.Unlock()
	if mode&^keepSize != 0 {
		return syscall.EOPNOTSUPP
	}
	if mode == 0 && int64(off+size) > n.inode.live.size {
		n.inode.truncate(int64(off + size))
	}
	return 0
}

// Statfs says that there is room: 64 GiB, all of it free.
func (n *node) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	const room = 64 << 30 / pageSize
	out.Blocks, out.Bfree, out.Bavail = room, room, room
	out.Files, out.Ffree = 1<<20, 1<<20
	out.Bsize, out.Frsize, out.NameLen = pageSize, pageSize, 255
	return 0
}

// Everything is by the interfaces of the library: a method whose signature is
// not theirs would never be called.
var (
	_ fs.NodeLookuper   = (*node)(nil)
	_ fs.NodeGetattrer  = (*node)(nil)
	_ fs.NodeSetattrer  = (*node)(nil)
	_ fs.NodeCreater    = (*node)(nil)
	_ fs.NodeOpener     = (*node)(nil)
	_ fs.NodeMkdirer    = (*node)(nil)
	_ fs.NodeSymlinker  = (*node)(nil)
	_ fs.NodeReadlinker = (*node)(nil)
	_ fs.NodeLinker     = (*node)(nil)
	_ fs.NodeUnlinker   = (*node)(nil)
	_ fs.NodeRmdirer    = (*node)(nil)
	_ fs.NodeRenamer    = (*node)(nil)
	_ fs.NodeReaddirer  = (*node)(nil)
	_ fs.NodeReader     = (*node)(nil)
	_ fs.NodeWriter     = (*node)(nil)
	_ fs.NodeFsyncer    = (*node)(nil)
	_ fs.NodeFlusher    = (*node)(nil)
	_ fs.NodeAllocater  = (*node)(nil)
	_ fs.NodeStatfser   = (*node)(nil)
)

// forever is how long the kernel may remember what it asked: nobody else
// changes the disk.
const forever = time.Hour

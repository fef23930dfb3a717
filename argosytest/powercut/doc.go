// Package powercut pulls the plug on a program: it is a disk whose durable
// image receives only what was fsynced, as a real one's does.
//
//	rig, err := powercut.New(dir, powercut.Config{Seed: 1})
//	…
//	defer rig.Close()
//	for round := range 10 {
//		program := start(rig.Dir())      // it prints what it has acknowledged
//		rig.Cut(program.kill)            // at any instant; kill sends SIGKILL
//		program.wait()
//		if err := rig.Restore(); err != nil { … }
//		check(rig.Dir(), program.acknowledged)
//	}
//
// A kill -9 proves little about a disk: the kernel has what was written, and
// keeps it. The rig is a file system of its own (FUSE, in memory) with two
// views of every file and directory:
//
//	write, truncate, rename, unlink ──► live view ◄── what the program reads
//	                                       │ fsync
//	                                       ▼
//	                                   durable image ──► what Restore mounts
//
// What reaches the image:
//
//   - fsync, fdatasync, msync, O_SYNC and O_DSYNC make the content and the size
//     of that file durable.
//   - Names (create, rename, link, unlink, mkdir) become durable by an fsync of
//     their directory: [Strict], as POSIX has it; or in the order in which they
//     were made, together with any later fsync that concerns them: [Ordered],
//     as the journals of ext4 and XFS have it.
//   - What was not synced is not safe, and not surely lost either. Each page of
//     4 KiB that was written may have been written back at any time, alone, in
//     any order, and one in four that is written during the cut is torn
//     between its sectors of 512 bytes. A file that grew has any size between.
//     [Config].Clean turns that off: then nothing survives but what was synced.
//
// Not modelled: a disk that lies about its flush, stale content in blocks that
// were not written (lost pages read as what was durable, or as zeros), bit rot,
// and times and permissions, which survive.
//
// The rig needs Linux, root and /dev/fuse; [Available] says what is missing.
// It runs in the test's process, so programs under test are processes of their
// own: a test that maps a file of the rig into its own memory blocks itself.
package powercut

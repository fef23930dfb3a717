package ledger

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// ErrCorrupt is a broken line that was on disk when entries after it were
// appended: no crash leaves that, so nobody guesses what it meant.
var ErrCorrupt = errors.New("ledger: a broken entry in the middle")

// maxLine bounds an entry; a longer line is no entry.
const maxLine = 1 << 20

// Read returns the whole entries of the ledger at path. A writer may be at
// work on it: what is not a whole line yet is left out. A file that does not
// exist is fs.ErrNotExist.
func Read(path string) ([]Entry, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read ledger: %w", err)
	}
	entries, _, err := scan(file)
	if err != nil {
		err = fmt.Errorf("read ledger %s: %w", path, err)
	}
	return entries, errors.Join(err, file.Close())
}

// scan returns the entries up to the torn tail, and where that begins. What a
// power cut tears has whole entries after the torn one too: pages reach the disk
// in any order. They were never acknowledged, and go with the tail.
func scan(r io.Reader) (entries []Entry, size int64, err error) {
	lines := bufio.NewReaderSize(r, 64<<10)
	for torn := false; ; {
		line, whole, err := nextLine(lines)
		if err != nil {
			return nil, 0, err
		}
		if len(line) == 0 {
			return entries, size, nil
		}
		e, ok := parse(line, whole)
		switch {
		case ok && !torn && e.Seq == int64(len(entries))+1:
			entries = append(entries, e)
			size += int64(len(line))
		case ok && e.Unsynced > 0 && e.Unsynced <= int64(len(entries))+1:
			torn = true
		case ok:
			return nil, 0, fmt.Errorf("%w, after entry %d", ErrCorrupt, len(entries))
		default:
			torn = true
		}
	}
}

// nextLine returns the next line with its end, or nothing at the end of the
// file. A line that is too long comes in pieces that are not whole.
func nextLine(r *bufio.Reader) (line []byte, whole bool, err error) {
	for len(line) < maxLine {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return line, true, nil
		case errors.Is(err, io.EOF):
			return line, false, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, false, err
		}
	}
	return line, false, nil
}

func parse(line []byte, whole bool) (Entry, bool) {
	var e Entry
	if !whole || json.Unmarshal(line, &e) != nil {
		return Entry{}, false
	}
	return e, e.Seq > 0 && e.Kind != ""
}

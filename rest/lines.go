package rest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/argosy-go/argosy/fault"
)

// lines reads newline-delimited JSON, each line bounded.
type lines struct {
	r      *bufio.Reader
	most   int64
	number int
	buf    []byte
}

func newLines(r io.Reader, most int64) *lines {
	return &lines{r: bufio.NewReader(r), most: most}
}

// next returns the next line that is not empty, valid until the next call, and
// io.EOF after the last.
func (l *lines) next() ([]byte, error) {
	for {
		l.buf = l.buf[:0]
		l.number++
		for {
			part, err := l.r.ReadSlice('\n')
			if int64(len(l.buf)+len(part)) > l.most+1 {
				return nil, l.at(errTooLarge(l.most))
			}
			l.buf = append(l.buf, part...)
			if errors.Is(err, bufio.ErrBufferFull) {
				continue
			}
			if err != nil && !errors.Is(err, io.EOF) {
				return nil, readError(err, l.most)
			}
			if err != nil && len(l.buf) == 0 {
				return nil, io.EOF
			}
			break
		}
		if line := bytes.TrimSpace(l.buf); len(line) > 0 {
			return line, nil
		}
	}
}

// at adds the number of the line to an error.
func (l *lines) at(err error) error {
	e := fault.From(err)
	return e.WithMessage("line %d: %s", l.number, e.Message).WithMetadata("line", fmt.Sprint(l.number))
}

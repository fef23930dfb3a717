package rpc

import (
	"bytes"
	"encoding/binary"
	"sync/atomic"
	"testing"
	"time"
)

// countFrames reads frames the plain way.
func countFrames(b []byte) (opened, reset int) {
	streams := map[uint32]bool{}
	for len(b) >= 9 {
		n := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
		kind, stream := b[3], binary.BigEndian.Uint32(b[5:])&^(1<<31)
		switch {
		case stream%2 == 0:
		case kind == 1 && !streams[stream]:
			streams[stream] = true
			opened++
		case kind == 3 && streams[stream]:
			reset++
		}
		b = b[min(len(b), 9+n):]
	}
	return opened, reset
}

// FuzzFrames holds that frames are found however the bytes are cut into reads.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x01\x01\x04\x00\x00\x00\x01x\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x08"), uint8(1))
	f.Add([]byte("\x00\x00\x03\x00\x00\x00\x00\x00\x01abc\x00\x00\x00\x01\x00\x80\x00\x00\x03\x00\x00\x00\x03\x00\x00\x00\x00\x03"), uint8(4))
	f.Add([]byte("\xff\xff\xff\x01\x00\x00\x00\x00\x01"), uint8(9))
	f.Fuzz(func(t *testing.T, data []byte, step uint8) {
		opened, reset := countFrames(data)
		if opened > rapidKnown/2 || reset > rapidMost {
			return // what is forgotten and what is closed is not compared
		}
		w := &watched{closed: &atomic.Uint64{}, preface: 24, made: time.Now(), second: time.Hour} // one second that does not end
		for b := range chunks(append(bytes.Repeat([]byte{'p'}, 24), data...), int(step)+1) {
			if w.floods(b) {
				t.Fatal("few resets are a flood")
			}
		}
		if w.streams < opened || w.resets > reset {
			t.Errorf("%d opened and %d reset, want %d and %d", w.streams, w.resets, opened, reset)
		}
	})
}

// chunks yields b in pieces.
func chunks(b []byte, n int) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(b) > 0 {
			k := min(n, len(b))
			if !yield(b[:k]) {
				return
			}
			b = b[k:]
		}
	}
}

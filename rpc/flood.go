package rpc

import (
	"encoding/binary"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/credentials"
)

// Bounds of what one connection may reset, which no client in its senses
// comes near.
const (
	rapid      = 50 * time.Millisecond // a call that is reset so soon after it was opened was never wanted
	rapidMost  = 1000                  // such calls in one second, and more than half of all
	rapidKnown = 1024                  // streams whose beginning is remembered, the latest: all that may be open at once
)

var errFlood = errors.New("the peer opens calls in order to reset them")

// floodgate closes connections that open calls and reset them at once (rapid
// reset, CVE-2023-44487). grpc-go bounds what such a client makes the handlers
// do, but reads on for as long as it sends; its own answer to floods of pings
// is to close the connection, and this is the same for resets. It stands where
// the bytes are in the clear: after the handshake.
type floodgate struct {
	credentials.TransportCredentials
	closed *atomic.Uint64
}

// ServerHandshake implements credentials.TransportCredentials.
func (f floodgate) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, info, err := f.TransportCredentials.ServerHandshake(c)
	if err != nil {
		return nil, nil, err
	}
	return &watched{Conn: c, closed: f.closed, made: time.Now(), preface: len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")}, info, nil
}

// Clone implements credentials.TransportCredentials.
func (f floodgate) Clone() credentials.TransportCredentials {
	return floodgate{f.TransportCredentials.Clone(), f.closed}
}

// watched is a connection whose frames (RFC 9113, section 4) are looked at as
// they are read. One goroutine reads it.
type watched struct {
	net.Conn
	closed *atomic.Uint64

	preface int // bytes of the client's preface to come
	head    [9]byte
	have    int    // bytes of head that are there
	skip    uint32 // bytes of the frame's payload to come

	made            time.Time
	opened          [rapidKnown]opening
	second          time.Duration // the second began, since the connection was made
	streams, resets int           // in this second
}

// opening is when a stream was opened.
type opening struct {
	stream uint32
	at     time.Duration // since the connection was made
}

// Read implements net.Conn.
func (w *watched) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if n > 0 && w.floods(b[:n]) {
		w.closed.Add(1)
		return 0, errFlood
	}
	return n, err
}

// floods follows the frames in b and reports whether the peer resets too much.
func (w *watched) floods(b []byte) bool {
	if w.preface > 0 {
		n := min(w.preface, len(b))
		w.preface -= n
		b = b[n:]
	}
	var now time.Duration // of this read
	for len(b) > 0 {
		if w.skip > 0 {
			n := min(int(w.skip), len(b))
			w.skip -= uint32(n)
			b = b[n:]
			continue
		}
		n := copy(w.head[w.have:], b)
		w.have += n
		b = b[n:]
		if w.have < len(w.head) {
			return false
		}
		w.have = 0
		w.skip = uint32(w.head[0])<<16 | uint32(w.head[1])<<8 | uint32(w.head[2])
		const headers, rstStream = 1, 3
		if kind := w.head[3]; kind == headers || kind == rstStream {
			if now == 0 {
				now = time.Since(w.made)
			}
			if w.count(kind == rstStream, binary.BigEndian.Uint32(w.head[5:])&^(1<<31), now) {
				return true
			}
		}
	}
	return false
}

// count notes that a stream was opened or reset.
func (w *watched) count(reset bool, stream uint32, now time.Duration) bool {
	if stream%2 == 0 { // none of a client's: the transport ends the connection
		return false
	}
	if now-w.second > time.Second {
		w.second, w.streams, w.resets = now, 0, 0
	}
	o := &w.opened[stream/2%rapidKnown]
	if !reset {
		if o.stream != stream { // trailers come in the same kind of frame
			*o = opening{stream, now}
			w.streams++
		}
		return false
	}
	if o.stream == stream && now-o.at < rapid {
		w.resets++
	}
	return w.resets > rapidMost && w.resets*2 > w.streams
}

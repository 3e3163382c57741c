package api

import (
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// listener bounds the connections of one address and hands out conns.
type listener struct {
	net.Listener
	most int

	lingering atomic.Int64

	mu   sync.Mutex
	open map[netip.Addr]int
}

func newListener(ln net.Listener, most int) *listener {
	return &listener{Listener: ln, most: most, open: map[netip.Addr]int{}}
}

// Accept implements net.Listener. A connection over the limit is closed at once.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		var from netip.Addr
		if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
			from = a.AddrPort().Addr().Unmap()
		}
		if !l.add(from) {
			_ = c.Close()
			continue
		}
		return &conn{Conn: c, from: from, l: l}, nil
	}
}

func (l *listener) add(a netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[a] >= l.most {
		return false
	}
	l.open[a]++
	return true
}

func (l *listener) drop(a netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[a]--; l.open[a] <= 0 {
		delete(l.open, a)
	}
}

// conn remembers that its peer stopped sending while somebody still read. By
// that a chunked body that was cut off between two chunks is told from one that
// ended: fasthttp reports both as io.EOF, but only for the first had it to ask
// the connection.
type conn struct {
	net.Conn
	from   netip.Addr
	l      *listener
	closed sync.Once
	ended  atomic.Bool
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err == io.EOF {
		c.ended.Store(true)
	}
	return n, err
}

// How long, and how much, a closed connection still takes from a peer that is
// sending.
const (
	lingerTime  = 500 * time.Millisecond
	lingerBytes = 64 << 20
	lingerMost  = 128 // connections at once; more are closed at once
)

// Close implements net.Conn. A peer that is still sending a body which was
// refused early would lose the answer to a reset, so the sending side is ended
// first and what still comes is read away, within bounds.
func (c *conn) Close() error {
	c.closed.Do(func() { c.l.drop(c.from) })
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok || c.ended.Load() || c.l.lingering.Add(1) > lingerMost {
		if ok && !c.ended.Load() {
			c.l.lingering.Add(-1)
		}
		return c.Conn.Close()
	}
	if half.CloseWrite() != nil {
		c.l.lingering.Add(-1)
		return c.Conn.Close()
	}
	go func() {
		defer c.l.lingering.Add(-1)
		_ = c.Conn.SetReadDeadline(time.Now().Add(lingerTime))
		_, _ = io.CopyN(io.Discard, c.Conn, lingerBytes)
		_ = c.Conn.Close()
	}()
	return nil
}

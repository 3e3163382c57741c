package push

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress shows how far a push is: a bar on a terminal, else a line every five
// seconds. How far is measured in bytes of the input files.
type progress struct {
	quit, done chan struct{}
}

// view is what a progress shows.
type view struct {
	w             io.Writer
	total         int64 // bytes, at least 1
	read, records *atomic.Int64
	word          string
}

func newProgress(w io.Writer, total int64, t *tally, dry bool) *progress {
	p := &progress{quit: make(chan struct{}), done: make(chan struct{})}
	if w == io.Discard {
		close(p.done)
		return p
	}
	v := view{w: w, total: max(total, 1), read: &t.bytesRead, records: &t.delivered, word: "delivered"}
	if dry {
		v.records, v.word = &t.mapped, "mapped"
	}
	f, ok := w.(*os.File)
	if ok && term.IsTerminal(int(f.Fd())) {
		go p.bar(v)
	} else {
		go p.lines(v)
	}
	return p
}

// stop ends the display; nothing is written to it afterwards.
func (p *progress) stop() {
	close(p.quit)
	<-p.done
}

func (p *progress) bar(v view) {
	defer close(p.done)
	bar := progressbar.NewOptions64(v.total,
		progressbar.OptionSetWriter(v.w), progressbar.OptionSetWidth(30), progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionSetPredictTime(true), progressbar.OptionSetElapsedTime(true), progressbar.OptionClearOnFinish())
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	begun, from := time.Now(), v.records.Load()
	for {
		select {
		case <-p.quit:
			bar.Clear()
			return
		case <-tick.C:
			n := v.records.Load()
			bar.Describe(fmt.Sprintf("%s records %s, %s/s", thousands(n), v.word, thousands(rate(n-from, begun))))
			// Never full before the last answer: a full bar says done.
			bar.Set64(min(v.read.Load(), v.total-1))
		}
	}
}

func (p *progress) lines(v view) {
	defer close(p.done)
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	begun, from := time.Now(), v.records.Load()
	for {
		select {
		case <-p.quit:
			return
		case <-tick.C:
			n, read := v.records.Load(), v.read.Load()
			left := "unknown"
			if read > 0 && read <= v.total {
				left = (time.Duration(float64(time.Since(begun)) * float64(v.total-read) / float64(read))).Round(time.Second).String()
			}
			fmt.Fprintf(v.w, "push: %d %% read, %s records %s, %s records/s, %s left\n",
				100*read/v.total, thousands(n), v.word, thousands(rate(n-from, begun)), left)
		}
	}
}

func rate(n int64, since time.Time) int64 {
	return int64(float64(n) / max(time.Since(since).Seconds(), 0.001))
}

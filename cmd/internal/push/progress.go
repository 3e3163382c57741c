package push

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress shows how far a push is: a bar on a terminal, else a line every five
// seconds. How far is measured in bytes of the input files.
type progress struct {
	quit, done chan struct{}
}

func newProgress(w io.Writer, total int64, t *tally) *progress {
	p := &progress{quit: make(chan struct{}), done: make(chan struct{})}
	if w == io.Discard {
		close(p.done)
		return p
	}
	f, ok := w.(*os.File)
	if ok && term.IsTerminal(int(f.Fd())) {
		go p.bar(w, total, t)
	} else {
		go p.lines(w, total, t)
	}
	return p
}

// stop ends the display; nothing is written to it afterwards.
func (p *progress) stop() {
	close(p.quit)
	<-p.done
}

func (p *progress) bar(w io.Writer, total int64, t *tally) {
	defer close(p.done)
	bar := progressbar.NewOptions64(max(total, 1),
		progressbar.OptionSetWriter(w), progressbar.OptionSetWidth(30), progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionSetPredictTime(true), progressbar.OptionSetElapsedTime(true), progressbar.OptionClearOnFinish())
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	begun, from := time.Now(), t.delivered.Load()
	for {
		select {
		case <-p.quit:
			bar.Clear()
			return
		case <-tick.C:
			n := t.delivered.Load()
			bar.Describe(fmt.Sprintf("%s records, %s/s", thousands(n), thousands(rate(n-from, begun))))
			// Never full before the last answer: a full bar says done.
			bar.Set64(min(t.bytesRead.Load(), max(total, 1)-1))
		}
	}
}

func (p *progress) lines(w io.Writer, total int64, t *tally) {
	defer close(p.done)
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	begun, from := time.Now(), t.delivered.Load()
	for {
		select {
		case <-p.quit:
			return
		case <-tick.C:
			n, read := t.delivered.Load(), t.bytesRead.Load()
			left := "unknown"
			if read > 0 && read <= total {
				left = (time.Duration(float64(time.Since(begun)) * float64(total-read) / float64(read))).Round(time.Second).String()
			}
			fmt.Fprintf(w, "push: %d %% read, %s records delivered, %s records/s, %s left\n",
				100*read/max(total, 1), thousands(n), thousands(rate(n-from, begun)), left)
		}
	}
}

func rate(n int64, since time.Time) int64 {
	return int64(float64(n) / max(time.Since(since).Seconds(), 0.001))
}

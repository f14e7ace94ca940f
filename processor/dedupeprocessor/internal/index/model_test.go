package index

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// model is what was recorded.
type model struct {
	*rig
	rapid *rapid.T
	rng   *rand.Rand
	said  map[Hash][]usage.Payload // oldest first
	sure  map[Hash]time.Time       // when that came which no crash or damage has touched
	late  time.Time                // the latest that it ever was
	turns uint64
}

// Whatever comes, with starts, crashes, damage and clocks that are set back: what is known of a hash is a payload that was recorded with it; and, unless a crash or damage took that,
// it is known for the window, and the last one.
func TestWhatIsKnownIsTrueOverCrashesDamageAndTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "index")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		m := &model{rig: newRig(t, dir), rapid: t, said: map[Hash][]usage.Payload{}, sure: map[Hash]time.Time{}}
		m.rng = rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		m.CacheSize = rapid.SampledFrom([]int64{0, 200, 1 << 20}).Draw(t, "cache")
		m.start()
		defer func() { _ = m.x.Close() }()
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 11).Draw(t, "step") {
			case 0:
				m.stop()
				m.start()
			case 1:
				m.cut()
			case 2:
				m.damage()
			case 3:
				m.now = m.now.Add(time.Duration(rapid.IntRange(-40, 200).Draw(t, "minutes")) * m.Window / 100)
			default:
				m.take()
			}
			m.check()
		}
	})
}

// take records some of a few events, and others that nobody asks for.
func (m *model) take() {
	m.now = m.now.Add(time.Duration(m.rng.IntN(3)) * freshFor / 2)
	m.turns++
	entries := random(m.rng, m.rng.IntN(120))
	for range m.rng.IntN(6) {
		h := Hash{byte(m.rng.IntN(4)) << 6, 15: byte(m.rng.IntN(4))}
		entries = append(entries, Entry{h, m.payload(m.turns)})
		m.said[h] = append(m.said[h], m.payload(m.turns))
		m.sure[h] = m.now
	}
	m.rng.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
	m.record(entries...)
	if m.rng.IntN(2) == 0 {
		m.x.work.Wait()
	}
}

// cut is a power cut.
func (m *model) cut() {
	left := m.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: m.rng.IntN(101), RNG: m.rng})
	m.on(left)
	clear(m.sure)
}

// damage does something to a file, beside or while nobody has it open.
func (m *model) damage() {
	files := m.files()
	if len(files) == 0 {
		return
	}
	m.stop()
	file := files[m.rng.IntN(len(files))]
	if !slices.Contains(m.files(), file) {
		file = m.files()[0]
	}
	b := m.read(file)
	switch m.rng.IntN(5) {
	case 0:
		b[m.rng.IntN(len(b))] ^= 1 << m.rng.IntN(8)
		m.write(file, b)
	case 1:
		m.write(file, b[:m.rng.IntN(len(b))])
	case 2:
		from := m.rng.IntN(len(b))
		clear(b[from : from+m.rng.IntN(len(b)-from)])
		m.write(file, b)
	case 3:
		m.remove(file)
	case 4:
		m.remove(file)
		m.write(name{uint32(1 + m.rng.IntN(3)), 2, uint32(2 + m.rng.IntN(5))}.String(), b)
	}
	clear(m.sure)
	m.start()
}

func (m *model) check() {
	if m.now.After(m.late) {
		m.late = m.now
	}
	hashes := make([]Entry, 0, len(m.said))
	for h := range m.said {
		hashes = append(hashes, Entry{Hash: h})
	}
	for i, k := range m.seen(hashes) {
		h := hashes[i].Hash
		came, sure := m.sure[h]
		said := m.said[h]
		if k.Found && !slices.Contains(said, k.Payload) {
			m.rapid.Fatalf("of %x a payload is known that never came", h)
		}
		if sure && m.late.Sub(came) <= m.Window && (!k.Found || k.Payload != said[len(said)-1]) {
			m.rapid.Fatalf("of %x is known %v; last came %x, %v ago", h, k, said[len(said)-1], m.late.Sub(came))
		}
	}
	for i, k := range m.seen(random(m.rng, 20)) {
		if k.Found {
			m.rapid.Fatal(fmt.Sprint("what never came is known: ", i))
		}
	}
}

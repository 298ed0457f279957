package chaos

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.mau.fi/whatsmeow/types"

	"cloudsession/connector/watest"
	"cloudsession/functions/api/apitest"
	"cloudsession/infra/local/rig"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
)

// Options says what is run.
type Options struct {
	// Dir is where everything is kept; required. It is the caller's to remove.
	Dir string
	// Schedules are gone through one after the other, with a quiet moment after
	// each.
	Schedules iter.Seq[Schedule]
	// Duration ends the run after the schedule under way; 0 for no limit.
	Duration time.Duration
	// Machines and Lines are how many connectors and sessions there are. Default
	// 3 and 5.
	Machines, Lines int
	// Out gets a line for everything that is done. Default: nowhere.
	Out io.Writer
	// Connector is another build of the connector program, for experiments.
	Connector string
	// Tolerate names invariants whose breach during a schedule does not end it,
	// for experiments that look for what follows from it.
	Tolerate []string
	// Settle is how long the system may take to be whole again after the faults
	// have ended. Default 100 s: a lease is 10 s; a connector that finds its place
	// taken tries again at growing pauses of up to 15 s; a safe start has to hear
	// from a phone; and this machine may be doing other things.
	Settle time.Duration
	// Lost is how long a message may stay missing once nothing else is. Default
	// Settle.
	Lost time.Duration
	// Clocks says that Connector was built by BuildWithClock, and that machines'
	// clocks are to be stepped.
	Clocks bool
	// Built says that the programs are built already.
	Built bool
}

// Defaults of Options.
const (
	DefaultMachines = 3
	DefaultLines    = 5
)

// Named is what SEED stands for: the schedules of a number and those after it,
// or the one that has a name.
func Named(seed string) (iter.Seq[Schedule], error) {
	if loss := Loss(); seed == loss.Name {
		return func(yield func(Schedule) bool) { yield(loss) }, nil
	}
	n, err := strconv.ParseUint(seed, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("read seed: %w", err)
	}
	return Seeds(From(n)), nil
}

// Seeds makes the schedules of seeds for the default cast.
func Seeds(seeds iter.Seq[uint64]) iter.Seq[Schedule] {
	return func(yield func(Schedule) bool) {
		for seed := range seeds {
			if !yield(Generate(seed, DefaultMachines, DefaultLines)) {
				return
			}
		}
	}
}

// From counts on from a seed, for ever.
func From(seed uint64) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for ; yield(seed); seed++ {
		}
	}
}

// Harness is one run.
type Harness struct {
	opt   Options
	dir   string
	out   io.Writer
	rig   *rig.Rig
	store *cloudstore.Store
	db    *sql.DB // around the store
	keys  *envelope.Keyring
	began time.Time

	ctx  context.Context // ends the run
	end  context.CancelCauseFunc
	work sync.WaitGroup

	machines []*machine
	lines    []*line
	group    types.JID
	app      *application
	watch    watcher
	logs     logScanner

	mu      sync.Mutex
	journal []string
	current Schedule
	deleted chan struct{} // closed when the DELETE of this schedule is through
	count   counts

	copies, queueCalls atomic.Int64
	daysOff            atomic.Bool // some machine's clock was wrong by more than an hour
}

type counts struct {
	schedules, faults        int
	kinds                    map[Kind]int
	skipped                  int
	starts, exits            atomic.Int64
	sendTries, read, repeats atomic.Int64
	compared, revived        int
	settle                   []time.Duration
}

// Run starts the world, goes through the schedules, and reports. The error is a
// *Violation if the system broke a promise, and anything else if the harness
// could not go on.
func Run(ctx context.Context, o Options) (_ *Report, err error) {
	o.Machines, o.Lines = cmp.Or(o.Machines, DefaultMachines), cmp.Or(o.Lines, DefaultLines)
	o.Settle = cmp.Or(o.Settle, 100*time.Second)
	o.Lost = cmp.Or(o.Lost, o.Settle)
	h := &Harness{opt: o, dir: o.Dir, out: cmp.Or(o.Out, io.Discard), began: time.Now()}
	h.count.kinds = map[Kind]int{}
	watest.SilenceSignal()
	h.ctx, h.end = context.WithCancelCause(ctx)
	defer h.end(nil)
	if err := h.set(); err != nil {
		return nil, errors.Join(err, h.close())
	}
	err = h.play()
	report := h.report()
	return report, errors.Join(err, h.close())
}

// set starts everything and pairs the sessions.
func (h *Harness) set() (err error) {
	for _, dir := range []string{"logs", "disks", "copies"} {
		if err := os.MkdirAll(filepath.Join(h.dir, dir), 0o700); err != nil {
			return fmt.Errorf("make folder: %w", err)
		}
	}
	log, err := os.OpenFile(filepath.Join(h.dir, "logs", "rest.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	h.logs.rest = log
	checker, err := apitest.New()
	if err != nil {
		return err
	}
	h.rig, err = rig.Start(h.ctx, rig.Options{
		Dir: filepath.Join(h.dir, "stack"), Out: log, Built: h.opt.Built, Transport: checker.Transport,
	})
	if err != nil {
		return err
	}
	// A build that somebody makes meanwhile must not change what is tested.
	program := cmp.Or(h.opt.Connector, h.rig.Stack.ConnectorBinary())
	h.opt.Connector = filepath.Join(h.dir, "connector")
	if err := copyFile(program, h.opt.Connector, 0o700); err != nil {
		return fmt.Errorf("copy connector program: %w", err)
	}
	if h.store, err = cloudstore.Open(h.rig.Stack.StoreConfig()); err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	if h.db, err = openDatabase(h.rig.Stack.StoreConfig()); err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	if h.keys, err = envelope.NewKeyring(h.rig.Stack.SessionSecret()); err != nil {
		return err
	}
	if err := h.startApplication(); err != nil {
		return err
	}
	for i := range h.opt.Machines {
		m, err := h.newMachine(i)
		if err != nil {
			return err
		}
		h.machines = append(h.machines, m)
		m.op.Lock()
		err = m.start()
		m.op.Unlock()
		if err != nil {
			return err
		}
		h.work.Go(func() { m.look(h.ctx) })
	}
	h.work.Go(func() { h.watch.run(h) })
	return h.assemble()
}

// assemble makes the people and links their sessions, spread over the machines.
func (h *Harness) assemble() error {
	for i := range h.opt.Lines {
		l, err := h.newLine(i)
		if err != nil {
			return err
		}
		h.lines = append(h.lines, l)
	}
	members := []types.JID{}
	for i, l := range h.lines {
		if i > 0 {
			members = append(members, l.peer.PN())
		}
		members = append(members, l.owner.PN())
	}
	ctx, cancel := context.WithTimeout(h.ctx, 5*time.Minute)
	defer cancel()
	var err error
	if h.group, err = h.lines[0].peer.CreateGroup(ctx, members...); err != nil {
		return fmt.Errorf("make group: %w", err)
	}
	for i, l := range h.lines {
		if err := h.pairWhenReady(ctx, l, h.machines[i%len(h.machines)]); err != nil {
			return err
		}
	}
	return nil
}

func (h *Harness) pairWhenReady(ctx context.Context, l *line, m *machine) error {
	for m.client.Health(ctx) != nil {
		if !pause(ctx, 50*time.Millisecond) {
			return fmt.Errorf("pair session %d: connector %s does not answer", l.number, m.id)
		}
	}
	return l.pair(ctx, m)
}

// play goes through the schedules.
func (h *Harness) play() error {
	began := time.Now() // setting up takes what it takes
	for s := range h.opt.Schedules {
		if err := h.playOne(s); err != nil {
			return err
		}
		if h.opt.Duration > 0 && time.Since(began) >= h.opt.Duration {
			return nil
		}
	}
	return nil
}

func (h *Harness) playOne(s Schedule) error {
	h.mu.Lock()
	h.current, h.deleted = s, make(chan struct{})
	h.count.schedules++
	h.mu.Unlock()
	h.note("%v", strings.TrimSpace(s.String()))
	if err := h.pairAgain(); err != nil {
		return err
	}
	talk, hush := context.WithTimeout(h.ctx, s.Length)
	defer hush()
	var talking, acting sync.WaitGroup
	for _, l := range h.lines {
		s.voices(l.number, func(do func()) { talking.Go(do) },
			func(r *rand.Rand) { l.chat(talk, r) }, func(r *rand.Rand) { l.write(talk, r) })
	}
	start := time.Now()
	for _, a := range s.Actions {
		acting.Go(func() {
			if pause(h.ctx, time.Until(start.Add(a.At))) {
				h.lines[a.Line%len(h.lines)].sends(talk, a.Sent)
				h.afterDelete(a)
				h.act(a)
			}
		})
	}
	talking.Wait()
	acting.Wait()
	if h.ctx.Err() != nil {
		return context.Cause(h.ctx)
	}
	return h.quiet()
}

// pairAgain pairs a fresh session where a phone has unlinked the old one.
func (h *Harness) pairAgain() error {
	for i, l := range h.lines {
		if l.isLinked() {
			continue
		}
		ctx, cancel := context.WithTimeout(h.ctx, limit)
		err := h.pairWhenReady(ctx, l, h.machines[i%len(h.machines)])
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

// note writes a line of the journal.
func (h *Harness) note(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	line := fmt.Sprintf("%8.1fs %s", time.Since(h.began).Seconds(), fmt.Sprintf(format, args...))
	h.journal = append(h.journal, line)
	_, _ = fmt.Fprintln(h.out, line) // progress is for a reader who may have gone
}

// fail ends the run.
func (h *Harness) fail(err error) {
	if err != nil {
		h.end(err)
	}
}

func (h *Harness) close() error {
	h.end(nil)
	var errs []error
	for _, m := range h.machines {
		m.mend()
		errs = append(errs, m.freeze(false))
		m.mu.Lock()
		m.up = false
		m.mu.Unlock()
	}
	h.work.Wait()
	if h.rig != nil {
		errs = append(errs, h.rig.Close())
	}
	for _, m := range h.machines {
		errs = append(errs, m.close())
	}
	if h.db != nil {
		errs = append(errs, h.db.Close())
	}
	if h.store != nil {
		errs = append(errs, h.store.Close())
	}
	if h.logs.rest != nil {
		errs = append(errs, h.logs.rest.Close())
	}
	return errors.Join(errs...)
}

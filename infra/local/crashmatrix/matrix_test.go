package crashmatrix_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"cloudsession/shared/cloudstore"
)

// ending is what happens after the fault.
type ending struct {
	name     string
	crash    bool // at the fault; else the connector goes on by itself, and crashes later
	sameDisk bool // the fresh connector has the crashed one's
}

var endings = []ending{
	{"crash-empty-disk", true, false},
	{"crash-same-disk", true, true},
	{"goes-on", false, false},
}

// play sets the scene, has the operation meet the fault, ends as told, and
// checks what a fresh connector makes of it. It returns the operation's steps.
func (s *scene) play(op operation, f *fault, e ending) []step {
	s.t.Helper()
	s.tune = op.tune
	op.setup(s)
	s.epoch = s.lastEpoch().Epoch
	s.link.arm(f)
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	var steps []step
	if e.crash {
		s.crashAtFault(op, ctx, cancel)
		if s.giver != nil && e.sameDisk { // else it is who comes next
			s.giver.crash()
		}
	} else {
		steps = s.goOn(op, op.do(s, ctx))
	}
	s.recover(op, e)
	return steps
}

// crashAtFault waits for the fault and ends who met it.
func (s *scene) crashAtFault(op operation, ctx context.Context, cancel func()) {
	s.t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := op.do(s, ctx); err != nil {
			s.log.Info("the operation failed", "error", err)
		}
	}()
	select {
	case <-s.link.fired:
	case <-done:
		s.waitFired()
	}
	wait := func() {
		cancel()
		<-done
	}
	s.link.disarm()
	if op.byFunction {
		wait()
		s.afterFunction()
		s.link.release()
		s.first.crash()
		return
	}
	s.first.crash(wait)
}

// background is how long a statement may still come once the operation is over:
// old restore points are pruned by and by. One that never comes costs that much.
const background = 10 * time.Second

// waitFired waits for a statement of the background that is to meet a fault.
func (s *scene) waitFired() {
	if !s.link.pending() {
		return
	}
	select {
	case <-s.link.fired:
	case <-time.After(background):
	}
}

// goOn lets the connector and who asked it do what they do after a failure.
func (s *scene) goOn(op operation, err error) []step {
	s.t.Helper()
	if err != nil && !op.ends {
		if !op.byFunction && !op.running {
			s.first.run()
		}
		s.until(op.name+", repeated", func(ctx context.Context) error { return op.do(s, ctx) })
	}
	s.waitFired()
	steps := s.link.disarm()
	switch {
	case op.byFunction:
		if s.inCloud() {
			s.t.Error("the session is in the cloud after it was deleted")
		}
		s.afterFunction()
	case !op.closes && !op.ends:
		holder := s.holder(op)
		if holder != s.first {
			s.until("open", holder.open)
		}
		s.checkRecovered(holder, "going on")
		s.acked = s.durable(holder)
		if other := s.partner(); other != nil {
			other.crash()
			s.bury(other.id)
		}
	}
	s.first.crash()
	return steps
}

// afterFunction: whatever became of the deletion, the session goes on here.
func (s *scene) afterFunction() {
	s.t.Helper()
	s.talk(s.first, "after the function")
	if s.inCloud() {
		s.acked = s.durable(s.first)
	}
}

// recover has a fresh connector take over, and checks.
func (s *scene) recover(op operation, e ending) {
	s.t.Helper()
	here := s.inCloud()
	if !here && !op.mayGo {
		s.t.Fatal("the session is not in the cloud any more")
	}
	if here && s.acked != nil {
		s.checkKept(s.acked, s.lastRows)
	}
	due, before := s.dueStarts(e.sameDisk), s.lastEpoch().Epoch
	if s.partner() != nil || s.link.held() { // it may have begun already; what lands late may change it
		due = nil
	}
	if s.partner() != nil {
		before = 0
	}
	if s.giver != nil && due != nil { // it crashed in the middle of anything: its seal may be on its way
		due = append(due, cloudstore.StartExact)
	}
	defer time.AfterFunc(lateness, s.link.release).Stop()
	c := s.successor(e)
	if !here {
		s.land()
		here = s.inCloud() // a base that landed late, and the successor found
	}
	switch {
	case here || e.sameDisk && op.name != "pair":
		s.until("open", c.open)
	case op.name == "pair":
		s.until("pair again", c.pair)
		due = nil
	default:
		s.checkGone(c)
		return
	}
	s.land()
	s.checkStart(before, due)
	s.checkRecovered(c, "recovered")
	s.checkCommands()
}

// lateness is when a late statement arrives at the latest: one in a transaction
// keeps its locks until then, and the successor waits for them, as do those who
// find that the connector is dead.
const lateness = time.Second

// land has a late statement arrive while its successor is in charge.
func (s *scene) land() {
	s.t.Helper()
	s.link.release()
	if s.link.held() {
		select {
		case <-s.link.landed:
		case <-time.After(patience):
			s.t.Error("the late statement never arrived")
		}
	}
}

// successor is the connector that takes over.
func (s *scene) successor(e ending) *connector {
	s.t.Helper()
	if other := s.partner(); other != nil {
		s.bury(s.first.id)
		return other
	}
	id, dir := "second", s.t.TempDir()
	if s.giver != nil { // not before now: who holds a late statement's locks holds this up
		s.bury(s.giver.id)
	}
	if e.sameDisk {
		id, dir = s.first.id, s.first.dir
	} else {
		s.bury(s.first.id)
	}
	c := s.start(id, dir, nil)
	c.run()
	return c
}

// checkStart wants the first term after the crash to have started as is due.
func (s *scene) checkStart(before uint64, due []string) {
	s.t.Helper()
	epochs, err := s.w.store.Epochs(s.t.Context(), s.id)
	s.must("read epochs", err)
	for _, e := range slices.Backward(epochs) {
		if e.Epoch > before {
			if due != nil && !slices.Contains(due, e.Start) {
				s.t.Errorf("epoch %d started %s, want one of %q", e.Epoch, e.Start, due)
			}
			return
		}
	}
	s.t.Errorf("no epoch after %d", before)
}

// matrixCase is one cell.
type matrixCase struct {
	op     operation
	number int // of the step in its operation
	fault  fault
	ending ending
}

func (c matrixCase) name() string {
	return fmt.Sprintf("%s/%s/%s", c.step(), c.fault.mode, c.ending.name)
}

// step names the statement.
func (c matrixCase) step() string { return fmt.Sprintf("%s/%02d-%s", c.op.name, c.number, c.fault.at) }

// Every statement of every operation fails, or takes effect unheard.
func TestMatrix(t *testing.T) {
	t.Logf("CLOUDSESSION_SEED=%d (CRASHMATRIX=all runs every case)", seed())
	pool := newPool(t)
	steps := make([][]step, len(operations))
	pool.each(len(operations), func(w *world, i int) {
		op := operations[i]
		t.Run(op.name+"/whole", func(t *testing.T) {
			steps[i] = newScene(t, w).play(op, nil, ending{name: "goes-on"})
		})
	})
	if t.Failed() {
		t.Fatal("the operations don't work without faults")
	}
	var all [][]matrixCase
	for i, op := range operations {
		all = append(all, cases(op, steps[i]))
		t.Logf("%s: %d statements: %v", op.name, len(steps[i]), steps[i])
	}
	chosen := choose(all)
	var reached tally
	play := func(cases []matrixCase) {
		pool.each(len(cases), func(w *world, i int) {
			c := cases[i]
			t.Run(c.name(), func(t *testing.T) {
				s := newScene(t, w)
				s.play(c.op, &c.fault, c.ending)
				reached.note(c, s.link.hasFired())
			})
		})
	}
	play(chosen)
	t.Logf("%d of %d cases chosen", len(chosen), len(slices.Concat(all...)))
	for range 2 { // by the clock another time
		if wholeRun() {
			play(slices.DeleteFunc(slices.Clone(chosen), func(c matrixCase) bool { return !reached.never(c) }))
		}
	}
	reached.check(t, wholeRun())
}

// cases are all cells of an operation. What only reads has no effect whose answer
// could be lost, and lands late without harm; another statement lands late where
// its connector has crashed.
func cases(op operation, steps []step) []matrixCase {
	var all []matrixCase
	for i, at := range steps {
		for _, m := range []mode{fails, tookEffect, landsLate} {
			for _, e := range endings {
				switch {
				case m != fails && at.reads():
				case m == landsLate && (!e.crash || op.byFunction):
				default:
					all = append(all, matrixCase{op, i + 1, fault{at: at, mode: m, crash: e.crash}, e})
				}
			}
		}
	}
	return all
}

// failedBefore are cases that found a fault: they always run.
var failedBefore = regexp.MustCompile(`^sync-after-delete/\d+-commit/(took-effect|lands-late)/crash-same-disk$`)

// inTest is how many cases an ordinary run has time for.
const inTest = 60

func wholeRun() bool { return os.Getenv("CRASHMATRIX") == "all" }

// choose picks cases by the seed, of one operation after the other, or all.
func choose(all [][]matrixCase) []matrixCase {
	if wholeRun() {
		return slices.Concat(all...)
	}
	random := rand.New(rand.NewPCG(seed(), 0))
	var chosen []matrixCase
	for k, of := range all {
		random.Shuffle(len(of), func(i, j int) { of[i], of[j] = of[j], of[i] })
		all[k] = slices.DeleteFunc(of, func(c matrixCase) bool {
			if failedBefore.MatchString(c.name()) {
				chosen = append(chosen, c)
				return true
			}
			return false
		})
	}
	for i := 0; len(chosen) < inTest; i++ {
		before := len(chosen)
		for _, of := range all {
			if i < len(of) {
				chosen = append(chosen, of[i])
			}
		}
		if len(chosen) == before {
			break
		}
	}
	return chosen
}

// pool runs scenes in a few worlds at once.
type pool struct{ worlds chan *world }

// atOnce is more than there are processors, since scenes mostly wait.
const atOnce = 4

func newPool(t *testing.T) pool {
	t.Helper()
	p := pool{make(chan *world, atOnce)}
	for range atOnce {
		p.worlds <- newWorld(t)
	}
	return p
}

// each calls f for 0 to n-1, each with a world to itself.
func (p pool) each(n int, f func(w *world, i int)) {
	var all sync.WaitGroup
	for i := range n {
		w := <-p.worlds
		all.Go(func() {
			defer func() { p.worlds <- w }()
			f(w, i)
		})
	}
	all.Wait()
}

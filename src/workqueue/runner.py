"""Runner: moves jobs of one queue from the store through an executor and back.

One thread, one loop, and each round of it is

    collect outcomes → settle them and claim anew (one transaction) → hand out → sleep until the bell

Modes. *running*: claims whatever there is room for. *quarantine*: a job that was lost before waits, so nothing new is
claimed until the hands are empty; then such jobs run one at a time, with nothing beside them that could be blamed for
the next death. *stopping*: claims nothing, hands back what was not started, waits for the rest until the grace ends,
hands that back too.

An error of the store never ends the loop: outcomes stay in hand and are settled when it answers again.
"""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from workqueue.bookkeeping import Bookkeeping
from workqueue.context import Context
from workqueue.errors import StoreError, StoreUnavailable, WorkqueueError
from workqueue.executor.loop import AsyncHandler
from workqueue.executor.mixed import Children, executor_for
from workqueue.executor.observed import tell_observers
from workqueue.executor.outcome import verdict
from workqueue.executor.threads import Handler
from workqueue.job import JobStatus
from workqueue.lifecycle import HandedBack, Outcome, Raised, Settlement
from workqueue.liveness import Heartbeat
from workqueue.logs import Log
from workqueue.pace import Pace
from workqueue.plan import Plan
from workqueue.progress import Progress
from workqueue.pruning import Pruner
from workqueue.redaction import clean
from workqueue.store.contract import Beat, Store, Turn, Want
from workqueue.timekeeper import MakeJob, Timekeeper
from workqueue.upkeep import Upkeep, unknown

log = Log("workqueue.runner")

_GATHER_SECONDS: Final = 0.005  # that outcomes wait for company while there is still work to run
_LOOK_SECONDS: Final = 0.2  # between looks for cancelled or lost jobs; what is done sooner is not looked for
_LONGEST_PAUSE: Final = 5.0  # seconds between tries while the store is away
_NEVER: Final = float("inf")
_SWEEP_SECONDS: Final = 5.0
_SWEPT: Final = 500  # jobs ended, and rows of each kind forgotten, at once
_LAST_TRIES: Final = timedelta(seconds=10)  # for settling at the end, when the store is away


class Runner:
    """Runs one queue's jobs from `start` until `stop`; then it is used up. `start` and `stop` are safe from any thread.

    settled: called on the runner's thread after each round that settled something. makers: see `Timekeeper`; knows: see
    `Upkeep`.
    """

    def __init__(
        self,
        store: Store,
        handler: Handler | AsyncHandler,
        plan: Plan,
        *,
        settled: Callable[[], None],
        makers: Mapping[str, MakeJob] | None = None,
        knows: Callable[[], list[str]] | None = None,
    ) -> None:
        self.pid = os.getpid()
        self._store = store
        self._plan = plan
        self._stay = plan.retention.completed is not None  # jobs that complete
        self._settled = settled
        self._id = store.enlist(plan.queue, f"{socket.gethostname()}:{self.pid}")
        self._bell = store.bell(self._id)
        try:
            self._upkeep = Upkeep(
                store, self._id, every=plan.poll_rate, lease=plan.lease, archive=plan.archive, knows=knows
            )
            self._executor = executor_for(
                handler,
                concurrency=plan.concurrency,
                children=Children(plan.processes, plan.max_jobs, plan.max_memory),
                enough=plan.batch_size,
                ready=self._bell.ring,
                observers=plan.observers,
            )
        except BaseException:  # the store is away, or no thread can be started
            store.retire(self._id)
            raise
        self._timekeeper = Timekeeper(store, plan.queue, makers) if makers else None
        self._pruner = Pruner(store, plan.queue, plan.retention)
        self._heartbeat = Heartbeat(store, self._id, lease=plan.lease, heard=self._hear)
        self._books = Bookkeeping(store, plan.queue, counts=plan.figures)
        self._in_hand: dict[int, Context] = {}
        self._unsettled: list[Settlement] = []
        self._ended: list[tuple[Context, Settlement]] = []  # those of them that are to be counted
        self._pace = Pace(batch_size=plan.batch_size)
        self._suspects = False
        self._is_unsure = False  # the store may hold claims of ours that we do not know: a turn's answer did not come
        self._due_at = _NEVER
        self._next_upkeep = self._next_look = self._next_sweep = 0.0
        self._progress = Progress(store, self._id)
        self._failures = 0
        self.turned_at = time.monotonic()  # when its last round began
        self._stopping = False
        self._give_up_at = _NEVER
        self._thread = threading.Thread(target=self._run, name=f"workqueue-{plan.queue}", daemon=True)

    def start(self) -> None:
        try:
            self._heartbeat.start()
            self._thread.start()
        except RuntimeError:  # no thread can be started
            self._executor.close()
            self._heartbeat.stop()
            self._store.retire(self._id)
            raise

    def stop(self, grace: timedelta | None = None) -> None:
        """Claim no more, and wait until what runs has ended or `grace` is over. A second call can shorten the grace.

        From inside a job it does not wait.
        """
        grace = self._plan.grace if grace is None else grace
        self._give_up_at = min(self._give_up_at, time.monotonic() + grace.total_seconds())
        self._stopping = True
        self._executor.halt()
        self._bell.ring()
        if not self.is_inside() and self._thread.ident is not None:  # else it could not be started
            self._thread.join()

    def join(self, timeout: float | None) -> bool:
        """Wait until it has ended, at most so many seconds; say whether it has."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def is_stopping(self) -> bool:
        return self._stopping

    def is_inside(self) -> bool:
        """Say whether the caller is a job of this runner."""
        return self._executor.owns_current_thread()

    # the loop

    def _run(self) -> None:
        try:
            while not (self._stopping and self._drain()):
                self._round()
        finally:
            self._leave()

    def _round(self) -> None:
        self.turned_at = time.monotonic()
        try:
            try:
                self._keep_up()
            finally:  # what fails beside the jobs keeps none of them
                self._exchange()
            self._look_after()
            if not self._stopping:
                self._pruner.step(idle=not self._in_hand)
        except Exception as error:
            self._failures += 1
            pause = min(_LONGEST_PAUSE, 0.1 * 2 ** min(self._failures, 10)) * random.uniform(0.5, 1)  # noqa: S311 - jitter
            told = "the store is away (try %d), next try in %.1f s: %s"
            log.error(told, self._failures, pause, error, exc_info=_unexpected(error))
            self._bell.wait(pause)
        else:
            self._failures = 0
            self._sleep()

    def _exchange(self) -> None:
        """Settle what is done and claim what there is room for."""
        self._collect()
        self._give_back_what_is_stuck()
        want = self._want()
        self._due_at = _NEVER
        if self._is_unsure:
            self._hand_back_unknown()
        if not self._unsettled and want is None:
            return
        self._progress.note_last()
        self._is_unsure = self._is_unsure or want is not None
        turn = self._store.turn(self._unsettled, want)
        self._is_unsure = False
        for claim in turn.refused:
            log.about(claim.job, "settled too late, its lease was lost")
        if self._unsettled:
            later = turn.held_up  # nearly always nothing, and then nothing is looked through
            self._books.ended(self._ended, [*turn.refused, *later])
            self._unsettled = [one for one in self._unsettled if one.claim in later] if later else []
            self._ended = [one for one in self._ended if one[1].claim in later] if later else []
            self._settled()
        if want is not None:
            self._take(turn, want)

    def _hand_back_unknown(self) -> None:
        known = {context.job.id: context.job.attempt for context in self._in_hand.values()}
        known |= {settlement.claim.job.id: settlement.claim.job.attempt for settlement in self._unsettled}
        self._unsettled += unknown(self._store, self._id, known)

    def _collect(self) -> None:
        done = self._executor.collect()
        if not done:
            return
        busy = 0.0
        for context, outcome in done:
            busy += context.ended_at - context.started_at
            self._finish(context, outcome)
        self._pace.note(len(done), busy, time.monotonic())

    def _finish(self, context: Context, outcome: Outcome) -> None:
        job_id = context.claim.job.id
        if self._in_hand.get(job_id) is not context:
            return  # handed back or lost while it ran
        del self._in_hand[job_id]
        if context.settled:
            if isinstance(outcome, Raised):
                log.about(context.job, "raised after its transaction had completed it: %s", clean(outcome.error))
            completed = Settlement(claim=context.claim, to=JobStatus.COMPLETED)
            self._books.ended([(context, completed)])
            tell_observers(self._plan.observers, context, completed)
            self._settled()
            return
        settlement = verdict(context, outcome, archive=self._plan.archive)
        if settlement.error:
            log.about(context.job, "%s; it is %s", clean(settlement.error), settlement.to)
        tell_observers(self._plan.observers, context, settlement)
        self._progress.ended(context, settlement)
        self._unsettled.append(settlement)
        self._ended.append((context, settlement))

    def _give_back_what_is_stuck(self) -> None:
        """Let others run what was claimed ahead, when what it waits for takes longer than it was thought to."""
        ahead = len(self._in_hand) - self._executor.capacity()
        if ahead > 0 and time.monotonic() >= self._pace.stuck_at():
            unstarted = self._executor.take_back()
            self._executor.submit(unstarted[:-ahead])
            for context in unstarted[-ahead:]:
                self._hand_back(context)

    def _want(self) -> Want | None:
        plan = self._plan
        at_once = self._executor.capacity()
        if self._stopping or not at_once or not self._heartbeat.holds():
            return None
        if self._suspects:
            if self._in_hand:
                return None
            return Want(plan.queue, self._id, plan.lease, 1, alone=True)
        now = time.monotonic()
        if not self._in_hand:
            self._pace.begin(now)
        room = min(plan.batch_size, at_once + self._pace.ahead(now, at_once) - len(self._in_hand))
        return Want(plan.queue, self._id, plan.lease, room) if room > 0 else None

    def _take(self, turn: Turn, want: Want) -> None:
        now = time.monotonic()
        contexts = [Context(claim, self._store, now) for claim in turn.claims]
        for context in contexts:
            self._in_hand[context.job.id] = context
            if self._stay:
                context.stays = True
        self._executor.submit(contexts)
        self._suspects = turn.suspects or (want.alone and bool(contexts))
        if turn.next_due is not None:
            self._due_at = time.monotonic() + turn.next_due.total_seconds()
        if self._suspects != want.alone and not self._in_hand:
            self._bell.ring()  # the mode changes, and no outcome will come to bring about the next round

    def _sleep(self) -> None:
        """Wait for the bell, but not past the next instant at which something is to be done."""
        now = time.monotonic()
        until = min(self._next_upkeep, self._due_at)
        if len(self._in_hand) > self._executor.capacity() and now < self._pace.stuck_at():
            until = min(until, self._pace.stuck_at())
        if self._stopping:
            until = min(until, self._give_up_at) if self._in_hand else now
        else:
            until = min(until, self._pruner.next_at)
        if not self._executor.finished():
            self._bell.wait(max(0.0, until - now))
        if self._executor.finished() and not self._executor.is_pressing():
            self._bell.wait(_GATHER_SECONDS)

    # beside the jobs

    def _keep_up(self) -> None:
        now = time.monotonic()
        if now < self._next_upkeep:
            return
        self._next_upkeep = now + self._plan.poll_rate.total_seconds()
        verdicts = self._upkeep.step()
        if verdicts:
            turn = self._store.turn(verdicts, None)
            refused = [*turn.refused, *turn.held_up]
            log.warning("brought back %d jobs of runners that ended", len(verdicts) - len(refused))
            self._books.lost(verdicts, refused)
            self._settled()
        if self._timekeeper is not None and not self._stopping:
            until = self._timekeeper.step()
            if until is not None:
                self._next_upkeep = min(self._next_upkeep, now + until.total_seconds())
        if now >= self._next_sweep:
            self._next_sweep = now + _SWEEP_SECONDS
            self._store.sweep(self._plan.queue, _SWEPT)
        self._books.step()
        self._progress.note(self._in_hand.values())

    def _look_after(self) -> None:
        now = time.monotonic()
        oldest = next(iter(self._in_hand.values()), None)
        if oldest is not None and now >= max(self._next_look, oldest.claimed_at + _LOOK_SECONDS):
            self._next_look = now + _LOOK_SECONDS
            self._hear(self._store.held(self._id), now)

    def _hear(self, beat: Beat, asked_at: float) -> None:
        """Pass on what the store says of our claims: cancelled by a person, or lost to another runner."""
        for job_id, context in list(self._in_hand.items()):
            attempt = context.job.attempt
            if job_id in beat.cancelled and not context.cancel_requested:
                context.cancel_requested = True
                context.cancel()
            elif not context.settled and beat.held.get(job_id) != attempt and context.claimed_at < asked_at:
                context.cancel()
        if beat.held.keys() - self._in_hand.keys():  # being settled, or claimed by a turn that we gave up on
            self._is_unsure = True

    # the end

    def _drain(self) -> bool:
        """One round of stopping; say whether nothing is left in hand."""
        for context in self._executor.take_back():
            self._hand_back(context)
        untold = [context for context in self._in_hand.values() if not context.cancelled]
        deadline = self._deadline() if untold else None
        for context in untold:
            context.deadline = deadline
            context.cancel()
        if time.monotonic() >= self._give_up_at:
            self._collect()
            for context in list(self._in_hand.values()):
                log.about(context.job, "still runs after the grace: handed back")
                self._executor.interrupt(context)
                self._hand_back(context)
        return not self._in_hand

    def _deadline(self) -> datetime | None:
        """Give the end of the grace; None while the store, whose clock tells it, is away."""
        try:
            return self._store.now() + timedelta(seconds=max(0.0, self._give_up_at - time.monotonic()))
        except WorkqueueError as error:
            log.warning("running jobs are told to end, but not until when: %s", error)
            return None

    def _hand_back(self, context: Context) -> None:
        if self._in_hand.pop(context.job.id, None) is not None:
            settlement = verdict(context, HandedBack(), archive=self._plan.archive)
            self._progress.ended(context, settlement)
            self._unsettled.append(settlement)

    def _leave(self) -> None:
        """Settle the rest, stop the beat last, and let others see that we are gone, whatever fails of it."""
        until = time.monotonic() + _LAST_TRIES.total_seconds()
        while True:
            try:
                self._exchange()
                if not self._unsettled:
                    break
                raise StoreUnavailable("another transaction holds them up", path=self._store.path)
            except Exception as error:
                if time.monotonic() >= until:
                    told = "%d outcomes could not be stored and will be run again: %s"
                    log.error(told, len(self._unsettled), error, exc_info=_unexpected(error))
                    break
                self._bell.wait(0.2)
        retire = partial(self._store.retire, self._id)
        for step in (self._executor.close, self._books.close, self._heartbeat.stop, retire, self._settled):
            try:
                step()
            except Exception as error:
                log.error("runner %d could not sign off: %s", self._id, error, exc_info=_unexpected(error))


def _unexpected(error: Exception) -> Exception | None:
    """Give the error where its traceback tells something: what the store says is expected."""
    return None if isinstance(error, StoreError) else error

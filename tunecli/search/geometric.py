"""The default search: the papers' walk in coarse steps, begun inside the grid, then narrowed down.

1. **Up.** Start half a coarse step below the middle (or where a probe says), walk up, and stop at
   the next value (or the next few) that does not improve, or diverges. A coarse step is a sixth of
   the grid, so one grid point of up to eleven. While all values lie within two points,
   nothing has been learned or nothing can be told apart: then not improving is no reason to stop.
   With several seeds, a value that does not improve by more than the noise gets them, too.
2. **Down**, only while nothing has been learned or the lowest rate tried is still the best; not at
   all where the slope above the start, carried on to the bottom, wins less than a point.
3. **Narrow.** A coarse step may have passed over the best value, which often lies close below the
   edge of divergence. The gaps beside the best are halved, first toward the edge, as long as the
   slopes on both sides of a gap, carried on into it, meet more than a point, and more than the
   noise, above the best.
4. **The last two.** With several seeds, the best and its runner-up are trained with all of them,
   unless the runner-up is behind by more than the noise.

A point is a hundredth: of 1 for an accuracy, of 100 for per cent, of the gap from knowing nothing
to perfect for a loss, or, where that is not known, of the best value.

Differs from QHM §5.2.4, which stops at the first value that is no better: here a value within two
points of all others does not stop the walk, only the next one further down, the end of the grid, or
divergence does. `paper` is the sentence as it stands.

The constants come from tables that others measured (`tests/benchmarks/bench_tables.py`).
"""

import math

from tunecli.search.evidence import Candidate, Evidence
from tunecli.search.rule import StopReason

_SECTIONS = 6  # coarse steps that the grid is cut into
_APART = 2.0  # points between two values before one that does not improve is a failure
_GAIN = 1.0  # points that one more trial must be able to win
_FALL = 10.0  # points below the best from which on a value counts as beyond the edge


def walk_and_narrow(evidence: Evidence) -> StopReason:
    """Search to the end of the strategy; the best rate is the evidence's.

    Raises:
        Missing: A trial is needed.
        BudgetSpent: The rule allows no further trial.
    """
    return _Geometric(evidence).run()


class _Geometric:
    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.rule = evidence.rule
        self.ladder = evidence.ladder
        self.step = max(1, self.ladder.size // _SECTIONS)

    def run(self) -> StopReason:
        start = self._start()
        reason = self._up(start)
        self._down(start)
        if self.evidence.best is not None:
            self._narrow()
            self._last_two()
        return reason

    def _start(self) -> int:
        if self.rule.start is None:
            return max(0, (self.ladder.size - 1) // 2 - (self.step + 1) // 2)
        return max(0, sum(rate <= self.rule.start for rate in self.rule.learning_rates) - 1)

    def _up(self, start: int) -> StopReason:
        point, position, failures = self._visit(start), start, 0
        while not point.diverged:
            # the grid is extended where its end is the best, or nothing has learned yet
            enough = self._learned() and point is not self.evidence.best
            if position == self.ladder.highest or (position >= self.ladder.size - 1 and enough):
                return StopReason.GRID_EDGE
            position = min(position + self.step, self.ladder.highest)
            point = self._visit(position)
            if point.diverged or point is self.evidence.best:
                failures = 0
                continue
            if not self._told_apart():
                continue
            best = self.evidence.best
            verdict = self.evidence.contest(point)
            if best is not None and best.diverged:  # with another seed
                return StopReason.DIVERGED
            if verdict == "better":
                failures = 0
                continue
            failures += 1
            if failures >= self.rule.patience:
                return StopReason.NO_IMPROVEMENT
        return StopReason.DIVERGED

    def _down(self, start: int) -> None:
        above = self._neighbour(self.evidence.seen(start), +1)
        reach = max(start, self.step)
        worth = self._slope(self.evidence.seen(start), above) * reach > _GAIN * self._point()
        position = start
        while position > self.ladder.lowest:
            lowest = self.evidence.seen(position)
            best_is_lowest = lowest is not None and lowest is self.evidence.best
            if self._learned() and not (best_is_lowest and (worth or position < start)):
                return
            if position <= 0 and not best_is_lowest and self.evidence.best is not None:
                return  # what learns nothing learns no more below the grid
            position = max(self.ladder.lowest, position - self.step)
            self._visit(position)

    def _narrow(self) -> None:
        while True:
            win, position = max(self._gap(+1), self._gap(-1), key=lambda gap: gap[0])
            if position is None or win <= max(_GAIN * self._point(), self.evidence.noise() or 0.0):
                return
            self.evidence.settle(self.evidence.look(position, "narrow"))

    def _gap(self, side: int) -> tuple[float, float | None]:
        """The most that there may be to win beside the best, and where to look for it."""
        here = self._centre()
        near = self._neighbour(here, side)
        position = self.ladder.between(here.position, near.position) if near else None
        if near is None or position is None:
            return -math.inf, None
        distance = abs(near.position - here.position)
        inside = range(1, round(distance)) if distance > 1 else (distance / 2,)
        rise = self._slope(self._neighbour(here, -side), here)
        if near.value is None or self._drop(here, near) > _FALL * self._point():
            # an edge: above, the value may rise right up to it
            return (math.inf if side > 0 else rise * len(inside)), position
        wall, drop = self._slope(near, self._neighbour(near, side)), self._drop(here, near)
        return max(min(rise * i, wall * (distance - i) - drop) for i in inside), position

    def _last_two(self) -> None:
        """Spend the other seeds where they decide: on the best and on what comes closest to it."""
        if self.rule.repeats == 1:
            return
        for _ in self.evidence.candidates:
            best = self.evidence.best
            if best is None or not best.learned:
                return
            others = [
                c
                for c in self.evidence.candidates
                if c is not best and c.settled and c.learned and not (c.diverged or c.given_up)
            ]
            if others:
                closest = max(others, key=lambda c: self.rule.gain(c.values[0], 0.0))
                if self.evidence.contest(closest) == "better":
                    return
            else:
                self.evidence.repeat(best, self.rule.repeats)
            if not best.diverged:
                return

    def _visit(self, position: float) -> Candidate:
        point = self.evidence.look(position)
        if not point.settled:
            self.evidence.settle(point)
        return point

    def _centre(self) -> Candidate:
        """The best; of neighbours within a point of it, the one nearest to the edge."""
        best = self.evidence.best
        assert best is not None
        trained = sorted(
            (c for c in self.evidence.candidates if not c.diverged), key=lambda c: c.position
        )
        if not self._told_apart():
            return trained[-1]
        at = trained.index(best)
        while at + 1 < len(trained) and self._drop(best, trained[at + 1]) <= _GAIN * self._point():
            at += 1
        return trained[at]

    def _neighbour(self, of: Candidate | None, side: int) -> Candidate | None:
        if of is None:
            return None
        beyond = [c for c in self.evidence.candidates if (c.position - of.position) * side > 0]
        return min(beyond, key=lambda c: abs(c.position - of.position), default=None)

    def _slope(self, one: Candidate | None, other: Candidate | None) -> float:
        """Change per grid point; infinite where nothing tells."""
        if one is None or other is None or one.value is None or other.value is None:
            return math.inf
        return abs(one.value - other.value) / abs(one.position - other.position)

    def _drop(self, here: Candidate, near: Candidate) -> float:
        assert here.value is not None
        assert near.value is not None
        return self.rule.gain(here.value, near.value)

    def _learned(self) -> bool:
        """Whether any rate has learned something, as far as can be known."""
        best = self.evidence.best
        if best is not None and best.baseline is not None and self.rule.perfect is not None:
            return best.learned
        return self._told_apart()

    def _told_apart(self) -> bool:
        """Whether something has been learned, and the values differ by more than chance may do."""
        best = self.evidence.best
        if best is None or not best.learned:
            return False
        values = [c.value for c in self.evidence.candidates if c.value is not None]
        return max(values) - min(values) > _APART * self._point()

    def _point(self) -> float:
        """A hundredth: of a share or of per cent, of the gap to perfect, or of the best value."""
        best, perfect = self.evidence.best, self.rule.perfect
        if best is None or best.value is None:
            return 0.0
        if self.rule.maximize and perfect in (1.0, 100.0) and 0 < best.value <= perfect:
            return perfect / 100
        if best.baseline is not None and perfect is not None:
            return abs(perfect - best.baseline) / 100
        return abs(best.value) / 100

"""The rates that a search can reach: the grid, its extension beyond the edges, and in between."""

import math

from tunecli.search.rule import MonotoneRule

_LOG_LIMIT = 300 * math.log(10)  # rates lie between 1e-300 and 1e300
_LEAST_RATIO = 1.01  # a gap this small is not worth halving, whatever the resolution


class Ladder:
    """Positions on a grid, as numbers: 0 is its first rate, 1 its second, ½ halfway between them.

    Between two grid points a rate is interpolated geometrically; beyond an edge the grid goes on
    with the ratio of its last two rates (2 for a grid of one). `lowest` and `highest` are the
    positions that the search may reach, `limit` is the last one that has a rate at all.

    Args:
        rule: Grid, extension and resolution.
    """

    def __init__(self, rule: MonotoneRule) -> None:
        self._rates = rates = rule.learning_rates
        self._resolution = rule.resolution
        self.size = len(rates)
        several = self.size > 1
        self._ratio_below = rates[1] / rates[0] if several else 2.0
        self._ratio_above = rates[-1] / rates[-2] if several else 2.0
        extend = rule.extend if rule.strategy != "paper" else 0
        # a rate must stay an ordinary float; of two that hardly differ the quotient may be 1
        below = (math.log(rates[0]) + _LOG_LIMIT) / max(math.log(self._ratio_below), 1e-16)
        above = (_LOG_LIMIT - math.log(rates[-1])) / max(math.log(self._ratio_above), 1e-16)
        self.lowest = -min(extend, max(0, math.floor(below)))
        self.limit = self.size - 1 + max(0, math.floor(above))
        self.highest = min(self.size - 1 + extend, self.limit)

    def rate(self, position: float) -> float:
        """The learning rate at a position."""
        index = int(position // 1)
        share = position - index
        if not share:
            return self._at(index)
        between: float = self._at(index) ** (1 - share) * self._at(index + 1) ** share
        return float(f"{between:.4g}")

    def between(self, best: float, neighbour: float) -> float | None:
        """The position to try between the best and a neighbour; None where they are close enough.

        Grid points first, the one of two middles that is nearer to the best; then halves of a gap,
        down to the resolution.
        """
        gap = neighbour - best
        if abs(gap) > 1:
            return best + math.trunc(gap / 2)
        low, high = sorted((best, neighbour))
        ratio = self.rate(high) / self.rate(low)
        if self._resolution is None or ratio <= max(self._resolution, _LEAST_RATIO):
            return None
        return best + gap / 2

    def _at(self, index: int) -> float:
        if index < 0:
            return float(f"{self._rates[0] * self._ratio_below**index:.12g}")
        if index >= self.size:
            beyond = index - self.size + 1
            return float(f"{self._rates[-1] * self._ratio_above**beyond:.12g}")
        return self._rates[index]

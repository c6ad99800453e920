"""QHM §5.2.4 to the letter: walk the grid upward, stop where the next values do not improve.

Start from the smallest learning rate of an ascending grid, go upward, and "stop immediately when
the next (or next few) grid values does not give us a better test accuracy". What the sentence
leaves open is settled here:

- **Repeats.** A rate is trained with every seed; its value is their mean.
- **Ties.** Only a strictly better value is an improvement; on a tie the smaller rate stays.
- **Patience** counts successive rates without improvement; at `patience` the walk stops.
- **Divergence** is an answer, "too large": one diverged seed settles a rate, and the walk stops at
  once, since larger rates diverge too.
- **Flat start.** Rates that are too small to learn anything all give the same value, up to chance,
  and one of them always fails to improve. Until some rate has learned something, non-improvement
  counts for nothing.
"""

from tunecli.search.evidence import Evidence
from tunecli.search.rule import StopReason


def walk_grid(evidence: Evidence) -> StopReason:
    """Walk until the rule stops; the best rate is the evidence's.

    Raises:
        Missing: A trial is needed.
        BudgetSpent: The rule allows no further trial.
    """
    rule, failures = evidence.rule, 0
    for position in range(len(rule.learning_rates)):
        point = evidence.look(position)
        evidence.repeat(point, rule.repeats)
        verdict = evidence.settle(point)
        if point.diverged:
            return StopReason.DIVERGED
        if verdict == "better":
            failures = 0
        elif evidence.best is not None and evidence.best.learned:
            failures += 1
        if failures >= rule.patience:
            return StopReason.NO_IMPROVEMENT
    return StopReason.GRID_EDGE

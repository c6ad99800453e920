"""Which version of the parameters every update of a simulated training reads, by its recipe."""

from collections import Counter
from typing import assert_never

from tunecli.recipe import declared_delay
from tunecli.recipe.asynchronous import AsynchronousSection
from tunecli.theory.delay import HistogramDelay
from tunecli.training.asynchronous.delivery import Delivery, clock, drawn, round_robin

_CLOCK_UPDATES = 10_000


def planned_delivery(section: AsynchronousSection, steps: int, *, seed: int) -> Delivery:
    """Who is served when, for a whole training.

    Args:
        section: Its engine is `simulated`.
        steps: Updates of the whole schedule.
        seed: Of delays that are drawn.
    """
    form = section.delay
    match form.name:
        case "workers":
            assert section.num_workers is not None
            return round_robin(section.num_workers, steps)
        case "clock":
            return clock(form.speeds, steps, seed=seed, service=form.service)
        case "constant" | "uniform" | "gaussian" | "geometric" | "histogram":
            delay = declared_delay(section)
            assert delay is not None
            return drawn(delay, steps, seed=seed)
        case _:
            assert_never(form)


def clock_delays(section: AsynchronousSection) -> HistogramDelay:
    """The delays of a simulated clock, which no formula gives, counted over 10,000 updates.

    Args:
        section: Its delay is `clock`.
    """
    delays = planned_delivery(section, _CLOCK_UPDATES, seed=0).delays
    return HistogramDelay.from_counts(Counter(delays.tolist()))

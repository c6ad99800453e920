"""What the recipe's metric means: direction, perfect value, and what nothing learned comes to."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunecli.errors import InvalidValueError
from tunecli.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from tunecli.training import CurvePoint, Evaluation, TrialOutcome

_WORST = 1e9  # of a metric of which no value is known


@dataclass(frozen=True, slots=True)
class Metric:
    """A validation metric, as the search compares it.

    Args:
        name: `accuracy` (share of right answers), `loss` (its mean), or a name of the recipe's.
        maximize: Whether larger is better.
        perfect: The value that cannot be beaten; None: not known.
        nothing: The value of knowing nothing; None: not known beforehand.
        of_frequencies: The value of the model that answers with the classes' frequencies alone,
            from the frequencies; None where there are no classes.
    """

    name: str
    maximize: bool
    perfect: float | None
    nothing: float | None = None
    of_frequencies: "Callable[[Tensor], float] | None" = None

    def of(self, evaluation: "Evaluation | CurvePoint") -> float:
        """The metric's value in an evaluation; NaN of a person's metric that was not measured.

        Raises:
            InvalidValueError: The outputs are no logits of the targets' classes, and the accuracy
                is asked for.
        """
        if self.name == "accuracy":
            if evaluation.accuracy is None:  # of a person's own model or data: known only now
                raise InvalidValueError(
                    "search.metric must be loss, or one of metrics, where the model's outputs are "
                    "not one logit per class of the targets but got accuracy; write `metric: loss`"
                )
            return evaluation.accuracy
        if self.name == "loss":
            assert evaluation.loss is not None
            return evaluation.loss
        # a loss that is not finite leaves the others unmeasured
        return evaluation.metrics.get(self.name, math.nan)

    def baseline(
        self, untrained: "Evaluation | None", targets: "Tensor | None" = None
    ) -> float | None:
        """What a model gets that has learned nothing: the better of two such models.

        One is the untrained network, the other answers with the classes' frequencies alone, which
        is all that a far too small learning rate can still learn.

        Args:
            untrained: Before the first update; None: not known.
            targets: The classes of the validation set; None: not known.
        """
        if self.nothing is not None:
            return self.nothing
        known = [] if untrained is None else [self.of(untrained)]
        if self.of_frequencies is not None and targets is not None:
            known.append(self.of_frequencies(_frequencies(targets)))
        if not known:
            return None
        return max(known) if self.maximize else min(known)

    def worst(self, untrained: "Evaluation | None", divergence_factor: float) -> float:
        """The finite value that a diverged trial is stored with.

        No accuracy is below it, and no loss above it but of a model that is that much worse than
        untrained; the rule goes by `diverged` alone.
        """
        if self.name == "accuracy":
            return 0.0
        known = self.nothing if untrained is None else self.of(untrained)
        if known is None:
            return -_WORST if self.maximize else _WORST
        away = (divergence_factor - 1) * abs(known)
        return known - away if self.maximize else known + away

    def value(self, outcome: "TrialOutcome", divergence_factor: float) -> float:
        """The value of a finished trial."""
        if outcome.final is None:
            return self.worst(outcome.untrained, divergence_factor)
        return self.of(outcome.final)


def metric_of(recipe: Recipe) -> Metric:
    """The metric that a recipe's search goes by."""
    name = recipe.search.metric
    if name in recipe.metrics:
        section = recipe.metrics[name]
        return Metric(name, section.maximize, section.perfect, section.baseline)
    classifies = recipe.command is None and recipe.loss.name == "cross_entropy"
    if name == "accuracy":
        return Metric(name, True, 1.0, None, _share_of_the_largest)
    # of a person's own loss nothing is known, not even that it is never below zero
    own = recipe.command is not None or recipe.loss.name == "import"
    perfect = None if own else 0.0
    return Metric(name, False, perfect, None, _entropy if classifies else None)


def _frequencies(targets: "Tensor") -> "Tensor":
    import torch

    labels = targets.flatten().cpu().long()
    counts = torch.bincount(labels[labels >= 0]).double()  # a person's loss may leave out others
    return counts[counts > 0] / counts.sum()


def _share_of_the_largest(frequencies: "Tensor") -> float:
    return frequencies.max().item()


def _entropy(frequencies: "Tensor") -> float:
    return -(frequencies * frequencies.log()).sum().item()

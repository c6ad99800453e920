"""The grammar of asynchronous training: who computes gradients, and how their delays arise."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from tunecli.recipe.delays import LARGEST_DELAY
from tunecli.recipe.section import Section, broken_rule

MAX_WORKERS = 1024

Delay = Annotated[int, Field(ge=0, le=LARGEST_DELAY)]
Speed = Annotated[float, Field(gt=0)]
Count = Annotated[float, Field(ge=0)]


class WorkersDelayForm(Section):
    """Whatever delay the workers bring about."""

    name: Literal["workers"] = Field(
        description="workers: simulated ones are served in turn, so that N of them mean a delay of "
        "N − 1; the delay of processes is measured."
    )


class ClockDelayForm(Section):
    """A simulated clock: workers of given speeds, served as they get ready."""

    name: Literal["clock"] = Field(description="clock: workers that take time, simulated.")
    speeds: Annotated[
        tuple[Speed, ...], Field(strict=False, min_length=1, max_length=MAX_WORKERS)
    ] = Field(
        description="Gradients per unit of time, one entry per worker: [1, 1, 1, 0.1] has a "
        "straggler ten times slower.",
        examples=[[1, 1, 1, 0.1]],
    )
    service: Literal["exponential", "constant"] = Field(
        default="exponential",
        description="How long a gradient takes: drawn from an exponential distribution, or always "
        "1 / speed.",
    )


class ConstantDelayForm(Section):
    """The same delay at every update."""

    name: Literal["constant"] = Field(description="constant: always the same.")
    delay: Delay = Field(description="The delay τ, in updates.", examples=[31])


class UniformDelayForm(Section):
    """Whole delays from low to high, all alike."""

    name: Literal["uniform"] = Field(description="uniform: from low to high, all alike.")
    low: Delay = Field(default=0, description="The smallest delay.")
    high: Delay = Field(description="The largest delay.", examples=[30])

    @field_validator("high")
    @classmethod
    def _not_below_low(cls, high: int, info: ValidationInfo) -> int:
        low = info.data.get("low")
        if low is not None and high < low:
            raise broken_rule(f"be ≥ low ({low})", "raise high or lower low")
        return high


class GaussianDelayForm(Section):
    """A normal distribution in whole numbers from 1 to twice the mean (STAB, appendix C)."""

    name: Literal["gaussian"] = Field(description="gaussian: discretized, from 1 to 2 · mean.")
    mean: Annotated[int, Field(ge=1, le=LARGEST_DELAY)] = Field(
        description="The mean delay.", examples=[15]
    )
    std: float = Field(default=1.0, gt=0, description="The standard deviation.")


class GeometricDelayForm(Section):
    """P(τ = l) = (1 − μ) μ^l (SME, Assumption 1)."""

    name: Literal["geometric"] = Field(
        description="geometric: (1 − μ) μ^τ with μ = mean / (1 + mean)."
    )
    mean: Annotated[float, Field(ge=0, le=LARGEST_DELAY)] = Field(
        description="The mean delay, N − 1 for N workers.", examples=[15]
    )


class HistogramDelayForm(Section):
    """Measured counts."""

    name: Literal["histogram"] = Field(description="histogram: what was counted.")
    counts: Annotated[
        tuple[Count, ...], Field(strict=False, min_length=1, max_length=LARGEST_DELAY)
    ] = Field(description="How often each delay occurred, from delay 0.", examples=[[1, 20, 5]])

    @field_validator("counts")
    @classmethod
    def _not_all_zero(cls, counts: tuple[float, ...]) -> tuple[float, ...]:
        if not sum(counts) > 0:
            raise broken_rule("have an entry > 0", "write how often each delay occurred")
        return counts


DelayForm = (
    WorkersDelayForm
    | ClockDelayForm
    | ConstantDelayForm
    | UniformDelayForm
    | GaussianDelayForm
    | GeometricDelayForm
    | HistogramDelayForm
)
DELAY_FORMS: dict[str, type[Section]] = {
    "workers": WorkersDelayForm,
    "clock": ClockDelayForm,
    "constant": ConstantDelayForm,
    "uniform": UniformDelayForm,
    "gaussian": GaussianDelayForm,
    "geometric": GeometricDelayForm,
    "histogram": HistogramDelayForm,
}


class AsynchronousSection(Section):
    """Asynchronous SGD: who computes gradients, how late they come, what the rate makes of it."""

    engine: Literal["simulated", "processes"] = Field(
        default="simulated",
        description="simulated: delays without workers, in one process, repeatable; processes: a "
        "parameter server and worker processes on this machine.",
    )
    delay: DelayForm = Field(
        default=WorkersDelayForm(name="workers"),
        discriminator="name",
        description="How delays arise. With processes, which have the delay that they have, "
        "anything but workers declares what the rate is scaled for, instead of measuring it.",
    )
    num_workers: Annotated[int, Field(ge=1, le=MAX_WORKERS)] | None = Field(
        default=None,
        validate_default=True,
        examples=[16],
        description="Number of workers N. For `processes`, and for `simulated` workers served in "
        "turn; elsewhere the delay says it all.",
    )
    momentum_kind: Literal["none", "standard", "shifted"] = Field(
        default="none",
        description="none: plain SGD, whatever schedule.momentum says; standard: one momentum "
        "buffer at the server; shifted: one per worker (STAB's shifted momentum).",
    )
    scaling: Literal["exact", "mean", "eq8", "inverse", "inverse-plus-one", "none"] = Field(
        default="exact",
        description="What a delay does to the learning rate. exact: the largest rate at which a "
        "minimum stays stable shrinks by this factor; mean: the same for the mean of the iterates "
        "alone; eq8: π / (4 (τ + ½)); inverse: 1/τ; inverse-plus-one: 1/(τ + 1); none: nothing.",
    )
    staleness_aware: bool = Field(
        default=False,
        validate_default=True,
        description="Scale every update by its own delay, instead of all of them by the "
        "distribution of the delays.",
    )

    @field_validator("delay")
    @classmethod
    def _clock_is_simulated(cls, delay: DelayForm, info: ValidationInfo) -> DelayForm:
        if delay.name == "clock" and info.data.get("engine") == "processes":
            raise broken_rule(
                "not be clock with processes", "their delay is measured: leave it out"
            )
        return delay

    @field_validator("num_workers")
    @classmethod
    def _where_workers_are(cls, num_workers: int | None, info: ValidationInfo) -> int | None:
        if "engine" not in info.data or "delay" not in info.data:
            return num_workers
        if info.data["engine"] == "processes":
            if num_workers is None or num_workers < 2:
                raise broken_rule("be ≥ 2 with processes", "one worker is never late; add a second")
        elif info.data["delay"].name == "workers":
            if num_workers is None:
                raise broken_rule(
                    "be given unless delay is",
                    "add `num_workers: 16`, or a delay such as "
                    "`delay: {name: constant, delay: 15}`",
                )
        elif num_workers is not None:
            raise broken_rule(
                f"not stand beside a simulated delay ({info.data['delay'].name})",
                "remove it (on the command line: training.asynchronous.num_workers=null)",
            )
        return num_workers

    @field_validator("staleness_aware")
    @classmethod
    def _by_a_rule_that_is_defined(cls, staleness_aware: bool, info: ValidationInfo) -> bool:
        scaling = info.data.get("scaling")
        if staleness_aware and scaling in ("eq8", "inverse", "none"):
            raise broken_rule(
                f"be false with scaling {scaling}",
                "write `scaling: exact`, which is right at delay 0, too",
            )
        return staleness_aware

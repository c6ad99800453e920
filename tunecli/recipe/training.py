"""The grammar of one trial: the training algorithm and what every one of them has."""

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from tunecli.recipe.asynchronous import AsynchronousSection
from tunecli.recipe.section import Section, broken_rule


class TrainingSection(Section):
    """How one trial trains."""

    algorithm: Literal["centralized", "asynchronous"] = Field(
        default="centralized",
        description="centralized: one model, one process; asynchronous: gradients that are late, "
        "as `asynchronous` says.",
    )
    weight_decay: float = Field(default=0.0, ge=0, description="Weight decay (L2 penalty).")
    weight_decay_mode: Literal["coupled", "decoupled"] = Field(
        default="coupled",
        description="coupled: added to the gradient, so momentum sees it; "
        "decoupled: shrinks the weights beside the update.",
    )
    reset_momentum: bool = Field(
        default=False,
        description="Reset the momentum buffer when a stage starts. By default it is carried over, "
        "as in the proof of the QHM paper's Theorem 4.",
    )
    micro_batch_size: int | None = Field(
        default=None,
        ge=1,
        examples=[32],
        description="Samples that go through the model at once, where a whole batch does not fit "
        "the device: gradients are summed, so the batch, its updates and the rate stay as they "
        "are. With batch norm that is not the same training; a warning says so.",
    )
    evaluation_batch_size: int | None = Field(
        default=None,
        ge=1,
        examples=[64],
        description="Samples that go through the model at once in an evaluation; by default what "
        "the size of a sample suggests.",
    )
    evaluations: int = Field(
        default=10,
        ge=1,
        le=10_000,
        description="How often a trial is evaluated on the validation set: evenly spaced over its "
        "steps, the last time at its end.",
    )
    divergence_factor: float = Field(
        default=10.0,
        gt=1,
        description="A trial has diverged when its training loss is not finite, or its median over "
        "a check window exceeds this many times the loss at the start.",
    )
    cpu_threads: int = Field(
        default=1,
        ge=1,
        le=1024,
        description="Threads of a trial on the CPU, and of each worker process that it has. One is "
        "best for small models, lets several runs share a machine, and repeats bit for bit "
        "whatever the number of cores.",
    )
    checkpoint_every_s: float = Field(
        default=30.0, ge=0, description="Seconds between two checkpoints."
    )
    asynchronous: AsynchronousSection | None = Field(
        default=None,
        validate_default=True,
        examples=[{"num_workers": 16}],
        description="Workers and delays, for algorithm asynchronous.",
    )

    @field_validator("asynchronous")
    @classmethod
    def _where_it_is_meant(
        cls, asynchronous: AsynchronousSection | None, info: ValidationInfo
    ) -> AsynchronousSection | None:
        algorithm = info.data.get("algorithm")
        if algorithm == "asynchronous" and asynchronous is None:
            raise broken_rule(
                "be given with training.algorithm asynchronous",
                "add, for example, `asynchronous: {num_workers: 16}` to training",
            )
        if algorithm == "centralized" and asynchronous is not None:
            raise broken_rule(
                "not stand beside training.algorithm centralized",
                "write `algorithm: asynchronous`, or remove the section",
            )
        return asynchronous

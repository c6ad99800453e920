"""What a parameter server and its workers tell each other, and what carries it."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """From the server to a worker: compute the gradient of one batch.

    Args:
        worker: Who is asked, in [0, num_workers).
        version: Updates that the parameters sent along had seen.
        samples: Indices into the training set, int64, shape (batch size,).
    """

    worker: int
    version: int
    samples: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Gradient:
    """From a worker to the server: the answer to one `Work`.

    Args:
        worker: Who computed it.
        version: That of the work: updates that the parameters it was computed at had seen.
        values: Mean gradient of the batch, flat (see `FlatParameters.gradient`).
        loss: Mean loss of the batch at those parameters.
        batch_size: Samples that the model saw.
        buffers: The model's buffers after the batch (batch normalization), in the model's order.
    """

    worker: int
    version: int
    values: Tensor
    loss: float | Tensor
    batch_size: int
    buffers: tuple[Tensor, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """A worker that has started and waits for its first `Work`: sent earlier, it would be old.

    Args:
        worker: Who.
    """

    worker: int


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """A worker that will not answer any more.

    Args:
        worker: Who.
        reason: What is known of why.
    """

    worker: int
    reason: str


class Transport(Protocol):
    """Workers that compute beside the server, wherever they run."""

    num_workers: int

    def send(self, work: Work, parameters: Tensor) -> None:
        """Ask a worker for a gradient at the server's present parameters.

        Args:
            work: What to compute, and who is to.
            parameters: The flat values; they are copied before this returns.
        """

    def receive(self, timeout_s: float) -> Gradient | WorkerReady | WorkerLost | None:
        """Wait for what comes next, from whichever worker.

        A gradient's tensors may change as soon as its worker is asked again. A worker that never
        answers is lost like one that has died.

        Args:
            timeout_s: Seconds after which None is returned if nothing has come, ≥ 0.
        """

    def replace(self, worker: int) -> bool:
        """Start another worker in the place of a lost one; False when it is given up.

        Raises:
            RunError: None can be started; it is given up.
        """

    def close(self) -> None:
        """End all workers; a second call does nothing."""

"""Asynchronous SGD with real workers: whoever is done first is served first."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tunecli.data.load import AnySplit, Split
from tunecli.errors import RunError, require
from tunecli.optim.qhm import WeightDecayMode
from tunecli.schedule import Schedule
from tunecli.theory.stability import MomentumKind
from tunecli.training.asynchronous.arrivals import Arrivals
from tunecli.training.asynchronous.messages import Gradient, Transport, Work
from tunecli.training.asynchronous.parameters import FlatParameters
from tunecli.training.asynchronous.server import ParameterServer, RefusedGradientError
from tunecli.training.batches import BatchSizes, BatchStream
from tunecli.training.evaluate import evaluate_model, weights_of
from tunecli.training.protocol import Evaluation

_UPDATES_BEFORE_VERDICT = 50  # per worker: then it is known whether there is any delay


class RemoteTraining:
    """Minimize cross-entropy by the gradients of workers that do not wait for each other.

    An update is a gradient that arrived and could be applied (see `ParameterServer`); its delay is
    measured, not assumed. The worker then gets the new parameters and the next samples, and the
    others go on with what they have. All workers begin together, when the last one is ready.

    - α, β and ν are those of the update that is made; b is that of the moment when the samples were
      handed out: the first few batches of a stage still have the size of the stage before.
    - `samples` counts what was handed out: also what was refused, lost with its worker, or still
      in flight at the end. `batch_sizes` counts what was applied.
    - A gradient that is not finite is refused. When nothing else comes any more, the parameters are
      past saving (see `ParameterServer.past_saving`): from there on `step` returns NaN and changes
      nothing, and the trial finds that it diverged.
    - A worker that dies, or is silent for too long, is replaced or dropped (see
      `Transport.replace`), and training goes on. The new one goes on with the momentum of the
      parameters that it reads (see `ParameterServer.hand_out`), as all do after a resume.
    - Running statistics of batch normalization are evaluated as the mean over the workers.
    - Two runs are never quite the same, unless `turns` says who is waited for. A resumed run starts
      its workers again, at the parameters of the checkpoint; its batches go on from there.

    Args:
        model: The network, already initialized; it is moved to `device`.
        train: Training samples; here only their number matters.
        schedule: α, β, ν and b at every update.
        connect: Makes the workers for the model; called at the first step, and again after a
            `close`.
        num_workers: As many as `connect` makes, ≥ 2.
        seed: Seed of the order of the samples.
        device: Where to evaluate; the parameters are kept in the CPU's memory.
        momentum_kind: See `ParameterServer`.
        weight_decay: λ ≥ 0.
        weight_decay_mode: `coupled` (λθ is added to the gradient) or `decoupled`.
        reset_momentum: Set the momentum to zero at the start of each stage.
        staleness_factor: See `ParameterServer`.
        turns: Workers in the order in which their gradients are taken, over and over; then the run
            can be repeated, and a slow worker holds up the others.

    Raises:
        InvalidValueError: An argument outside its range.
    """

    def __init__(
        self,
        model: nn.Module,
        train: Split,
        schedule: Schedule,
        *,
        connect: Callable[[nn.Module], Transport],
        num_workers: int,
        seed: int,
        device: torch.device,
        momentum_kind: MomentumKind = "none",
        weight_decay: float = 0.0,
        weight_decay_mode: WeightDecayMode = "coupled",
        reset_momentum: bool = False,
        staleness_factor: Callable[[int], float] | None = None,
        turns: Sequence[int] | None = None,
    ) -> None:
        remedy = "one worker has no delay, so train centralized"
        require(num_workers >= 2, "num_workers", "≥ 2", num_workers, remedy)
        everyone = set(range(num_workers))
        require(turns is None or set(turns) == everyone, "turns", f"of all {num_workers}", turns)
        self.model = model.to(device)
        self.schedule = schedule
        self.num_workers = num_workers
        self._device = device
        self._connect = connect
        self._turns = turns
        self._reset_at = set(schedule.ends[:-1]) if reset_momentum else set()
        self._batches = BatchStream(len(train), seed=seed, device=torch.device("cpu"))
        self._flat = FlatParameters(self.model)
        self.server = ParameterServer(
            self._flat.values.cpu(),  # the same memory where the model is on the CPU
            num_workers=num_workers,
            momentum_kind=momentum_kind,
            weight_decay=weight_decay,
            weight_decay_mode=weight_decay_mode,
            staleness_factor=staleness_factor,
        )
        self._transport: Transport | None = None
        self._arrivals: Arrivals | None = None
        self._seen = BatchSizes()
        self._buffers: dict[int, tuple[Tensor, ...]] = {}  # the latest of each worker
        self._notes: Counter[str] = Counter()
        self._passed_over = 0  # updates that were due when the parameters were past saving
        self._misfit = ""  # why a finite gradient was refused, since the last update

    @property
    def total_steps(self) -> int:
        """Updates of the whole schedule."""
        return self.schedule.total_steps

    @property
    def steps(self) -> int:
        """Updates made so far, and those passed over because of what was not finite."""
        return self.server.version + self._passed_over

    @property
    def samples(self) -> int:
        """Samples handed out so far, whatever became of them."""
        return self._batches.position

    @property
    def batch_sizes(self) -> tuple[tuple[int, int], ...]:
        """The batches of the gradients applied, as (batch size, updates in a row)."""
        return self._seen.runs

    def step(self) -> Tensor:
        """Wait for the next gradient that can be applied, apply it, return its batch's mean loss.

        Raises:
            NotYetError: Nothing has come for a quarter of a second.
            RunError: No worker is left, none brings a usable gradient, a device's memory does not
                suffice, or no update has had any delay.
        """
        arrivals = self._arrivals or self._start()
        while not self.server.past_saving:
            gradient = arrivals.next(self._ask)
            refusal = self._apply(gradient)
            if not refusal:
                self._misfit = ""
                return torch.as_tensor(gradient.loss, dtype=self.server.values.dtype)
            if gradient.values.isfinite().all():
                self._misfit = refusal
            self._notes[f"a gradient of worker {gradient.worker} was refused: {refusal}"] += 1
            self._ask(gradient.worker)
        if self._misfit:
            raise RunError(
                "every gradient was refused of late, and the last finite one because "
                f"{self._misfit}; all workers must train the server's model and run this version "
                "of tunecli"
            )
        self._passed_over += 1
        return torch.full((), math.nan, dtype=self.server.values.dtype)

    def evaluate(self, split: AnySplit) -> Evaluation:
        """Mean cross-entropy and accuracy of the server's parameters, in evaluation mode."""
        self._gather()
        return evaluate_model(self.model, split, self._device)

    def weights(self) -> dict[str, Tensor]:
        """The server's parameters and the buffers as they are evaluated, copied to the CPU."""
        self._gather()
        return weights_of(self.model)

    def measurements(self) -> dict[str, Any]:
        """The delays of all updates, and what happened to the workers."""
        averaged = any(buffer.is_floating_point() for buffer in self.model.buffers())
        return self.server.record.measurements(
            batch_norm="mean of the workers" if averaged else None
        )

    def take_notes(self) -> list[str]:
        """What happened since the last call: refused gradients and lost workers."""
        lines = [
            line if count == 1 else f"{line} ({count} times)" for line, count in self._notes.items()
        ]
        self._notes.clear()
        return lines

    def state_dict(self) -> dict[str, Any]:
        """The server, the buffers as they are evaluated, position in the data and record."""
        self._merge_buffers()
        return {
            "server": self.server.state_dict(),
            "buffers": list(self.model.buffers()),
            "position": self._batches.position,
            "seen": self._seen.to_list(),
            "passed_over": self._passed_over,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was taken, with workers that start again."""
        self.close()
        self.server.load_state_dict(state["server"])
        for buffer, saved in zip(self.model.buffers(), state["buffers"], strict=True):
            buffer.copy_(saved)
        self._batches.position = state["position"]
        self._seen = BatchSizes(state["seen"])
        self._passed_over = state["passed_over"]

    def _gather(self) -> None:
        self._flat.values.copy_(self.server.values)
        self._merge_buffers()

    def close(self) -> None:
        """End the workers; another step would start them again."""
        if self._transport is not None:
            self._merge_buffers()
            self._transport.close()
        self._transport = self._arrivals = None
        self._buffers.clear()

    def _start(self) -> Arrivals:
        self._transport = self._connect(self.model)
        self._arrivals = Arrivals(
            self._transport, record=self.server.record, notes=self._notes, turns=self._turns
        )
        return self._arrivals

    def _ask(self, worker: int) -> None:
        version = self.server.version
        if version < self.total_steps:
            assert self._transport is not None
            samples = self._batches.next(self.schedule.stage_at(version).batch_size)
            self.server.hand_out(worker)
            self._transport.send(Work(worker, version, samples), self.server.values)

    def _apply(self, gradient: Gradient) -> str:
        """Make an update of a gradient and ask its worker for another; or why that cannot be."""
        server = self.server
        if server.version in self._reset_at:
            server.reset_momentum()
        try:
            server.apply(gradient, self.schedule.stage_at(server.version))
        except RefusedGradientError as refusal:
            return str(refusal)
        if gradient.buffers:
            self._buffers.pop(gradient.worker, None)  # so that the latest is the last
            self._buffers[gradient.worker] = tuple(each.clone() for each in gradient.buffers)
        self._ask(gradient.worker)  # before the bookkeeping: it has begun meanwhile
        self._seen.add(gradient.batch_size)
        if server.version == min(_UPDATES_BEFORE_VERDICT * self.num_workers, self.total_steps):
            require_delays(server.record.delays, server.record.workers)
        return ""

    def _merge_buffers(self) -> None:
        """Give the model the mean of the workers' buffers, or the latest where there is none."""
        alive = self._arrivals.alive if self._arrivals else set()
        copies = [copy for worker, copy in self._buffers.items() if worker in alive]
        for own, *theirs in zip(self.model.buffers(), *copies, strict=True):
            # statistics of a batch that brought no finite gradient would spoil the mean for good
            usable = [each for each in theirs if each.isfinite().all()] or theirs
            if usable:
                mean = own.is_floating_point()
                own.copy_(torch.stack(usable).mean(dim=0) if mean else usable[-1])


def require_delays(delays: Counter[int], workers: Sequence[int]) -> None:
    """Let nothing be called asynchronous that is not.

    Args:
        delays: Updates by their delay.
        workers: Updates of each worker.

    Raises:
        RunError: There are updates, and none had a delay.
    """
    if set(delays) == {0}:
        active = sum(count > 0 for count in workers)
        raise RunError(
            f"asynchronous training must have delays, but all {delays.total()} updates had the "
            f"delay 0, and {active} of {len(workers)} workers brought them; let at least two "
            "workers compute at the same time, each on a core or a device of its own, or choose "
            "training.algorithm centralized"
        )

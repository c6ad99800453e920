"""Workers that are processes of this machine, and share memory with the server."""

import io
import pickle
import selectors
import weakref
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tunecli.child import Child, describe_end, start_child
from tunecli.data.load import Split
from tunecli.errors import InvalidValueError, RunError, require
from tunecli.training.asynchronous.messages import Gradient, Work, WorkerLost, WorkerReady
from tunecli.training.asynchronous.parameters import FlatParameters
from tunecli.training.asynchronous.shared_memory import Layout, SharedMemory
from tunecli.training.asynchronous.silence import Silence, SilenceLimits
from tunecli.training.asynchronous.worker import (
    ANSWER,
    GRADIENT,
    OUT_OF_MEMORY,
    READY,
    REQUEST,
    Setup,
    Slot,
    SlotTensors,
    serve,
)

_RESTARTS = 3  # per worker


class ProcessWorkers:
    """A `Transport` to processes of this machine, each with a CPU core or a GPU of its own.

    They start at once and report when they are ready. Parameters, gradients, samples' indices and
    buffers go through shared memory, which also holds the training data once for all; a few bytes
    through a pipe say that something is there. The processes end when this object is closed or
    dropped, or when its process is gone, however that happened.

    A worker that says nothing for too long is killed. One that died is replaced up to three times,
    but not twice in a row before it has delivered anything.

    Args:
        model: The network, initialized; its buffers are those that the workers start with.
        train: Training samples, copied into the shared memory.
        num_workers: Processes, ≥ 1.
        largest_batch: Largest batch that will be asked for, ≥ 1 samples.
        devices: Handed out in turn: worker i computes on `devices[i % len(devices)]`.
        seed: Of what the models draw (dropout): each worker draws something else.
        threads: Of each process, on the CPU, ≥ 1.
        log: File to which the processes append what they print; without one it is dropped.
        pauses_s: Seconds that each worker waits before each gradient, to test what a slow one does.
        silence: When a worker has said nothing for too long.

    Raises:
        InvalidValueError: An argument outside its range, or a model that cannot be sent.
        RunError: A process, its log or the memory cannot be had.
    """

    def __init__(
        self,
        model: nn.Module,
        train: Split,
        *,
        num_workers: int,
        largest_batch: int,
        devices: Sequence[str] = ("cpu",),
        seed: int = 0,
        threads: int = 1,
        log: Path | None = None,
        pauses_s: Sequence[float] | None = None,
        silence: SilenceLimits | None = None,
    ) -> None:
        pauses = tuple(pauses_s) if pauses_s is not None else (0.0,) * num_workers
        require(num_workers >= 1, "num_workers", "≥ 1", num_workers)
        require(threads >= 1, "threads", "≥ 1", threads)
        require(largest_batch >= 1, "largest_batch", "≥ 1", largest_batch)
        require(len(devices) >= 1, "devices", "at least one name", devices)
        require(len(pauses) == num_workers, "pauses_s", "one number per worker", pauses_s)
        self.num_workers = num_workers
        self._devices, self._seed, self._log, self._pauses = tuple(devices), seed, log, pauses
        self._threads = threads
        self._share(model, train, largest_batch)
        self._lives = [0] * num_workers
        self._delivered = [0] * num_workers  # gradients, in this life
        self._told: deque[int] = deque()  # workers whose pipes have something, first come first
        self._children: list[Child | None] = [None] * num_workers
        self._silence = Silence(num_workers, limits=silence or SilenceLimits())
        self._selector = selectors.DefaultSelector()
        self._end = weakref.finalize(self, _end, self._children, self._selector, self._memory)
        for worker in range(num_workers):
            self._start(worker)

    def send(self, work: Work, parameters: Tensor) -> None:
        """Ask a worker for a gradient; see `Transport`."""
        child, slot, size = self._children[work.worker], self._slots[work.worker], len(work.samples)
        if child is None:
            return  # `receive` has told
        slot.parameters.copy_(parameters)
        slot.samples[:size].copy_(work.samples)
        with suppress(OSError):  # it died; `receive` will tell
            child.connection.send_bytes(REQUEST.pack(work.version, size))
        self._silence.begin(work.worker, "answer")

    def receive(self, timeout_s: float) -> Gradient | WorkerReady | WorkerLost | None:
        """Wait for what comes next; a gradient's tensors are its worker's until it is asked again.

        Raises:
            RunError: A device's memory does not suffice.
        """
        if not self._told:
            self._told.extend(key.data for key, _ in self._selector.select(timeout_s))
        for worker, what in self._silence.overdue():
            child = self._children[worker]
            if child is not None and not child.connection.poll():  # or it has answered, if late
                return self._kill(worker, child, what)
        if not self._told:
            return None
        worker = self._told.popleft()
        child = self._children[worker]
        assert child is not None
        self._silence.end(worker)
        try:
            message = child.connection.recv_bytes()
        except (EOFError, OSError):
            return self._lose(worker, describe_end(self._retire(worker)))
        kind = message[:1]
        if kind == GRADIENT:
            _, version, seen, loss = ANSWER.unpack(message)
            self._delivered[worker] += 1
            slot = self._slots[worker]
            return Gradient(worker, version, slot.gradient, loss, seen, slot.buffers)
        if kind == READY:
            return WorkerReady(worker)
        self._retire(worker)
        error = message[1:].decode()
        if kind == OUT_OF_MEMORY:
            raise RunError(
                f"the memory did not suffice for worker {worker}: {error}; use fewer workers or a "
                "smaller schedule.batch_size or model, then go on with --resume"
            )
        return self._lose(worker, f"stopped at {error}")

    def replace(self, worker: int) -> bool:
        """Start another process in the place of a lost one, unless that makes no sense any more.

        Raises:
            RunError: The system has no other process, or no memory for it.
        """
        # It begins with the buffers of the lost one. If that was killed just while it wrote them,
        # some are a batch older than the others: as statistics they are as good.
        hopeless = self._lives[worker] > 1 and not self._delivered[worker]
        if hopeless or self._lives[worker] > _RESTARTS:
            return False
        self._start(worker)
        return True

    def close(self) -> None:
        """End all processes; a second call does nothing."""
        self._end()

    def _share(self, model: nn.Module, train: Split, largest_batch: int) -> None:
        """Lay out the shared memory and fill it."""
        saved, replica = _saved(model)
        values, buffers = FlatParameters(replica).values, tuple(replica.buffers())
        layout = Layout()
        content = (torch.frombuffer(saved, dtype=torch.uint8), train.inputs, train.targets)
        self._common = tuple(layout.add_like(each) for each in content)
        self._places = [
            Slot(
                parameters=layout.add_like(values),
                gradient=layout.add_like(values),
                samples=layout.add((largest_batch,), torch.int64),
                buffers=tuple(layout.add_like(buffer) for buffer in buffers),
            )
            for _ in range(self.num_workers)
        ]
        try:
            self._memory = SharedMemory(layout.num_bytes)
        except OSError as error:
            raise RunError(
                f"{layout.num_bytes} bytes of shared memory for {self.num_workers} workers cannot "
                f"be had: {error.strerror}; use fewer workers"
            ) from error
        for place, tensor in zip(self._common, content, strict=True):
            self._memory.tensor(place).copy_(tensor)
        self._slots = [SlotTensors(self._memory, slot) for slot in self._places]
        for slot in self._slots:
            for shared, buffer in zip(slot.buffers, buffers, strict=True):
                shared.copy_(buffer)

    def _start(self, worker: int) -> None:
        life = self._lives[worker]
        self._lives[worker] += 1
        self._delivered[worker] = 0
        model, inputs, targets = self._common
        setup = Setup(
            descriptor=self._memory.descriptor,
            num_bytes=self._memory.num_bytes,
            model=model,
            inputs=inputs,
            targets=targets,
            slot=self._places[worker],
            device=self._devices[worker % len(self._devices)],
            seed=int(np.random.SeedSequence((self._seed, worker, life)).generate_state(1)[0]),
            threads=self._threads,
            pause_s=self._pauses[worker],
        )
        child = start_child(serve, setup, log=self._log, pass_fds=(self._memory.descriptor,))
        self._children[worker] = child
        self._selector.register(child.connection, selectors.EVENT_READ, worker)
        self._silence.begin(worker, "start")

    def _kill(self, worker: int, child: Child, what: str) -> WorkerLost:
        child.process.kill()  # one that hangs would not see that its pipe has ended
        self._silence.end(worker)
        self._retire(worker)
        return self._lose(worker, what)

    def _retire(self, worker: int) -> int:
        child = self._children[worker]
        assert child is not None
        self._children[worker] = None
        self._selector.unregister(child.connection)
        return child.end()

    def _lose(self, worker: int, how: str) -> WorkerLost:
        hint = f" (its last words are in {self._log})" if self._log else ""
        return WorkerLost(worker, how + hint)


def _saved(model: nn.Module) -> tuple[bytearray, nn.Module]:
    """A model in bytes, and what they are read back as: some things can be written only."""
    for module in model.modules():
        importable = type(module).__module__ != "__main__"
        require(importable, "model", "of classes in modules that can be imported", type(module))
    file = io.BytesIO()
    try:
        # not `pickle`: the parameters share one tensor, which it would write once for each of them
        torch.save(model, file)
        file.seek(0)
        return bytearray(file.getbuffer()), torch.load(file, map_location="cpu", weights_only=False)
    except (AttributeError, TypeError, pickle.PickleError) as error:
        raise InvalidValueError(
            f"the model must be one that pickle can write, to reach its workers, but: {error}; "
            "define its classes and functions at the top of a module"
        ) from error


def _end(
    children: list[Child | None], selector: selectors.BaseSelector, memory: SharedMemory
) -> None:
    selector.close()
    alive = [child for child in children if child is not None]
    children[:] = [None] * len(children)
    for child in alive:
        child.connection.close()  # all at once: none waits for another one's end
    for child in alive:
        child.end()
    memory.close_descriptor()

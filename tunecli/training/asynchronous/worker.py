"""A worker process: one gradient after the other, at the parameters that lie in its slot."""

import io
import math
import struct
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection

import torch
from torch import nn

from tunecli.training.asynchronous.parameters import FlatParameters
from tunecli.training.asynchronous.shared_memory import Place, SharedMemory
from tunecli.training.objective import cross_entropy

# What goes through the pipe; tensors never do.
REQUEST = struct.Struct("<qq")  # version, batch size
ANSWER = struct.Struct("<cqqd")  # GRADIENT, version, samples that the model saw, loss
GRADIENT, READY, FAILED, OUT_OF_MEMORY = b"g", b"r", b"f", b"m"  # the first byte of an answer


@dataclass(frozen=True, slots=True)
class Slot:
    """What one worker shares with the server alone.

    The server writes to it while the worker waits, and reads it before it asks again: neither ever
    sees what the other one has half written, and there is nothing to lock.
    """

    parameters: Place
    gradient: Place
    samples: Place
    buffers: tuple[Place, ...]


class SlotTensors:
    """The tensors of a slot, in this process."""

    def __init__(self, memory: SharedMemory, slot: Slot) -> None:
        self.parameters = memory.tensor(slot.parameters)
        self.gradient = memory.tensor(slot.gradient)
        self.samples = memory.tensor(slot.samples)
        self.buffers = tuple(memory.tensor(place) for place in slot.buffers)


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker has to know to start.

    Args:
        descriptor: Of the shared memory, inherited.
        num_bytes: Size of the shared memory.
        model: The model as `torch.save` writes it.
        inputs: All training inputs.
        targets: All training targets.
        slot: The worker's own.
        device: Where it computes.
        seed: Of what the model draws (dropout).
        threads: On the CPU, ≥ 1; those of several workers wait for each other.
        pause_s: Seconds to wait before each gradient, ≥ 0.
    """

    descriptor: int
    num_bytes: int
    model: Place
    inputs: Place
    targets: Place
    slot: Slot
    device: str
    seed: int
    threads: int
    pause_s: float


def serve(connection: Connection, setup: Setup) -> None:
    """A worker's life: answer requests until the pipe ends; say why if that is impossible."""
    try:
        computing = _Computing(setup)
        connection.send_bytes(READY)
        while True:
            version, batch_size = REQUEST.unpack(connection.recv_bytes())
            if setup.pause_s:
                time.sleep(setup.pause_s)
            seen, loss = computing.gradient(batch_size)
            connection.send_bytes(ANSWER.pack(GRADIENT, version, seen, loss))
    except (EOFError, ConnectionError):
        return  # the server is gone
    except Exception as error:
        traceback.print_exc()
        kind = OUT_OF_MEMORY if _is_out_of_memory(error) else FAILED
        with suppress(OSError):
            connection.send_bytes(kind + f"{type(error).__name__}: {error}".encode())


class _Computing:
    """The model on its device, fed from and read into shared memory."""

    def __init__(self, setup: Setup) -> None:
        torch.set_num_threads(setup.threads)
        device = torch.device(setup.device)
        memory = SharedMemory(setup.num_bytes, setup.descriptor)
        memory.close_descriptor()
        saved = io.BytesIO(memory.tensor(setup.model).numpy().tobytes())
        model: nn.Module = torch.load(saved, map_location="cpu", weights_only=False)
        self._model = model.to(device).train()
        self._flat = FlatParameters(self._model)
        self._inputs = memory.tensor(setup.inputs).to(device)
        self._targets = memory.tensor(setup.targets).to(device)
        self._slot = SlotTensors(memory, setup.slot)
        self._buffers = list(zip(self._model.buffers(), self._slot.buffers, strict=True))
        for buffer, shared in self._buffers:
            buffer.copy_(shared)
        if device.type == "cpu":
            self._flat.point_at(self._slot.parameters)
        elif device.type == "cuda":
            torch.cuda.set_device(device)  # or there would be a context on the first one as well
            _pin(self._slot.parameters, self._slot.gradient)
        torch.manual_seed(setup.seed)

    def gradient(self, batch_size: int) -> tuple[int, float]:
        """Compute what was asked for into the slot; samples seen, and the mean loss."""
        self._flat.values.copy_(self._slot.parameters)  # the same memory on a CPU: does nothing
        chosen = self._slot.samples[:batch_size].to(self._inputs.device)
        inputs = self._inputs[chosen]
        loss = cross_entropy(self._model(inputs), self._targets[chosen])
        self._flat.zero_gradient()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own signature is untyped
        self._slot.gradient.copy_(self._flat.gradient)
        mean_loss = loss.item()
        usable = math.isfinite(mean_loss)  # or the server refuses the gradient: forget the batch
        for buffer, shared in self._buffers:
            (shared if usable else buffer).copy_(buffer if usable else shared)
        return len(inputs), mean_loss


def _pin(*shared: torch.Tensor) -> None:
    """Let the GPU read and write shared memory itself, without a copy in between."""
    portable = 1  # cudaHostRegisterPortable
    for tensor in shared:
        size = tensor.numel() * tensor.element_size()
        cuda = torch.cuda.cudart()  # type: ignore[no-untyped-call]  # torch's own is untyped
        status = int(cuda.cudaHostRegister(tensor.data_ptr(), size, portable))
        if status:
            raise RuntimeError(
                f"shared memory of {size} bytes cannot be pinned: CUDA error {status}"
            )


def _is_out_of_memory(error: Exception) -> bool:
    # torch reports that the CPU's memory does not suffice as a RuntimeError
    kinds = (torch.OutOfMemoryError, MemoryError)
    return isinstance(error, kinds) or "DefaultCPUAllocator" in str(error)

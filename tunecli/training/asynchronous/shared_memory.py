"""Memory that a process shares with its children; without a name, so that nothing of it can stay.

Why not `multiprocessing.shared_memory` or torch's own: both name files in /dev/shm. What a killed
process left there stays until the machine restarts, and containers often have 64 MB of it.
"""

import mmap
import os
import tempfile
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Place:
    """Where one tensor lies: the byte that it begins at, its shape and its dtype."""

    offset: int
    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass
class Layout:
    """Lays tensors one after the other, each on pages of its own.

    >>> layout = Layout()
    >>> layout.add((3,), torch.int64), layout.num_bytes == mmap.PAGESIZE
    (Place(offset=0, shape=(3,), dtype=torch.int64), True)
    """

    num_bytes: int = field(default=0, init=False)

    def add(self, shape: tuple[int, ...], dtype: torch.dtype) -> Place:
        """Reserve room."""
        place = Place(self.num_bytes, tuple(shape), dtype)
        size = torch.Size(shape).numel() * dtype.itemsize
        self.num_bytes += -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        return place

    def add_like(self, tensor: Tensor) -> Place:
        """Reserve room for a tensor's values."""
        return self.add(tuple(tensor.shape), tensor.dtype)


class SharedMemory:
    """Tensors in memory that every process with the file descriptor sees.

    Args:
        num_bytes: Of the whole; at least 1.
        descriptor: That of a `SharedMemory` in the parent; None makes new memory, all zeros.

    Raises:
        OSError: There is no memory or no descriptor left.
    """

    def __init__(self, num_bytes: int, descriptor: int | None = None) -> None:
        self.num_bytes = num_bytes
        self.descriptor = _new_file() if descriptor is None else descriptor
        try:
            if descriptor is None:
                os.ftruncate(self.descriptor, num_bytes)
            self._map = mmap.mmap(self.descriptor, num_bytes)
        except BaseException:
            if descriptor is None:
                self.close_descriptor()
            raise

    def close_descriptor(self) -> None:
        """Let no other process have it from here on; the tensors stay."""
        os.close(self.descriptor)

    def tensor(self, place: Place) -> Tensor:
        """The tensor that lies there; it keeps the memory alive."""
        count = torch.Size(place.shape).numel()
        if count == 0:  # frombuffer refuses it
            return torch.empty(place.shape, dtype=place.dtype)
        flat = torch.frombuffer(self._map, dtype=place.dtype, count=count, offset=place.offset)
        return flat.view(place.shape)


def _new_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("tunecli")
    with tempfile.TemporaryFile() as file:  # has lost its name already
        return os.dup(file.fileno())

from pathlib import Path

import pytest
import torch

from tunecli.execution import memory
from tunecli.execution.memory import free_memory

CPU = torch.device("cpu")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Linux of which the test says how much memory it has; the real one has more."""
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    return tmp_path


def write(folder: Path, **files: str) -> None:
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_text(content, encoding="ascii")


def test_free_memory_is_what_the_kernel_could_give(machine: Path) -> None:
    write(machine, meminfo="MemTotal:  900 kB\nMemFree:  10 kB\nMemAvailable:    500 kB\n")
    assert free_memory(CPU) == 500 * 1024


def test_free_memory_is_no_more_than_the_container_has_left(machine: Path) -> None:
    write(machine, meminfo="MemAvailable:    500 kB\n")
    write(machine, memory_max="400000\n", memory_current="300000\n")
    assert free_memory(CPU) == 100_000
    write(machine, memory_max="max\n")
    assert free_memory(CPU) == 500 * 1024


def test_free_memory_without_a_linux_to_ask_is_the_whole_memory(machine: Path) -> None:
    assert free_memory(CPU) > 1 << 27


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_free_memory_of_a_card_is_less_than_it_has() -> None:
    device = torch.device("cuda", 0)
    total = torch.cuda.get_device_properties(device).total_memory
    assert 0 < free_memory(device) < total

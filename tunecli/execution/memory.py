"""How much memory a device has left, so that too large a plan is refused instead of killed."""

import os
import re
from pathlib import Path

import torch

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def free_memory(device: torch.device) -> int:
    """Bytes that may still be allocated on a device, as far as the system tells.

    On the CPU that is what the kernel could give without swapping, and no more than the container's
    limit leaves (cgroup 2); where there is no Linux to ask, the machine's whole memory.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    bounds = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    available = re.search(r"^MemAvailable: +(\d+) kB$", _read(_MEMINFO), re.MULTILINE)
    if available is not None:
        bounds.append(1024 * int(available[1]))
    limit, used = _read(_CGROUP / "memory.max").strip(), _read(_CGROUP / "memory.current").strip()
    if limit.isdecimal() and used.isdecimal():
        bounds.append(max(int(limit) - int(used), 0))
    return min(bounds)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""

"""Where trials run, and how they survive: run folders, checkpoints, interruption, devices.

Names are imported when they are first used: worker processes start in a fraction of the time that
torch takes.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunecli.execution.device import cpu_threads, resolve_device
    from tunecli.execution.files import read_json, write_aside, write_json, write_text
    from tunecli.execution.in_process import execute
    from tunecli.execution.interrupt import Interrupt
    from tunecli.execution.run_folder import RunFolder, create_run, open_run

__all__ = [
    "Interrupt",
    "RunFolder",
    "cpu_threads",
    "create_run",
    "execute",
    "open_run",
    "read_json",
    "resolve_device",
    "write_aside",
    "write_json",
    "write_text",
]

_HOMES = {
    "Interrupt": "interrupt",
    "RunFolder": "run_folder",
    "cpu_threads": "device",
    "create_run": "run_folder",
    "execute": "in_process",
    "open_run": "run_folder",
    "resolve_device": "device",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'files')}"), name)
    globals()[name] = value
    return value

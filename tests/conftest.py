"""What holds for every test: one CPU thread, the same random examples, a state of its own."""

import os
import sys
from collections.abc import Iterator

import pytest

# On a busy machine torch's threads wait for each other far longer than they work. The variable
# reaches the processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"

import torch
from hypothesis import settings

from tunecli import errors

torch.set_num_threads(1)

settings.register_profile("seeded", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=1000)  # --hypothesis-profile
settings.load_profile("seeded")


@pytest.fixture(autouse=True, scope="session")
def _own_trust(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test writes the person's own list of trusted recipes."""
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder))
        yield


@pytest.fixture(autouse=True)
def _nothing_warned_of_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said once per process is said once per test."""
    monkeypatch.setattr(errors, "_warned", set())


@pytest.fixture(autouse=True)
def _no_code_of_another_test(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Modules that a test wrote and imported are gone after it, and so are their folders."""
    path, known = list(sys.path), set(sys.modules)  # a whole file's fixtures come before this one
    yield
    sys.path[:] = path
    written = str(tmp_path_factory.getbasetemp())
    for name, module in list(sys.modules.items()):
        if name not in known and str(getattr(module, "__file__", "")).startswith(written):
            del sys.modules[name]

"""Real processes. Each imports torch, which takes seconds, so the tests start few of them."""

import errno
import importlib
import itertools
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tunecli.data.load import Split
from tunecli.errors import InterruptedRunError, InvalidValueError, RunError
from tunecli.execution import Interrupt, execute
from tunecli.schedule import Schedule, Stage
from tunecli.training import Trial
from tunecli.training.asynchronous.delivery import round_robin
from tunecli.training.asynchronous.measure import measure_delays
from tunecli.training.asynchronous.messages import Gradient, Work, WorkerReady
from tunecli.training.asynchronous.parameters import FlatParameters
from tunecli.training.asynchronous.processes import ProcessWorkers
from tunecli.training.asynchronous.remote import RemoteTraining
from tunecli.training.asynchronous.shared_memory import Layout, SharedMemory
from tunecli.training.asynchronous.silence import SilenceLimits
from tunecli.training.asynchronous.simulated import SimulatedTraining
from tunecli.training.protocol import NotYetError, wait_for_step

CPU = torch.device("cpu")
LIMIT_S = 120.0  # nothing here takes a tenth of it; it only keeps a broken engine from hanging
SAMPLES, FEATURES, CLASSES = 37, 6, 3
# Workers find classes by the name of a module, and this file has none outside pytest.
MODELS = '''
import os, signal
import torch
from torch import nn
from tunecli.data.load import Split
from tunecli.schedule import Schedule, Stage
from tunecli.training import Trial
from tunecli.training.asynchronous.processes import ProcessWorkers
from tunecli.training.asynchronous.remote import RemoteTraining

class Raising(nn.Module):
    """Like its one layer, until it is called in another process than it was made in."""
    def __init__(self, error):
        super().__init__()
        self.layer, self.error, self.home = nn.Linear(6, 3), error, os.getpid()

    def forward(self, inputs):
        if os.getpid() != self.home:
            raise self.error
        return self.layer(inputs)

def trial(log):
    """Endless, as far as a test is concerned; its data are of the size of the tests'."""
    generator = torch.Generator().manual_seed(0)
    split = Split(torch.randn(37, 6, generator=generator), torch.arange(37) % 3)
    torch.manual_seed(0)
    training = RemoteTraining(
        nn.Linear(6, 3),
        split,
        Schedule((Stage(0.01, 0.0, 0.0, 4, 20000),)),
        connect=lambda model: ProcessWorkers(
            model, split, num_workers=2, largest_batch=4, log=log, pauses_s=(0.001, 0.001)
        ),
        num_workers=2,
        seed=0,
        device=torch.device("cpu"),
    )
    return Trial(training, split, evaluations=20)
'''
KILLED = """
import sys
from pathlib import Path
from models_of_test_processes import trial
from tunecli.execution import Interrupt, execute

def show(one):
    children = [child.process.pid for child in one.training._transport._children]
    if one.training.steps:  # not while they start
        print(*children, one.training.steps, flush=True)

folder = Path(sys.argv[1])
execute(lambda: trial(folder / "log"), folder / "trial", interrupt=Interrupt(),
        checkpoint_every_s=0, on_progress=show)
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    folder = tmp_path_factory.mktemp("models")
    (folder / "models_of_test_processes.py").write_text(MODELS)
    sys.path.insert(0, str(folder))
    yield importlib.import_module("models_of_test_processes")
    sys.path.remove(str(folder))


@pytest.fixture(autouse=True)
def _limit() -> Iterator[None]:
    """Nothing that waits for processes waits for ever."""
    timer = threading.Timer(LIMIT_S, os._exit, (1,))
    timer.start()
    yield
    timer.cancel()


def data() -> Split:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(SAMPLES, FEATURES, generator=generator)
    return Split(inputs, (inputs[:, 0] > 0).long() + (inputs[:, 1] > 1).long())


def network(*layers: nn.Module) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(FEATURES, 8), *layers, nn.Tanh(), nn.Linear(8, CLASSES))


def constant(steps: int, rate: float = 0.1) -> Schedule:
    return Schedule((Stage(rate, momentum=0.8, discount=0.5, batch_size=5, steps=steps),))


def connect(
    num_workers: int = 2, *, train: Split | None = None, **options: object
) -> Callable[[nn.Module], ProcessWorkers]:
    return lambda model: ProcessWorkers(
        model,
        train or data(),
        num_workers=num_workers,
        largest_batch=5,
        **options,  # type: ignore[arg-type]
    )


def pids(training: RemoteTraining) -> list[int]:
    assert isinstance(training._transport, ProcessWorkers)
    return [child.process.pid for child in training._transport._children if child]


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has asked for its status still has a number."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, check=False)
    return shown.stdout.strip()[:1] in (b"", b"Z")


def go_on() -> None:
    """What never stops a wait; the tests have a limit of their own."""


def train_one(training: RemoteTraining) -> bool:
    return bool(wait_for_step(training, go_on).isfinite())


def step_for_ever(training: RemoteTraining) -> None:
    while True:
        training.step()


def endless(
    model: nn.Module | None = None,
    *,
    train: Split | None = None,
    steps: int = 100_000,
    turns: Sequence[int] | None = None,
    **options: Any,
) -> RemoteTraining:
    """As far as a test is concerned, unless it says otherwise; with two workers."""
    return RemoteTraining(
        model or network(),
        train or data(),
        constant(steps),
        connect=connect(train=train, **options),
        num_workers=2,
        seed=1,
        device=CPU,
        turns=turns,
    )


def test_processes_in_turn_are_the_simulation_bit_for_bit() -> None:
    """With batch normalization: its statistics are each worker's own, and change no gradient."""
    remote = RemoteTraining(
        network(nn.BatchNorm1d(8)),
        data(),
        constant(30),
        connect=connect(),
        num_workers=2,
        seed=1,
        device=CPU,
        momentum_kind="shifted",
        turns=(0, 1),
    )
    simulated = SimulatedTraining(
        network(nn.BatchNorm1d(8)),
        data(),
        constant(30),
        round_robin(2, 30),
        seed=1,
        device=CPU,
        momentum_kind="shifted",
    )
    for _ in range(30):
        assert wait_for_step(remote, go_on).equal(simulated.step())
        assert remote.server.values.equal(simulated.server.values)
    measured = remote.measurements()
    assert measured["delays"] == {"0": 1, "1": 29}
    assert measured["batch_norm"] == "mean of the workers"
    assert (
        remote.evaluate(data()).loss != simulated.evaluate(data()).loss
    )  # not from the common ones
    assert remote.model.get_buffer("1.running_mean").abs().sum() > 0
    assert remote.model.get_buffer("1.num_batches_tracked") == 15
    children = pids(remote)
    del remote  # nobody closed it
    assert all(map(gone, children))


def test_delays_are_those_of_the_order_of_arrival_and_a_straggler_has_the_large_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Worker 1 takes ten times as long, so ten updates of worker 0 go by; then 0 is killed."""
    training = endless(pauses_s=(0.1, 1.0), log=tmp_path / "log")
    record = training.server.record
    arrived: list[int] = []
    delays: list[int] = []
    count = record.applied

    def applied(worker: int, delay: int) -> None:
        arrived.append(worker)
        delays.append(delay)
        count(worker, delay)

    monkeypatch.setattr(record, "applied", applied)
    first = wait_for_step(training, go_on)
    while record.workers[1] < 2:
        assert train_one(training)
    latest = {0: -1, 1: -1}  # all began at θ_0
    for update, (worker, delay) in enumerate(zip(arrived, delays, strict=True)):
        assert delay == update - latest[worker] - 1
        latest[worker] = update
    of_straggler = [delay for worker, delay in zip(arrived, delays, strict=True) if worker == 1]
    assert of_straggler == pytest.approx([10, 10], abs=3)  # worker 0 also has to compute
    mortal = pids(training)[0]
    os.kill(mortal, signal.SIGKILL)
    done = record.workers[0]
    while not record.replaced or record.workers[0] == done:
        assert train_one(training)
        done = min(done, record.workers[0])
    measured = training.measurements()
    assert (measured["lost"], measured["replaced"], measured["refused"]) == (1, 1, 0)
    note, another = training.take_notes()
    assert note.startswith("worker 0 was killed by SIGKILL (its last words are in ")
    assert another == "another worker 0 starts in its place"
    loss = training.evaluate(data()).loss
    assert loss is not None
    assert loss < first.item()
    children = pids(training)
    assert mortal not in children
    training.close()
    assert all(map(gone, children))
    assert (tmp_path / "log").read_text() == ""


def test_worker_that_hangs_does_not_hang_the_run_and_is_replaced() -> None:
    training = endless(silence=SilenceLimits(answer_s=1.5, times_slowest=1e-9), turns=(0, 1))
    assert train_one(training)
    hung, other = pids(training)[1], pids(training)[0]
    os.kill(hung, signal.SIGSTOP)
    with pytest.raises(NotYetError):
        step_for_ever(training)  # what it had sent before is still there
    record = training.server.record
    assert record.lost == 0
    while not record.replaced:
        with suppress(NotYetError):
            training.step()
    lost, replaced = training.take_notes()
    assert lost == "worker 1 did not answer for 2 s"
    assert replaced == "another worker 1 starts in its place"
    assert gone(hung)
    assert pids(training)[0] == other  # not asked, so not silent
    training.close()


def test_sample_that_is_not_a_number_costs_its_batches_and_no_more() -> None:
    poisoned = data()
    poisoned.inputs[5, 0] = math.nan
    training = endless(network(nn.BatchNorm1d(8)), train=poisoned, steps=60)
    outcome = Trial(training, data(), evaluations=2).run()
    assert all(
        each.isfinite().all() for copies in training._buffers.values() for each in copies
    )  # the running statistics of every worker, not of the lucky ones
    training.close()
    assert not outcome.diverged
    assert outcome.steps == 60
    assert outcome.final is not None
    assert outcome.final.loss is not None
    assert outcome.curve[0].loss is not None
    assert outcome.final.loss < outcome.curve[0].loss
    assert 0 < outcome.measured["refused"] <= 10  # one of 37 samples, in batches of 5
    assert outcome.samples == 5 * (60 + 1 + outcome.measured["refused"])


def test_error_of_a_model_reaches_the_person_and_the_log(
    models: ModuleType, tmp_path: Path
) -> None:
    training = RemoteTraining(
        models.Raising(ValueError("no such layer")),
        data(),
        constant(10),
        connect=connect(log=tmp_path / "log"),
        num_workers=2,
        seed=1,
        device=CPU,
    )
    with pytest.raises(RunError, match=r"no worker is left.* stopped at ValueError: no such layer"):
        train_one(training)
    measured = training.measurements()
    assert (measured["lost"], measured["replaced"]) == (4, 2)  # each has had a second chance
    assert "raise self.error\nValueError: no such layer" in (tmp_path / "log").read_text()
    training.close()


def test_memory_that_does_not_suffice_ends_the_run_at_once(models: ModuleType) -> None:
    training = RemoteTraining(
        models.Raising(torch.OutOfMemoryError("tried to allocate 3 GiB")),
        data(),
        constant(10),
        connect=connect(),
        num_workers=2,
        seed=1,
        device=CPU,
    )
    with pytest.raises(RunError, match=r"did not suffice for worker .*3 GiB; use fewer workers"):
        train_one(training)
    assert training.measurements()["lost"] == 0
    training.close()


def test_worker_draws_from_a_seed_of_its_own() -> None:
    model = network(nn.Dropout(0.5))
    workers = connect(2, seed=7)(model)
    values, samples = FlatParameters(network(nn.Dropout(0.5))).values, torch.arange(5)
    losses: dict[int, float] = {}
    gradients: dict[int, Tensor] = {}
    while len(losses) < 2:
        message = workers.receive(60)
        if isinstance(message, WorkerReady):
            workers.send(Work(message.worker, 3, samples), values)
            continue
        assert isinstance(message, Gradient)
        assert (message.version, message.batch_size) == (3, 5)
        losses[message.worker] = float(message.loss)
        gradients[message.worker] = message.values.clone()
    workers.close()
    workers.close()
    flat = FlatParameters(model)
    for worker in (0, 1):
        with torch.random.fork_rng():
            torch.manual_seed(int(np.random.SeedSequence((7, worker, 0)).generate_state(1)[0]))
            loss = functional.cross_entropy(model(data().inputs[:5]), data().targets[:5])
        flat.zero_gradient()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own signature is untyped
        assert losses[worker] == loss.item()
        assert gradients[worker].equal(flat.gradient)
    assert losses[0] != losses[1]


def test_delays_are_measured_before_a_search() -> None:
    measured = measure_delays(
        network(), data(), connect=connect(), num_workers=2, batch_size=5, updates=300
    )
    assert sum(measured.delay.counts) == 300
    assert (measured.updates, measured.samples) == (304, 5 * (304 + 1))
    assert measured.notes == ()
    # each update makes every other gradient in flight one older: N − 1 on average, but for the ends
    assert measured.delay.mean == pytest.approx(1, abs=0.5)


def test_killed_server_leaves_no_worker_and_its_run_goes_on(
    models: ModuleType, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(str(models.__file__)).parent)},
    ) as program:
        assert program.stdout is not None
        *children, _ = map(int, [*itertools.islice(program.stdout, 3)][-1].split())
        program.kill()
    assert len(children) == 2
    while not all(map(gone, children)):
        time.sleep(0.01)
    trial = models.trial(tmp_path / "log")
    resumed_at: list[int] = []

    interrupt = Interrupt()

    def show(one: Trial) -> None:
        resumed_at.append(one.training.steps)
        if resumed_at[-1] > resumed_at[0]:
            interrupt.signal_number = signal.SIGTERM

    with pytest.raises(InterruptedRunError, match="stopped on request"):
        execute(
            lambda: trial,
            tmp_path / "trial",
            interrupt=interrupt,
            checkpoint_every_s=60,
            on_progress=show,
        )
    log = (tmp_path / "trial" / "log.txt").read_text()
    assert "went on from update" in log
    at = int(log.split("went on from update ")[1].split()[0])
    assert 0 < at <= resumed_at[0]
    assert sum(trial.training.measurements()["delays"].values()) == trial.training.steps
    assert trial.training._transport is None  # execute has closed it


def test_shared_memory_is_one_for_who_has_the_descriptor() -> None:
    layout = Layout()
    places = [layout.add((2, 3), torch.float64), layout.add((), torch.int64)]
    empty = layout.add((0,), torch.float32)
    memory = SharedMemory(layout.num_bytes)
    other = SharedMemory(layout.num_bytes, os.dup(memory.descriptor))
    for place in places:
        memory.tensor(place).fill_(3)
        assert other.tensor(place).eq(3).all()
        assert other.tensor(place).shape == place.shape
    assert other.tensor(empty).shape == (0,)
    kept = other.tensor(places[0])
    for each in (memory, other):
        each.close_descriptor()
    del other
    memory.tensor(places[0]).fill_(4)
    assert kept.eq(4).all()


@pytest.mark.parametrize("call", ["os.ftruncate", "mmap.mmap"])
def test_shared_memory_that_cannot_be_had_leaves_no_descriptor(
    monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(descriptor: int, _: int) -> None:
        failed.append(descriptor)
        raise OSError(errno.ENOMEM, "no memory")

    failed: list[int] = []
    monkeypatch.setattr(f"tunecli.training.asynchronous.shared_memory.{call}", fail)
    with pytest.raises(OSError, match="no memory"):
        SharedMemory(1000)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(failed[0])


def test_shared_memory_does_without_memfd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    test_shared_memory_is_one_for_who_has_the_descriptor()


def test_what_cannot_be_sent_is_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("started"))
    model = network()
    model.register_forward_hook(lambda *_: None)
    with pytest.raises(InvalidValueError, match="the model must be one that pickle can write"):
        connect()(model)
    monkeypatch.setattr(nn.Tanh, "__module__", "__main__")
    with pytest.raises(InvalidValueError, match="model must be of classes in modules"):
        connect()(network())


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"num_workers": 0}, "num_workers"),
        ({"devices": ()}, "devices"),
        ({"pauses_s": (1,)}, "pau"),
    ],
)
def test_workers_refuse_senseless_options(options: dict[str, object], name: str) -> None:
    with pytest.raises(InvalidValueError, match=f"{name}.* must be"):
        connect(**options)(network())  # type: ignore[arg-type]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_workers_compute_on_the_gpu_and_are_evaluated_there() -> None:
    torch.cuda.reset_peak_memory_stats()
    training = RemoteTraining(
        network(nn.BatchNorm1d(8)),
        data(),
        constant(20, 0.05),
        connect=connect(devices=("cuda:0", "cpu")),
        num_workers=2,
        seed=1,
        device=torch.device("cuda:0"),
        turns=(0, 1),
    )
    on_cpu = SimulatedTraining(
        network(nn.BatchNorm1d(8)),
        data(),
        constant(20, 0.05),
        round_robin(2, 20),
        seed=1,
        device=CPU,
    )
    for _ in range(20):
        torch.testing.assert_close(
            wait_for_step(training, go_on), on_cpu.step(), rtol=1e-3, atol=1e-4
        )
    assert next(training.model.parameters()).is_cuda
    loss = training.evaluate(data()).loss
    assert loss is not None
    assert loss < 2
    assert torch.cuda.max_memory_allocated() > 0
    training.close()

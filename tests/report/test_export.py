import importlib.util
import itertools
import json
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.report.exported import make_run, make_schedule, mutated, run_clean, write
from tunecli.data.load import load_splits
from tunecli.models.build import build_model
from tunecli.optim import QHM
from tunecli.recipe import find_recipe, load_recipe
from tunecli.report.export import TARGETS, export_text
from tunecli.schedule import Schedule, Stage
from tunecli.training import CentralizedTraining
from tunecli.training.batches import BatchStream

# reads the file itself, as docs/export.md says
JSON_TEST = "import json, sys; exec(json.load(open(sys.argv[1]))['self_test'])"
DTYPES = (torch.float32, torch.float64)
MODES = [("coupled", 0.0), ("coupled", 0.01), ("decoupled", 0.01)]


def load(path: Path) -> ModuleType:
    """Import an exported file."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def json_test(tmp_path: Path) -> Path:
    path = tmp_path / "json_test.py"
    path.write_text(JSON_TEST, encoding="utf-8")
    return path


def test_self_tests_pass_where_there_is_no_tunecli(tmp_path: Path, json_test: Path) -> None:
    runs = [
        make_run(weight_decay=decay, weight_decay_mode=mode, reset_momentum=reset)
        for mode, decay in MODES
        for reset in (False, True)
    ]
    short: list[tuple[Path, ...]] = [
        (write(tmp_path, run, target, f"{target}_{index}.py"),)
        for index, run in enumerate(runs)
        for target in ("pytorch", "deepspeed")
    ]
    short.append((json_test, write(tmp_path, make_run(), "json", "short.json")))
    # of a long schedule they look where stages meet
    endless = make_run(make_schedule(steps=10**9))
    long = [(write(tmp_path, endless, target),) for target in ("pytorch", "deepspeed")]
    data = (json_test, write(tmp_path, endless, "json"))
    for index, end in enumerate(run_clean(tmp_path, [*short, *long, data])):
        assert end.code == 0, end.said
        assert "self-test passed" in end.said
        assert ("28 of 28 updates" if index < len(short) else "9 of 7000000000") in end.said


def test_self_test_names_the_first_update_that_differs(tmp_path: Path, json_test: Path) -> None:
    reset = write(tmp_path, make_run(reset_momentum=True), "pytorch", "reset.py")
    endless = write(tmp_path, make_run(make_schedule(steps=10**9)), "pytorch", "endless.py")
    path = write(tmp_path, make_run(), "pytorch")
    data = write(tmp_path, make_run(), "json")
    first, second, third = "Stage(0.3, 0.9, 0.5, 12, 4)", "Stage(0.15, ", ", 3, 16)"
    changes = [
        (path, first, "Stage(0.30000000000000004, 0.9, 0.5, 12, 4)", 0),
        (path, first, "Stage(0.3, 0.9, 0.5, 12, 3)", 3),
        (path, first, "Stage(0.3, 0.9, 0.5, 12, 5)", 4),
        (path, first, "Stage(0.3, 0.91, 0.5, 12, 4)", 0),
        (path, second, "Stage(0.16, ", 4),
        (path, third, ", 2, 16)", 12),
        (path, third, ", 3, 17)", 28),
        (path, third, ", 3, 15)", 27),
        (endless, "12, 1000000000)", "12, 1000000001)", 10**9),
        # the scheduler, the optimizer and the sampler
        (path, 'group["momentum"] = stage.momentum', "pass", 4),
        (path, "bisect.bisect_right(ENDS, update)", "bisect.bisect_left(ENDS, update)", 4),
        (path, "d.lerp_(p.grad, 1 - beta)", "d.lerp_(p.grad, beta)", 0),
        (path, "pull = (1 - beta) * decay", "pull = decay", 0),
        (path, "position, size)\n", "position, size - 1)\n", 0),
        (reset, "        optimizer.reset_momentum()", "        pass", 4),
    ]
    programs: list[tuple[Path, ...]] = [(mutated(*change[:3]),) for change in changes]
    document = json.loads(data.read_text(encoding="utf-8"))
    document["stages"][1]["discount"] = 0.25
    data.write_text(json.dumps(document), encoding="utf-8")
    # who edits what is expected as well is found by the hash
    both = mutated(mutated(path, second, "Stage(0.2,"), "(4, 0.15,", "(4, 0.2,")
    *ends, plain, edited = run_clean(tmp_path, [*programs, (json_test, data), (both,)])
    for (_, old, new, update), end in zip(changes, ends, strict=True):
        assert end.code == 1, (old, new)
        assert f"self-test FAILED at update {update}:" in end.said, (old, new, end.said)
    assert plain.code == 1
    assert "FAILED at update 4:" in plain.said
    assert edited.code == 1
    assert "EXPECTED is no longer what was exported" in edited.said


@pytest.mark.parametrize("foreach", [False, None])
@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(("mode", "decay"), MODES)
def test_exported_optimizer_takes_our_trajectory_bit_for_bit(
    tmp_path: Path, mode: Any, decay: float, reset: bool, foreach: bool | None
) -> None:
    schedule = Schedule(
        (*make_schedule().stages, Stage(0.1, 0.0, 0.0, 3, 3), Stage(1, 0.5, 1, 2, 3))
    )
    run = make_run(schedule, weight_decay=decay, weight_decay_mode=mode, reset_momentum=reset)
    exported = load(write(tmp_path, run, "pytorch"))
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(n, generator=generator, dtype=d) for n in (1, 7, 300) for d in DTYPES]
    ours, theirs = ([torch.nn.Parameter(t.clone()) for t in start] for _ in range(2))
    reference = QHM(ours, 0.3, weight_decay=decay, weight_decay_mode=mode, foreach=foreach)
    optimizer = exported.make_optimizer(theirs)
    for update in range(schedule.total_steps):
        stage = schedule.stage_at(update)
        for group in reference.param_groups:
            group |= {"lr": stage.learning_rate, "momentum": stage.momentum}
            group["discount"] = stage.discount
        if reset and update in schedule.ends:
            reference.reset_momentum()
        exported.set_update(optimizer, update)
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn(one.shape, generator=generator, dtype=one.dtype)
            other.grad = one.grad.clone()
        reference.step()
        optimizer.step()
        for one, other in zip(ours, theirs, strict=True):
            assert torch.equal(one, other)


def test_exported_file_trains_what_tunecli_trains(tmp_path: Path) -> None:
    recipe = load_recipe(find_recipe("digits-logistic"))
    splits = load_splits(recipe.data, ("train",))
    schedule, train = make_schedule(batch_size=64, steps=20), splits.in_memory("train")

    def fresh() -> torch.nn.Module:
        return build_model(recipe.model, input_shape=splits.input_shape, num_classes=10, seed=1)

    ours = CentralizedTraining(
        fresh(),
        train,
        schedule,
        seed=1,
        device=torch.device("cpu"),
        make_optimizer=partial(QHM, weight_decay=0.01),
    )
    exported, model = load(write(tmp_path, make_run(schedule), "pytorch")), fresh()
    optimizer = exported.make_optimizer(model.parameters())
    stream = BatchStream(len(train), seed=1, device=torch.device("cpu"))
    for update in range(schedule.total_steps):
        ours.step()
        exported.set_update(optimizer, update)
        chosen = stream.next(schedule.stage_at(update).batch_size)
        optimizer.zero_grad()
        loss: Tensor = torch.nn.functional.cross_entropy(
            model(train.inputs[chosen]), train.targets[chosen]
        )
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    for name, value in ours.weights().items():
        assert torch.equal(value, model.state_dict()[name])


def test_exported_sampler_cuts_one_stream_for_ranks_parts_and_restarts(tmp_path: Path) -> None:
    batches = load(write(tmp_path, make_run(), "pytorch")).StageBatches
    whole = list(batches(20, seed=5))
    assert [len(batch) for batch in whole] == [12] * 4 + [6] * 8 + [3] * 16
    assert len(batches(20)) == 28
    stream = list(itertools.chain.from_iterable(whole))
    for start in range(0, len(stream) - 19, 20):  # every pass has every sample
        assert sorted(stream[start : start + 20]) == list(range(20))
    assert stream[:20] != stream[20:40]
    assert list(batches(20, seed=6)) != whole
    assert list(batches(20, seed=5, start_step=9)) == whole[9:]
    assert len(batches(20, start_step=9)) == 19
    assert list(batches(20, start_step=28)) == []
    ranks = [list(batches(20, seed=5, rank=rank, world_size=3)) for rank in range(3)]
    for batch, *shares in zip(whole, *ranks, strict=True):
        assert sorted(itertools.chain.from_iterable(shares)) == sorted(batch)
        assert {len(share) for share in shares} == {len(batch) // 3}
    parts = list(batches(20, seed=5, accumulate=3, start_step=9))
    assert len(parts) == len(batches(20, accumulate=3, start_step=9)) == 57
    for batch, *shares in zip(whole[9:], parts[::3], parts[1::3], parts[2::3], strict=True):
        assert sorted(itertools.chain.from_iterable(shares)) == sorted(batch)
    data: Any = torch.arange(20)
    loader: Any = torch.utils.data.DataLoader(data, batch_sampler=batches(20, seed=5))
    assert [batch.tolist() for batch in loader] == whole


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"num_samples": 0}, "num_samples"),
        ({"rank": 2, "world_size": 2}, "rank"),
        ({"world_size": 4}, "accumulate"),
        ({"accumulate": 4}, "accumulate"),
        ({"start_step": 29}, "start_step"),
    ],
)
def test_exported_sampler_refuses_what_cannot_be(
    tmp_path: Path, arguments: dict[str, int], name: str
) -> None:
    batches = load(write(tmp_path, make_run(), "pytorch")).StageBatches
    with pytest.raises(ValueError, match=f"^{name} must be "):
        batches(**{"num_samples": 20, **arguments})


def test_exported_schedule_ends_where_it_ends(tmp_path: Path) -> None:
    exported = load(write(tmp_path, make_run(), "pytorch"))
    optimizer = exported.make_optimizer([torch.nn.Parameter(torch.zeros(1))])
    for update in (-1, 28):
        with pytest.raises(ValueError, match=r"update must be in \[0, 28\)"):
            exported.set_update(optimizer, update)


def test_exported_text_is_what_was_asked_for_whatever_a_run_is_called() -> None:
    name = 'a"""\\N{DASH}\n\'\udc80 %} {{ 7 }} \U0001f600'
    run = make_run(identity={"run": name}, notes=("Late.", "Later."))
    for target in TARGETS:
        text = export_text(run, target)
        assert text.isascii() or target != "json"
        if target == "json":
            assert json.loads(text)["run"] == {"run": name}
            assert json.loads(text)["notes"] == ["Late.", "Later."]
            continue
        text.encode()
        found: dict[str, Any] = {}
        run_block = text[text.index("RUN = {") : text.index("}\n\n\nclass Stage")] + "}"
        exec(run_block, found)
        assert found["RUN"] == {"run": name}
        assert compile(text, target, "exec").co_consts[0].endswith("\n\nLate.\n\nLater.\n")


def test_deepspeed_config_divides_the_batch(tmp_path: Path) -> None:
    path = write(tmp_path, make_run(make_schedule(batch_size=32)), "deepspeed")
    alone, shared, refused = run_clean(
        tmp_path, [(path, "--config"), (path, "--config", 2, 2), (path, "--config", 3)]
    )
    config = json.loads(alone.said)
    assert config["train_batch_size"] == config["train_micro_batch_size_per_gpu"] == 32
    assert config["gradient_clipping"] == 0
    config = json.loads(shared.said)
    assert config["train_micro_batch_size_per_gpu"] == 8
    assert config["gradient_accumulation_steps"] == 2
    assert refused.code == 1
    assert "must divide every batch size but got 3 and 32" in refused.said

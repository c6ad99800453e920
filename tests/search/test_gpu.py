"""The main job on a GPU."""

import json
from pathlib import Path

import pytest
import torch

from tunecli.execution import Interrupt, create_run, resolve_device
from tunecli.recipe import find_recipe, load_recipe
from tunecli.search import run_search
from tunecli.search.events import Event, TrialProgressed
from tunecli.training import CentralizedTraining

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

SHORT = [
    "schedule.epochs=3",
    "search.grid=[0.1,0.4]",
    "search.strategy=paper",
    "search.seeds=[0]",
    "search.test_seeds=[100]",
    "training.checkpoint_every_s=0",
]


def test_search_trains_on_the_gpu_and_its_result_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, device = load_recipe(find_recipe("digits-cnn"), SHORT), resolve_device("cuda:0")
    devices: set[torch.device] = set()
    step = CentralizedTraining.step

    def spy(training: CentralizedTraining) -> torch.Tensor:
        hook = training.model.register_forward_hook(
            lambda _, inputs, logits: devices.update((inputs[0].device, logits.device))
        )
        loss = step(training)
        hook.remove()
        devices.add(loss.device)
        devices.update(p.device for p in training.model.parameters())
        devices.update(
            state["momentum_buffer"].device for state in training.optimizer.state.values()
        )
        return loss

    monkeypatch.setattr(CentralizedTraining, "step", spy)
    told: list[Event] = []
    torch.cuda.reset_peak_memory_stats(device)
    result = run_search(
        recipe,
        create_run("search", "gpu", "text", tmp_path / "run"),
        device=device,
        interrupt=Interrupt(),
        notify=told.append,
    ).to_dict()
    assert devices == {device}
    assert torch.cuda.max_memory_allocated(device) > 0
    assert any(isinstance(event, TrialProgressed) for event in told)
    stored = json.loads(json.dumps(result, allow_nan=False))
    assert stored["environment"]["device"] == "cuda:0"
    assert stored["environment"]["device_name"] == torch.cuda.get_device_name(device)
    assert [trial["learning_rate"] for trial in stored["trials"]] == [0.1, 0.4]
    assert stored["learning_rate"] in (0.1, 0.4)
    assert len(stored["schedule"]) == 3
    assert stored["test"]["n"] == 1
    assert stored["test"]["mean"] > 0.5  # chance is 0.1


def test_checkpoint_from_the_gpu_goes_on_there_and_on_the_cpu(tmp_path: Path) -> None:
    from tunecli.data.load import load_splits
    from tunecli.recipe import derive_schedule
    from tunecli.training.build import build_trial

    recipe = load_recipe(find_recipe("digits-cnn"), SHORT)
    splits = load_splits(recipe.data, ("train", "validation"))
    schedule = derive_schedule(recipe.schedule, 0.1, len(splits["train"]))
    first = build_trial(recipe, schedule, seed=0, splits=splits, device=torch.device("cuda:0"))
    for _ in range(5):
        first.training.step()
    torch.save(first.training.state_dict(), tmp_path / "state.pt")
    for name in ("cuda:0", "cpu"):
        device = torch.device(name)
        state = torch.load(tmp_path / "state.pt", weights_only=True, map_location="cpu")
        second = build_trial(recipe, schedule, seed=1, splits=splits, device=device)
        second.training.load_state_dict(state)
        assert second.training.steps == 5
        assert second.training.step().device == device


def test_model_build_leaves_the_gpu_generator_alone() -> None:
    from tunecli.models.build import build_model
    from tunecli.recipe.networks import LogisticModel

    before = torch.cuda.get_rng_state(0)
    build_model(LogisticModel(name="logistic"), input_shape=(1, 8, 8), num_classes=10, seed=5)
    assert torch.equal(before, torch.cuda.get_rng_state(0))

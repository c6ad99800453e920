"""Train a small network on scikit-learn's 8×8 digits, in plain PyTorch.

The schedule comes from a JSON file, a list of stages (learning rate, momentum, batch size, steps):

    python train_pytorch.py --schedule schedule.json

`tunecli search script-pytorch` writes that file for each learning rate that it tries, and reads
the JSON lines that are printed here. Only `answer` is there for tunecli.
"""

import argparse
import json
import math
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

EVALUATIONS = 5  # looks at the validation set, evenly spaced


class Net(nn.Module):
    """One convolution, one hidden layer."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 16, 3, padding=1)
        self.hidden = nn.Linear(16 * 4 * 4, 64)
        self.output = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the ten digits, for images of shape (n, 1, 8, 8)."""
        features = nn.functional.max_pool2d(self.convolution(images).relu(), 2)
        logits: Tensor = self.output(self.hidden(features.flatten(1)).relu())
        return logits


def load_data(device: torch.device) -> dict[str, tuple[Tensor, Tensor]]:
    """Images and labels for training, validation and test: the same split at every run."""
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
    y = torch.tensor(labels)
    rest, test = train_test_split(range(len(y)), test_size=0.2, random_state=0)
    train, validation = train_test_split(rest, test_size=0.25, random_state=0)
    parts = {"train": train, "validation": validation, "test": test}
    return {name: (x[part].to(device), y[part].to(device)) for name, part in parts.items()}


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of the images whose digit the model tells."""
    return float((model(images).argmax(dim=1) == labels).double().mean())


def answer(**values: object) -> None:
    """Tell whoever started this script how the training goes: one JSON line."""
    print(json.dumps(values), flush=True)


def main() -> None:
    """Train as the schedule says, from the beginning or from a checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--schedule", type=Path, required=True, help="JSON file with the stages")
    parser.add_argument("--phase", choices=["search", "final"], default="search")
    parser.add_argument("--device", type=torch.device, default="cpu")
    parser.add_argument("--save", type=Path, help="where to keep a checkpoint")
    parser.add_argument("--checkpoint", default="", help="a checkpoint to go on from")
    options = parser.parse_args()

    schedule = json.loads(options.schedule.read_text())
    plan = [stage for stage in schedule["stages"] for _ in range(stage["steps"])]
    every = math.ceil(len(plan) / EVALUATIONS)

    data = load_data(options.device)
    images, labels = data["train"]
    torch.manual_seed(schedule["seed"])
    model = Net().to(options.device)
    batches = torch.Generator().manual_seed(schedule["seed"])
    optimizer = torch.optim.SGD(
        model.parameters(), lr=schedule["learning_rate"], weight_decay=schedule["weight_decay"]
    )
    # torch begins a momentum buffer at the first gradient; from 0, and dampened as below, it is an
    # average of gradients, as in the QHM paper (discount 1)
    for parameter in model.parameters():
        optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    done = 0
    if options.checkpoint:
        state = torch.load(options.checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        batches.set_state(state["batches"])
        done = state["steps"]
    else:  # before the first update: what learning nothing comes to
        answer(step=0, samples=0, value=accuracy(model, *data["validation"]))

    for step, stage in enumerate(plan[done:], start=done + 1):
        for group in optimizer.param_groups:
            group["lr"] = stage["learning_rate"]
            group["momentum"] = group["dampening"] = stage["momentum"]
        batch = torch.randint(len(labels), (stage["batch_size"],), generator=batches)
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

        if step % every == 0 or step == len(plan):
            facts: dict[str, object] = {
                "step": step,
                "samples": sum(stage["batch_size"] for stage in plan[:step]),
                "train_loss": loss.item(),
                "value": accuracy(model, *data["validation"]),
            }
            if options.save:
                state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
                torch.save({**state, "batches": batches.get_state(), "steps": step}, options.save)
                facts["checkpoint"] = str(options.save)
            if options.phase == "final" and step == len(plan):
                facts["test"] = accuracy(model, *data["test"])
            answer(**facts)


if __name__ == "__main__":
    main()

"""Sharpness of a training loss: the largest eigenvalue of its Hessian, by Lanczos."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tunecli.data.load import Split
from tunecli.errors import require
from tunecli.training.full_batch import batch_losses

# Basis vectors held at once, and how many of the best Ritz vectors a restart keeps: memory stays
# at 32 times the parameters however many products it takes.
_BASIS, _KEPT = 32, 8


@dataclass(frozen=True, slots=True)
class Sharpness:
    """The largest eigenvalue of a Hessian H, as far as Lanczos found it.

    Args:
        value: λ = vᵀHv, the sharpness a. Never above the true λ_max, but for rounding.
        residual: ‖Hv − λv‖, measured with one more product: an eigenvalue of H lies within it of
            `value`. That this one is the largest is not proven, only all but certain from a
            random start.
        iterations: Hessian-vector products it took.
        converged: Whether `residual` is within the tolerance; if not, `value` is a lower bound.
        vector: v, of length 1, flat: the trainable parameters in the order of `parameters()`.
    """

    value: float
    residual: float
    iterations: int
    converged: bool
    vector: Tensor = field(repr=False, compare=False)


def sharpness(
    model: nn.Module,
    split: Split,
    *,
    device: torch.device,
    tolerance: float = 1e-3,
    max_iterations: int = 200,
    batch_size: int = 1024,
    seed: int = 0,
    on_progress: Callable[[int, float, float], None] | None = None,
) -> Sharpness:
    """Largest eigenvalue a of H = (1/N) Σᵢ ∇²fᵢ(θ), fᵢ sample i's cross-entropy (STAB Section 2.1).

    The model is in evaluation mode: no dropout, batch-norm by its running statistics. It is the
    largest eigenvalue, not the largest modulus, so a strong negative curvature does not hide it.

    Thick-restart Lanczos with full orthogonalization on exact Hessian-vector products (double
    backward), summed over batches; ReLU's second derivative counts as 0, as torch has it. In
    float32 a residual below about 1e-5·λ is out of reach; `model.double()` gets further.

    Differs from STAB Section 3.1, which uses power iteration: Lanczos needs fewer products and
    cannot settle on a negative eigenvalue of larger modulus.

    Args:
        model: Its trainable parameters are θ; it is moved to `device` and otherwise left as it is.
        split: The N samples, anywhere; inputs are brought to the parameters' dtype.
        device: Where to compute.
        tolerance: Converged when ‖Hv − λv‖ ≤ tolerance · |λ|; > 0.
        max_iterations: Most Hessian-vector products, ≥ 2.
        batch_size: Samples at a time. It bounds the memory and changes the result by rounding only.
        seed: Of the random start vector.
        on_progress: Called after every product with (products so far, λ, estimated residual).

    Raises:
        InvalidValueError: An argument is outside its range, the model has nothing to train, or the
            Hessian is not finite.
    """
    require(tolerance > 0, "tolerance", "> 0", tolerance, "1e-3 is a thousandth of the sharpness")
    require(max_iterations >= 2, "max_iterations", "≥ 2", max_iterations)
    require(batch_size >= 1, "batch_size", "≥ 1", batch_size)
    parameters = [p for p in model.to(device).parameters() if p.requires_grad]
    require(bool(parameters), "model", "one with trainable parameters", "none", "unfreeze some")

    def times_hessian(vector: Tensor) -> Tensor:
        return _hessian_vector_product(model, split, parameters, vector, batch_size)

    generator = torch.Generator().manual_seed(seed)
    first = parameters[0]
    start = torch.randn(sum(p.numel() for p in parameters), generator=generator)
    start = start.to(device, first.dtype)
    with _evaluation_mode(model):
        vector, iterations = _lanczos(
            times_hessian, start, tolerance, max_iterations - 1, on_progress
        )
        product = times_hessian(vector)
    value = torch.dot(vector, product).item()
    residual = torch.linalg.vector_norm(product - value * vector).item()
    converged = residual <= tolerance * abs(value)
    return Sharpness(value, residual, iterations + 1, converged, vector)


def _lanczos(
    times_hessian: Callable[[Tensor], Tensor],
    start: Tensor,
    tolerance: float,
    max_products: int,
    on_progress: Callable[[int, float, float], None] | None,
) -> tuple[Tensor, int]:
    """The Ritz vector of the largest Ritz value, and the products spent on it.

    Invariant: with the basis V (rows) and T = VᵀHV, HV − VT is zero but for one vector, β times
    the next basis vector, in the last column; a restart rotates V to its best Ritz vectors and
    keeps it (Wu and Simon, 2000). So T's new column is what orthogonalization computes anyway.
    """
    size = min(_BASIS, len(start))
    basis = start.new_empty((size, len(start)))
    basis[0] = start / torch.linalg.vector_norm(start)
    projected = torch.zeros((size, size), dtype=torch.float64)  # T
    used = 1
    for products in range(1, max_products + 1):
        rest = times_hessian(basis[used - 1])
        require(
            bool(rest.isfinite().all()),
            "the Hessian",
            "finite",
            "inf or nan",
            "check that the model's loss is finite on this data",
        )
        column = basis[:used] @ rest
        rest = rest - basis[:used].T @ column
        again = basis[:used] @ rest  # twice is enough for orthogonality to rounding
        rest = rest - basis[:used].T @ again
        column = (column + again).to(projected)
        projected[:used, used - 1] = column
        projected[used - 1, :used] = column
        ritz_values, ritz = torch.linalg.eigh(projected[:used, :used])  # ascending
        norm = torch.linalg.vector_norm(rest).item()
        residual = norm * ritz[-1, -1].abs().item()
        if on_progress is not None:
            on_progress(products, ritz_values[-1].item(), residual)
        # Half the tolerance leaves room for the rounding that the final residual sees.
        found = residual <= 0.5 * tolerance * ritz_values[-1].abs().item()
        if found or norm == 0 or used == len(start) or products == max_products:
            break
        if used == size:
            used = min(_KEPT, size - 1)
            best = ritz[:, -used:].to(basis)
            basis[:used] = best.T @ basis
            projected.zero_()
            projected[:used, :used] = torch.diag(ritz_values[-used:])
        basis[used] = rest / norm
        used += 1
    vector = ritz[:, -1].to(basis) @ basis[: len(ritz)]
    return vector / torch.linalg.vector_norm(vector), products


def _hessian_vector_product(
    model: nn.Module, split: Split, parameters: Sequence[Tensor], vector: Tensor, batch_size: int
) -> Tensor:
    parts = torch.split(vector, [p.numel() for p in parameters])
    shaped = [part.view_as(p) for part, p in zip(parts, parameters, strict=True)]
    total = torch.zeros_like(vector)
    for loss in batch_losses(model, split, batch_size=batch_size, like=vector):
        # allow_unused: a parameter that the loss, or its slope, does not depend on has derivative 0
        gradients = torch.autograd.grad(
            loss, parameters, create_graph=True, allow_unused=True, materialize_grads=True
        )
        slope = torch.stack([(g * v).sum() for g, v in zip(gradients, shaped, strict=True)]).sum()
        products = torch.autograd.grad(slope, parameters, allow_unused=True, materialize_grads=True)
        total += torch.cat([product.flatten() for product in products])
    return total


@contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Every module in evaluation mode, and afterwards each back in the mode it was in."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True

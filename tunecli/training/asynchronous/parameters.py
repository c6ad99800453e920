"""A model whose parameters are views of one flat tensor, so that they can be exchanged at once."""

import torch
from torch import Tensor, nn

from tunecli.errors import InvalidValueError

# Each parameter begins where an allocation of its own could: libraries choose among their matrix
# products, and with them the speed and the last bits, by the alignment of what they read.
_ALIGNMENT_BYTES = 256


class FlatParameters:
    """The trainable parameters of a module, laid into one flat tensor, and their gradients.

    The module is changed: its parameters become views of `values`, and their gradients views of
    `gradient`, which `backward` adds to. A parameter that gets no gradient therefore has the
    gradient 0, and one that the module uses twice (tied weights) lies there once. Each keeps its
    strides, as far as they leave no gaps. Between the parameters there is padding, whose gradient
    is 0 at all times.

    Args:
        module: On its device already. Parameters that do not require gradients and buffers stay
            where they are.

    Raises:
        InvalidValueError: Nothing is trainable, or the trainable parameters are not all of one
            floating-point dtype on one device.

    >>> flat = FlatParameters(nn.Linear(2, 1))
    >>> other = flat.values.clone()
    >>> flat.point_at(other)  # the module computes with the copy from here on
    """

    def __init__(self, module: nn.Module) -> None:
        self._parameters = [p for p in module.parameters() if p.requires_grad]
        _check(self._parameters)
        first = self._parameters[0]
        step = _ALIGNMENT_BYTES // first.element_size()
        self._places: list[tuple[torch.Size, tuple[int, ...], int]] = []
        size = 0
        for p in self._parameters:
            self._places.append((p.shape, torch.empty_like(p, device="meta").stride(), size))
            size += -(-p.numel() // step) * step
        self.gradient = torch.zeros(size, dtype=first.dtype, device=first.device)
        self.values = torch.zeros_like(self.gradient)
        for p, view, grad in zip(
            self._parameters, self._views(self.values), self._views(self.gradient), strict=True
        ):
            view.copy_(p.detach())
            p.grad = None  # torch refuses a gradient of another layout than the parameter's
            p.data = view
            p.grad = grad

    def point_at(self, values: Tensor) -> None:
        """Let the module compute with `values` from here on; nothing is copied.

        Args:
            values: Of the size, dtype and device of `values` so far.
        """
        if values is self.values:
            return
        for p, view in zip(self._parameters, self._views(values), strict=True):
            p.data = view
        self.values = values

    def zero_gradient(self) -> None:
        """Set the gradient to 0; to be called before every `backward`."""
        self.gradient.zero_()

    def _views(self, flat: Tensor) -> list[Tensor]:
        return [flat.as_strided(shape, stride, start) for shape, stride, start in self._places]


def _check(parameters: list[nn.Parameter]) -> None:
    kinds = {(p.dtype, p.device) for p in parameters}
    if len(kinds) != 1:
        found = ", ".join(sorted(f"{dtype} on {device}" for dtype, device in kinds)) or "none"
        raise InvalidValueError(
            "the model's trainable parameters must be of one dtype on one device to be trained "
            f"asynchronously but got {found}; convert the model with model.to(dtype, device)"
        )
    (dtype, _), *_ = kinds
    if not dtype.is_floating_point:
        raise InvalidValueError(
            f"the model's trainable parameters must be real floating-point numbers but got {dtype};"
            " write a complex parameter as two real ones"
        )

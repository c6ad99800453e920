"""A LeNet-like network: two convolutions with pooling, two hidden layers."""

from collections.abc import Sequence

from torch import nn

_CHANNELS = (6, 16)
_HIDDEN = (120, 84)


class LeNet(nn.Sequential):
    """LeNet-5's layers and widths, with ReLU and max pooling.

    Takes images of shape (batch, channels, height, width), returns logits of shape (batch,
    num_classes). Differs from LeNet-5 (Y. LeCun et al., *Gradient-Based Learning Applied to
    Document Recognition*, 1998): both 5 × 5 convolutions are padded, so that each block halves the
    image and nothing else, and images from 8 × 8 on are enough.

    Args:
        input_shape: (channels, height, width), height and width ≥ 8.
        num_classes: Number of logits.

    >>> import torch
    >>> LeNet((1, 28, 28), 10)(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    def __init__(self, input_shape: Sequence[int], num_classes: int) -> None:
        layers: list[nn.Module] = []
        depth, height, width = input_shape
        for size in _CHANNELS:
            layers += [nn.Conv2d(depth, size, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
            depth, height, width = size, height // 2, width // 2
        layers.append(nn.Flatten())
        features = depth * height * width
        for size in _HIDDEN:
            layers += [nn.Linear(features, size), nn.ReLU()]
            features = size
        super().__init__(*layers, nn.Linear(features, num_classes))

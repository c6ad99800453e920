"""A recurrent language model: the next token from a state that has read those before it."""

from torch import Tensor, nn


class LSTM(nn.Module):
    """Embedding, LSTM layers, one linear layer; PyTorch's default initialization.

    Takes tokens, integers below V of shape (batch, length); uint8 windows of text will do. Returns
    logits of shape (batch, length, V): row t is what follows token t. Every window begins with the
    state zero, so a sample does not depend on what was trained on before it.

    Args:
        vocabulary: Number of tokens, V; 256 for bytes.
        layers: LSTM layers, one on top of the other.
        width: Width of each layer's state.
        embedding: Width of a token's embedding.

    >>> import torch
    >>> model = LSTM(vocabulary=256, layers=1, width=32, embedding=16)
    >>> model(torch.zeros(3, 20, dtype=torch.uint8)).shape
    torch.Size([3, 20, 256])
    """

    def __init__(self, *, vocabulary: int, layers: int, width: int, embedding: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, embedding)
        self.layers = nn.LSTM(embedding, width, layers, batch_first=True)
        self.output = nn.Linear(width, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the token after each one."""
        states, _ = self.layers(self.tokens(tokens.long()))
        logits: Tensor = self.output(states)
        return logits

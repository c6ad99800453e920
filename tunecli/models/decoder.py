"""A GPT-2-style decoder: the next token from those before it.

A. Radford et al., *Language Models are Unsupervised Multitask Learners* (2019): learned positions,
layer normalization before each half of a block, GELU, one matrix for embedding and output.
"""

import math

from torch import Tensor, nn
from torch.nn import functional

_STD = 0.02


class Decoder(nn.Module):
    """Embedding, blocks of causal attention and MLP, and the embedding again as output layer.

    Takes tokens, integers below V of shape (batch, length), length ≤ T; uint8 windows of text will
    do. Returns logits of shape (batch, length, V): row t is what follows token t, given the tokens
    up to t. With L layers of width w it has V·w + T·w + L·(12w² + 13w) + 2w parameters, w divisible
    by the number of heads. Weights are drawn from N(0, 0.02²), those that write to the residual
    stream from N(0, 0.02²/(2L)), so that its variance at the end does not depend on L; biases are
    zero. The logits are small at first: the loss begins near ln V.

    Args:
        vocabulary: Number of tokens, V; 256 for bytes.
        context: Longest input, T.
        layers: Number of blocks, L.
        heads: Attention heads of a block.
        width: Width of the residual stream, w.
        dropout: Share that is dropped, in [0, 1), of embeddings, attention, and each half's output.

    >>> import torch
    >>> model = Decoder(vocabulary=256, context=16, layers=2, heads=4, width=32)
    >>> model(torch.zeros(3, 16, dtype=torch.uint8)).shape
    torch.Size([3, 16, 256])
    >>> sum(p.numel() for p in model.parameters())  # 256·32 + 16·32 + 2·(12·1024 + 13·32) + 64
    34176
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        context: int,
        layers: int,
        heads: int,
        width: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(context, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(_Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=_STD)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        for block in self.blocks:
            assert isinstance(block, _Block)
            for output in (block.attention.output, block.contract):
                nn.init.normal_(output.weight, std=_STD / math.sqrt(2 * layers))

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the token after each one."""
        hidden = self.tokens(tokens.long()) + self.positions.weight[: tokens.shape[1]]
        hidden = self.dropout(hidden)
        for block in self.blocks:
            hidden = block(hidden)
        return functional.linear(self.norm(hidden), self.tokens.weight)


class _Block(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)), the MLP four times as wide inside."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = _CausalAttention(width, heads, dropout)
        self.mlp_norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = hidden + self.dropout(self.attention(self.attention_norm(hidden)))
        inner = functional.gelu(self.expand(self.mlp_norm(hidden)), approximate="tanh")
        change: Tensor = self.dropout(self.contract(inner))
        return hidden + change


class _CausalAttention(nn.Module):
    """Each position looks at itself and at those before it."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.inputs = nn.Linear(width, 3 * width)  # queries, keys and values in one product
        self.output = nn.Linear(width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        batch, length, width = hidden.shape
        split = self.inputs(hidden).view(batch, length, 3, self.heads, width // self.heads)
        queries, keys, values = split.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(
            queries,
            keys,
            values,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=True,
        )
        merged: Tensor = self.output(mixed.transpose(1, 2).reshape(batch, length, width))
        return merged

"""Which examples form which step, and their tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from harness.opd.sft.examples import Example

# Sorting all examples by length would waste no padding and put the long ones into the same batches for ever.
BATCHES_PER_WINDOW = 16
# Any id will do: nothing attends to padding, and nothing is learnt there.
PAD_ID = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """B examples, padded on the right, with logits wanted at P of their T positions.

    Attributes:
        token_ids: [B, T] int64.
        positions: [P] int64, ascending: where at least one example has a target of weight > 0.
        targets: [B, P] int64 at those positions.
        weights: [B, P] float32 at those positions.
    """

    token_ids: torch.Tensor
    positions: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor


def collate(examples: Sequence[Example]) -> Batch:
    """Pad examples to a batch.

    No attention mask goes with it: padding stands to the right, where a causal model's earlier positions
    can't see it, and its own weights are 0.
    """
    length = max(len(example.token_ids) for example in examples)
    token_ids = np.full((len(examples), length), PAD_ID, dtype=np.int64)
    targets = np.full((len(examples), length), PAD_ID, dtype=np.int64)
    weights = np.zeros((len(examples), length), dtype=np.float32)
    for row, example in enumerate(examples):
        end = len(example.token_ids)
        token_ids[row, :end] = example.token_ids
        targets[row, :end] = example.targets
        weights[row, :end] = example.weights
    positions = np.flatnonzero((weights > 0).any(axis=0))
    return Batch(
        token_ids=torch.from_numpy(token_ids),
        positions=torch.from_numpy(positions),
        targets=torch.from_numpy(targets[:, positions]),
        weights=torch.from_numpy(weights[:, positions]),
    )


class BatchOrder:
    """The examples of every step, a pure function of seed and step, so that training can go on anywhere.

    Each epoch is a new permutation, in which examples of similar length share a batch; what doesn't fill a
    batch at its end waits for the next epoch.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        """Prepare the order of examples with these lengths; a batch holds all of them at most."""
        self._lengths = np.asarray(lengths)
        self._batch_size = min(batch_size, len(lengths))
        self._seed = seed
        self._epoch = -1
        self._batches: list[list[int]] = []

    def step(self, number: int) -> list[int]:
        """Indices of the examples of step `number`, counted from 0."""
        epoch, place = divmod(number, len(self._lengths) // self._batch_size)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._shuffled(epoch)
        return self._batches[place]

    def _shuffled(self, epoch: int) -> list[list[int]]:
        rng = np.random.default_rng([self._seed, epoch])
        size = self._batch_size
        order = rng.permutation(len(self._lengths))[: len(self._lengths) // size * size]
        batches: list[list[int]] = []
        for start in range(0, len(order), size * BATCHES_PER_WINDOW):
            window = order[start : start + size * BATCHES_PER_WINDOW]
            by_length = window[np.argsort(self._lengths[window], kind="stable")]
            batches += by_length.reshape(-1, size).tolist()
        return [batches[place] for place in rng.permutation(len(batches))]

"""A causal model as a policy: logprobs and entropies at completion tokens, never a [B, T, V] tensor."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import register_dataclass
from torch.utils.checkpoint import checkpoint

from harness.engines.hf_scoring import OutputLayer
from harness.opd.rounds.packing import Packed

# Logits that may exist at once: 2^24 float32 numbers are 64 MiB, or 110 tokens of a 151,936-token vocabulary.
BLOCK_LOGITS = 1 << 24
# How far logprobs of shared prompts may be from those of separate ones before sharing is given up.
SHARING_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.25, torch.float16: 0.1}


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What a policy says about N completion tokens.

    Attributes:
        logprobs: [N] float32, with a gradient in training.
        entropies: [N] of the next-token distributions, in nats, detached.
        likeliest: [N] their largest logprobs, detached.
        hidden: [N, width] hidden states they came from, detached.
    """

    logprobs: torch.Tensor
    entropies: torch.Tensor
    likeliest: torch.Tensor
    hidden: torch.Tensor


# FSDP looks for the tensors that gradients come in by, and finds them only in what torch can take apart.
register_dataclass(Reading)


class Policy(nn.Module):  # type: ignore[misc]
    """A model whose forward pass ends at logprobs: DDP and FSDP wrap decoder and output layer together."""

    def __init__(self, model: Any, autocast: bool = False) -> None:
        """Wrap a transformers causal model, or a peft one.

        Args:
            model: on its device.
            autocast: compute in bfloat16 on weights that stay as they are.

        Raises:
            EngineUnavailableError: the model does something unknown to its logits.
        """
        super().__init__()
        self.model = model
        self._autocast = autocast
        # In a tuple: its decoder and layer are parts of `model`, and must not be registered a second time.
        self._output = (OutputLayer(model),)
        self._layer_dtype = model.get_output_embeddings().weight.dtype
        # The layers that FSDP shares out one by one, by the name it asks for.
        self._no_split_modules = model._no_split_modules

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return torch.device(self.model.device)

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        return torch.bfloat16 if self._autocast else self.model.dtype

    @property
    def output(self) -> OutputLayer:
        """Hidden states to float32 logits."""
        return self._output[0]

    def forward(self, packed: Packed) -> Reading:
        """Read N completion tokens."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._autocast):
            states = self.output.decoder(
                input_ids=packed.token_ids,
                attention_mask=packed.mask,
                position_ids=packed.position_ids,
                use_cache=False,
            ).last_hidden_state
        # Outside autocast: one bfloat16 rounding of a logit moves λ* by thousandths.
        hidden = states[packed.rows, packed.places].to(self._layer_dtype)
        block = max(1, BLOCK_LOGITS // self.output.vocabulary)
        blocks = [slice(start, start + block) for start in range(0, len(packed.tokens), block)]
        keep = len(blocks) == 1 or not torch.is_grad_enabled()
        parts = [
            self._read(hidden[part], packed.tokens[part])
            if keep
            else checkpoint(self._read, hidden[part], packed.tokens[part], use_reentrant=False)
            for part in blocks
        ]
        logprobs, entropies, likeliest = (torch.cat(one) for one in zip(*parts, strict=True))
        return Reading(logprobs, entropies, likeliest, hidden.detach())

    def _read(
        self, hidden: torch.Tensor, tokens: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        every = torch.log_softmax(self.output(hidden), dim=-1)
        with torch.no_grad():
            # Impossible tokens: 0 · −inf would be NaN.
            finite = every.clamp_min(torch.finfo(every.dtype).min)
            entropies = -(every.exp() * finite).sum(dim=-1)
            likeliest = every.amax(dim=-1)
        return every.gather(-1, tokens.unsqueeze(-1)).squeeze(-1), entropies, likeliest

    @contextlib.contextmanager
    def without_adapter(self) -> Iterator[None]:
        """The model below its LoRA adapter: π_B."""
        with self.model.disable_adapter():
            yield


def shares_prompts(policy: Policy, separate: Packed, shared: Packed) -> bool:
    """Whether the model reads rollouts that share a prompt's tokens as it reads separate ones.

    Models with windows or biases of their own in the attention mask don't. A window is told by the config,
    since what is tried may be shorter; anything else only by a try.
    """
    if shared.mask is None:
        return True
    kind = policy.model.config.get_text_config()
    if kind._attn_implementation != "sdpa" or getattr(kind, "sliding_window", None) is not None:
        return False
    with torch.no_grad():
        try:
            one, other = policy(separate).logprobs, policy(shared).logprobs
        except (RuntimeError, ValueError, TypeError):
            return False
    return bool((one - other).abs().max() <= SHARING_TOLERANCE[policy.dtype])

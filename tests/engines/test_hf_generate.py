"""Drawing with a model in memory, where it goes wrong; what it draws is in the tests of those who draw."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from harness.engines import SamplingParams  # noqa: E402
from harness.engines.hf_generate import generate  # noqa: E402
from harness.errors import IncompleteError  # noqa: E402

pytestmark = pytest.mark.model


class Full(torch.nn.Module):  # type: ignore[misc]
    """A model whose device has no room for an answer."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        super().__init__()
        self.generation_config = transformers.GenerationConfig(repetition_penalty=2.0)
        self.seen: list[tuple[bool, float]] = []

    def generate(self, **_: object) -> None:
        self.seen.append((self.training, self.generation_config.repetition_penalty))
        raise torch.cuda.OutOfMemoryError("no room")


def test_a_full_device_is_one_line_and_the_model_is_given_back() -> None:
    model = Full().train()
    settings = model.generation_config
    with pytest.raises(IncompleteError, match="cpu ran out of memory with 2 completions at a time; run the"):
        generate(model, [(1, 2), (3,)], [0, 1], SamplingParams(), stop_ids=[5], context_length=None)
    # It was drawn from without dropout and without its own settings.
    assert model.seen == [(False, transformers.GenerationConfig().repetition_penalty)]
    assert model.training
    assert model.generation_config is settings


def test_what_a_trained_model_keeps_of_a_draw_can_still_be_trained_with() -> None:
    """Inference tensors would refuse a backward pass."""

    class Keeps(Full):
        def generate(self, input_ids: torch.Tensor, **_: object) -> torch.Tensor:
            self.kept = torch.ones(2)
            return input_ids

    model = Keeps().train()
    assert generate(model, [(1,)], [0], SamplingParams(), stop_ids=[5], context_length=None) == [()]
    weight = torch.ones(2, requires_grad=True)
    (weight * model.kept).sum().backward()
    assert weight.grad is not None

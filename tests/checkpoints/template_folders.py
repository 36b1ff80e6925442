"""Checkpoint folders with other chat templates, those of tests/cases/chat_templates.json first of all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

CASES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "cases" / "chat_templates.json").read_text(encoding="utf-8")
)
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n@@<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def template_of(case: dict[str, Any]) -> Any:
    """What stands under `chat_template` for a case: `front` goes before a usual one, `body` into it."""
    if "named" in case:
        return [{"name": name, "template": text} for name, text in case["named"].items()]
    if "template" in case:
        return case["template"]
    body: str = case.get("body", "{{ message.content }}")
    front: str = case.get("front", "")
    return front + CHATML.replace("@@", body)


def with_template(source: Path, target: Path, template: Any) -> Path:
    """A copy of a checkpoint folder with another template."""
    shutil.copytree(source, target)
    (target / "chat_template.jinja").unlink(missing_ok=True)
    path = target / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": template}))
    return target

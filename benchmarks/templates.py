"""What becomes of good and bad chat templates in every command that renders them: a table.

Each case of tests/cases/chat_templates.json is a checkpoint folder with that template. A good one is
evaluated, gated and trained, its prompts hold their message, and they have the same token ids on two dates
(each in a process whose clock is set); a bad one ends every command with exit code 2 and one line, and the
live gate with a JUnit file that holds an error. The last line is `none measured silently wrong`, or what was,
with exit code 1.

Run: python benchmarks/templates.py [--only WORDS] [--vllm]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

from harness.cli import main
from harness.contract import DEFAULT
from harness.data.conversations import conversations
from harness.data.fashion_mini import generate_tasks
from harness.data.tasks import as_text, as_user
from harness.data.writing import write_tasks
from harness.engines import chat_template
from harness.engines.tokenizer import ChatTokenizer
from harness.engines.zoo import resolved
from harness.errors import HarnessError
from tests.checkpoints.template_folders import CASES, template_of, with_template
from tests.local_server import JSONHandler, LocalServer

TASKS = 4
DATES = ("2024-02-29", "2031-11-05")
TRAINING = "--steps 1 --batch-size 2 --lr 1e-4 --device cpu"
PAIR = "--lambda 1.1 --clip 5 --engine hf --limit 2 --max-tokens 8"
EVERY = {
    "eval": "eval --engine hf --ckpt @ckpt --data @tasks --out @eval",
    "gate": "gate --engine hf --ckpt @ckpt --data @tasks --out @gate --junit @junit.xml --policy @gate.yaml",
    "sft": f"train sft --ckpt @ckpt --data @tasks --out @sft {TRAINING}",
    "openai": "eval --engine openai --base-url @server --tokenizer @ckpt --data @tasks --out @openai",
}
SOME = {
    "cliff": f"cliff --teacher @ckpt --base zoo:base --data @tasks --out @cliff {PAIR}",
    "forecast": "forecast --teacher @ckpt --base zoo:base --data @tasks --lambdas 1 --out @forecast",
    "opd": f"train opd --teacher zoo:teacher --base @ckpt --data @tasks --out @opd --lambda 1.1 "
    f"--max-tokens 8 {TRAINING}",
}
IN_SOME = ("wants content parts", "wants a system message", "drops the message", "several without a default")
CLOCK = """
import json, sys
from datetime import datetime
from pathlib import Path
import transformers.utils.chat_template_utils as library
from harness.data.tasks import as_user
from harness.engines.tokenizer import ChatTokenizer
class Then(datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.fromisoformat(sys.argv[1])
library.datetime = Then
told = json.load(sys.stdin)
asked = [*map(as_user, told["messages"])]
print(json.dumps([ChatTokenizer(Path(one)).encode(asked) for one in told["folders"]]))
"""


class Handler(JSONHandler):
    """Completes whatever it is asked, and remembers which prompts it was given."""

    asked: list[Any] = []  # noqa: RUF012  (the table empties it between cases)

    def do_GET(self) -> None:  # noqa: N802  (http.server's name)
        models = self.path.endswith("/models")
        self.send(200 if models else 404, {"data": [{"id": "m"}]} if models else None)

    def do_POST(self) -> None:  # noqa: N802
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.path.endswith("/v1/completions"):
            return self.send(404, None)
        self.asked.append(body["prompt"])
        return self.send(200, {"choices": [{"text": "{}", "finish_reason": "stop"}]})


def call(command: str, places: dict[str, str]) -> tuple[int, str]:
    """Exit code and last error line of a command; `@name` stands for a place."""
    arguments = [
        re.sub(r"^@(.+)", lambda found: places.get(found[1], f"{places['folder']}/{found[1]}"), word)
        for word in command.split()
    ]
    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        code = main(arguments)
    errors = [line for line in said.getvalue().splitlines() if "error:" in line]
    return code, errors[-1] if errors else ""


def has_error(path: Path) -> bool:
    """Whether a JUnit file is there with an error in it."""
    return path.exists() and Xml.parse(path).getroot().find(".//error") is not None


def ids_on(date: str, folders: list[Path], messages: list[str]) -> list[list[list[int]]]:
    """Token ids of the messages in each folder, in a process whose templates are told this date."""
    told = json.dumps({"folders": list(map(str, folders)), "messages": messages})
    found = subprocess.run(
        [sys.executable, "-c", CLOCK, date], input=told, capture_output=True, text=True, check=True
    )
    rows: list[list[list[int]]] = json.loads(found.stdout.splitlines()[-1])
    return rows


def keeps(folder: Path, messages: list[str]) -> bool:
    """Whether the rendered prompts hold every word of their messages, in order."""
    chat = ChatTokenizer(folder)
    prompts = [chat.tokenizer.decode(list(ids)).split() for ids in chat.encode([*map(as_user, messages)])]
    return all(
        " ".join(message.split()) in " ".join(prompt)
        for message, prompt in zip(messages, prompts, strict=True)
    )


def row(
    case: dict[str, Any], commands: dict[str, str], places: dict[str, str]
) -> tuple[dict[str, int], list[str]]:
    """Exit codes by command, and what is wrong with them."""
    refused, wrong, codes, line = "refused" in case, [], {}, ""
    folder = Path(places["folder"])
    for name, command in commands.items():
        Handler.asked.clear()
        codes[name], line = call(command, places)
        allowed = {2} if refused else {0, 1, 4} if name == "gate" else {0}
        if codes[name] not in allowed:
            wrong.append(f"{name} ends with {codes[name]}: {line}")
        elif refused and not re.search(case["refused"], line):
            wrong.append(f"{name} says {line!r}")
        if name == "openai" and refused and Handler.asked:
            wrong.append("a server was asked")
    if refused and not has_error(folder / "junit.xml"):
        wrong.append("no JUnit with an error")
    print(f"{case['why']:44}" + "".join(f"{codes[name]:>{len(name) + 2}}" for name in commands), end="  ")
    print(line.removeprefix("harness: error: ").replace(str(folder), "…")[:150] or "measured", flush=True)
    return codes, wrong


def main_table(only: str, vllm: bool) -> int:
    chat_template.SECONDS = 1.0  # type: ignore[misc]  # 10 s would only make the table slow
    cases = [case for case in CASES if only in case["why"]]
    tasks = generate_tasks("train", TASKS, seed=1)
    messages = [as_text(turns) for turns in conversations(tasks, DEFAULT)]
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="harness-templates-") as name:
        url = f"{LocalServer(Handler).url}/v1"
        root = Path(name)
        os.chdir(root)
        write_tasks(root / "tasks.jsonl", tasks)
        (root / "gate.yaml").write_text("rules: ['parse_validity.strict >= 0.1']\n")
        good: list[Path] = []
        print(f"{'template':44}" + "".join(f"  {name}" for name in EVERY) + "  final line")
        for number, case in enumerate(cases):
            folder = root / str(number)
            folder.mkdir()
            ckpt = with_template(resolved("zoo:listopd"), folder / "ckpt", template_of(case))
            shutil.copy(root / "gate.yaml", folder)
            places = {"folder": str(folder), "tasks": str(root / "tasks.jsonl"), "server": url}
            found = row(case, EVERY, places)[1]
            if case["why"] in IN_SOME:
                more = SOME | (
                    {"vllm": EVERY["eval"].replace("hf", "vllm").replace("@eval", "@vllm")} if vllm else {}
                )
                print(f"{'    ' + '  '.join(more):44}")
                found += row(case, more, places)[1]
            if "refused" not in case:
                good.append(ckpt)
                try:
                    found += [] if keeps(ckpt, messages) else ["the prompt lacks its message"]
                except HarnessError as error:
                    found.append(str(error))
            wrong += [f"{case['why']}: {one}" for one in found]
        first, second = (ids_on(date, good, messages) for date in DATES)
        for ckpt, before, after in zip(good, first, second, strict=True):
            if before != after:
                wrong.append(f"{ckpt}: other token ids on {DATES[0]} and {DATES[1]}")
        same = sum(one == other for one, other in zip(first, second, strict=True))
        print(f"\n{len(cases)} templates, {len(good)} of them good; same ids on {DATES}: {same}")
    print("\n".join(wrong) or "none measured silently wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="cases whose name holds these words")
    parser.add_argument("--vllm", action="store_true", help="a few of them on vLLM as well, a minute each")
    given = parser.parse_args()
    sys.exit(main_table(given.only, given.vllm))

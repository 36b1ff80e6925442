"""Does kind schema say what others say? Real schemas, the official test suite, and what it costs.

Run: python benchmarks/contract_schemas.py real FILE.jsonl.gz       a schema a line, with `tests`
     python benchmarks/contract_schemas.py suite FOLDER             draft2020-12 of JSON-Schema-Test-Suite
     python benchmarks/contract_schemas.py cost FILE.jsonl.gz

`real` and `suite` parse the JSON text of each instance and list where the strict verdict isn't the given one,
with the reason and the verdict of jsonschema beside it. `suite` gives the remote documents of the suite to
nobody: a schema that refers to one is counted as refused.
"""

from __future__ import annotations

import gzip
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import jsonschema_rs

from harness.contract import Contract, Terms, judge
from harness.errors import HarnessError

ROUNDS = 5


def schemas(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a gzipped JSONL file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def terms_of(schema: Any) -> Terms:
    """What an answer is held to by a schema."""
    return Terms(Contract(kind="schema", schema_=schema), 0)


def says_jsonschema(schema: Any, data: Any) -> str:
    """The verdict of jsonschema on a value, formats not asserted."""
    try:
        cls = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
        return "valid" if cls(schema).is_valid(data) else "invalid"
    except Exception as error:
        return f"raises {type(error).__name__}"


def with_formats(schema: Any, data: Any) -> str:
    """The verdict where formats are asserted."""
    checked = jsonschema_rs.validator_for(schema, validate_formats=True, offline=True)
    return "valid" if checked.is_valid(data) else "invalid"


def real(path: Path) -> None:
    """Verdicts on the instances of real schemas."""
    agreed = Counter[str]()
    refused, differ = [], []
    examples = 0
    for row in schemas(path):
        try:
            terms = terms_of(row["schema"])
        except HarnessError as error:
            refused.append(f"  {row['name']}: {error}")
            continue
        example = terms.example()
        examples += example is not None and judge(example, terms).tier == "strict"
        for test in row["tests"]:
            found = judge(json.dumps(test["data"]), terms)
            same = (found.tier == "strict") == test["valid"]
            agreed["as given" if same else "otherwise"] += 1
            if not same:
                beside = says_jsonschema(row["schema"], test["data"])
                why = found.message or "nothing is wrong"
                differ.append(
                    f"  {row['name']}: given {'valid' if test['valid'] else 'invalid'}, here "
                    f"{found.code or 'strict'} ({why}), jsonschema says {beside}, with formats asserted "
                    f"{with_formats(row['schema'], test['data'])}"
                )
    print(f"verdicts: {dict(agreed)}; examples made and strict: {examples}")
    print(
        f"schemas refused: {len(refused)}", *refused, f"verdicts otherwise: {len(differ)}", *differ, sep="\n"
    )


def suite(folder: Path) -> None:
    """Verdicts on the official test suite."""
    for title, files in (
        ("required", sorted(folder.glob("*.json"))),
        ("optional, formats aside", sorted((folder / "optional").glob("*.json"))),
    ):
        counts, differ = Counter[str](), []
        for file in files:
            for case in json.loads(file.read_text()):
                try:
                    terms = Terms(Contract(kind="schema", schema_="row"), 0, (), json.dumps(case["schema"]))
                except (ValueError, HarnessError) as error:
                    never = not any(test["valid"] for test in case["tests"])
                    kind = "refused, and no instance is valid" if never else "refused"
                    counts[kind] += len(case["tests"])
                    if not never:
                        differ.append(f"  {file.stem}: {case['description']}: refused: {error}")
                    continue
                for test in case["tests"]:
                    found = judge(json.dumps(test["data"]), terms)
                    same = (found.tier == "strict") == test["valid"]
                    counts["as given" if same else "otherwise"] += 1
                    if not same:
                        beside = says_jsonschema(case["schema"], test["data"])
                        differ.append(
                            f"  {file.stem}: {case['description']}: {test['description']}: here "
                            f"{found.code or 'strict'} ({found.message}), jsonschema {beside}"
                        )
        print(f"{title}: {dict(counts)}", *differ, sep="\n")


def decoded_and_checked(text: str, validator: Any) -> bool:
    return bool(validator.is_valid(json.loads(text)))


def cost(path: Path) -> None:
    """Time a valid instance takes, against jsonschema on the text decoded."""
    ratios, ours, theirs = [], [], []
    for row in schemas(path):
        try:
            terms = terms_of(row["schema"])
            validator = jsonschema.validators.validator_for(row["schema"])(row["schema"])
        except HarnessError:
            continue
        for test in row["tests"]:
            text = json.dumps(test["data"])
            if judge(text, terms).tier != "strict" or not test["valid"]:
                continue
            mine = fastest(partial(judge, text, terms))
            beside = fastest(partial(decoded_and_checked, text, validator))
            ours.append(mine)
            theirs.append(beside)
            ratios.append(mine / beside)
    print(
        f"{len(ours)} valid instances: judge {statistics.median(ours) * 1e6:.0f} µs, json.loads + jsonschema "
        f"{statistics.median(theirs) * 1e6:.0f} µs; ratio {statistics.median(ratios):.2f} (medians)"
    )


def fastest(call: Callable[[], object]) -> float:
    """Seconds of the fastest of some calls."""
    found = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        call()
        found.append(time.perf_counter() - begin)
    return min(found)


if __name__ == "__main__":
    {"real": real, "suite": suite, "cost": cost}[sys.argv[1]](Path(sys.argv[2]))

"""Which grammar engine says what a JSON Schema allows next: how much of it, how fast, how truly.

Run: python benchmarks/contract_masks.py [--oracle] [--data ../shared/data/jsonschemabench/schemas.jsonl.gz]

Three readings of each schema on two vocabularies: our grammar over llguidance (`harness.rollouts`, keys in
any order), llguidance's own reading of JSON Schema, and xgrammar's. A valid instance must lie in the masks
token for token and end there, an invalid one must leave them; once with the keys as given, once reversed. The
bigger vocabulary is trained here, on the standard library's sources. Times are of the CPU. `--oracle`
compares masks with what jsonschema accepts (`tests/rollouts/mask_oracle.py`), and on the default contract
with our automaton.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import statistics
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from harness.engines.vocabulary import token_bytes

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data" / "jsonschemabench" / "schemas.jsonl.gz"
SIZE = 32_000


@dataclass
class Reading:
    """A compiled schema: a mask, then one token, and so on."""

    mask: Callable[[], np.ndarray]
    accept: Callable[[int], bool]
    complete: Callable[[], bool]


Compile = Callable[[Any], Callable[[], Reading]]
"""Of a schema; what it gives begins a reading."""


@dataclass
class Column:
    """What one engine made of all schemas."""

    compiled: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    compile_ms: list[float] = field(default_factory=list)
    mask_us: list[float] = field(default_factory=list)
    valid: list[str] = field(default_factory=list)
    """Of valid instances: `ok`, or the schema's name."""
    reversed: list[str] = field(default_factory=list)
    """Of valid instances with their keys the other way round."""
    invalid: list[str] = field(default_factory=list)


def of_zoo() -> PreTrainedTokenizerFast:
    """The one of the checkpoints that come with the package."""
    return PreTrainedTokenizerFast.from_pretrained(ROOT / "harness" / "zoo" / "listopd")


def trained() -> PreTrainedTokenizerFast:
    """A byte-level BPE of 32,000 tokens, of the standard library's sources."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    files = sorted(str(one) for one in Path(sysconfig.get_path("stdlib")).glob("*.py"))
    tokenizer.train(files, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")


def ours(tokens: list[bytes | None], end: int) -> Compile:
    from harness.contract import Contract, Terms
    from harness.rollouts.grammar_classes import GrammarClasses

    classes = GrammarClasses(tokens, [end])

    def compile_(schema: Any) -> Callable[[], Reading]:
        terms = Terms(Contract(kind="schema", schema_=json.dumps(schema)), 0)
        classes.start(terms)

        def begin() -> Reading:
            at = [classes.start(terms)]

            def accept(token: int) -> bool:
                following = classes.follow(at[0], token)[0]
                at[0] = following or at[0]
                return following is not None

            return Reading(lambda: classes.members(at[0]), accept, lambda: classes.is_member(at[0], end))

        return begin

    return compile_


def llguidance(tokens: list[bytes | None], end: int) -> Compile:
    import llguidance as library

    class Spelled:
        bos_token_id = None
        eos_token_id = end

        def __init__(self) -> None:
            self.special_token_ids = [end]
            self.tokens = [one or b"" for one in tokens]

        def __call__(self, text: bytes) -> list[int]:
            return []

    tokenizer = library.LLTokenizer(library.TokenizerWrapper(Spelled()), slices=[])

    def compile_(schema: Any) -> Callable[[], Reading]:
        grammar = library.LLMatcher.grammar_from_json_schema(json.dumps(schema))
        matcher = library.LLMatcher(tokenizer, grammar, log_level=0)
        if matcher.is_error():
            raise ValueError(matcher.get_error().split("\n")[0])

        def begin() -> Reading:
            own = matcher.deep_copy()
            return Reading(
                lambda: np.frombuffer(own.compute_bitmask(), dtype=np.uint8),
                lambda token: own.try_consume_tokens([token]) == 1,
                own.is_accepting,
            )

        return begin

    return compile_


def xgrammar(tokens: list[bytes | None], end: int) -> Compile:
    import xgrammar as library

    info = library.TokenizerInfo([one or b"" for one in tokens], stop_token_ids=[end])
    compiler = library.GrammarCompiler(info, max_threads=1, cache_enabled=False)
    bits = library.allocate_token_bitmask(1, info.vocab_size)

    def compile_(schema: Any) -> Callable[[], Reading]:
        compiled = compiler.compile_json_schema(json.dumps(schema), strict_mode=False)

        def begin() -> Reading:
            matcher = library.GrammarMatcher(compiled, terminate_without_stop_token=False)

            def mask() -> np.ndarray:
                matcher.fill_next_token_bitmask(bits)
                return np.asarray(bits.numpy())

            return Reading(mask, matcher.accept_token, lambda: bool(mask()[0, end // 32] >> (end % 32) & 1))

        return begin

    return compile_


def instances(data: Path) -> Iterator[tuple[str, Any, list[dict[str, Any]]]]:
    """Name, schema and tests of each row."""
    with gzip.open(data, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield row["name"], row["schema"], row["tests"]


def measure(compile_: Compile, tokenizer: PreTrainedTokenizerFast, data: Path) -> Column:
    """Every schema compiled, every instance walked."""
    column = Column()
    for name, schema, tests in instances(data):
        began = time.process_time()
        try:
            begin = compile_(schema)
        except Exception as error:
            column.refused[str(error).split("\n")[0][:90]] += 1
            continue
        column.compile_ms.append(1e3 * (time.process_time() - began))
        column.compiled += 1
        for test in tests:
            inside = lies_inside(begin(), test["data"], tokenizer, column)
            said = "ok" if inside == test["valid"] else name
            (column.valid if test["valid"] else column.invalid).append(said)
            turned = reversed_keys(test["data"])
            if test["valid"] and json.dumps(turned) != json.dumps(test["data"]):
                inside = lies_inside(begin(), turned, tokenizer, column)
                column.reversed.append("ok" if inside else name)
    return column


def lies_inside(reading: Reading, value: object, tokenizer: PreTrainedTokenizerFast, column: Column) -> bool:
    """Whether every token of a value's text is in its mask, and the text may end there."""
    text = json.dumps(value, ensure_ascii=False)
    for token in tokenizer.encode(text, add_special_tokens=False):
        began = time.process_time()
        reading.mask()
        column.mask_us.append(1e6 * (time.process_time() - began))
        if not reading.accept(token):
            return False
    return reading.complete()


def reversed_keys(value: Any) -> Any:
    """The same value with the keys of its objects the other way round."""
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(value)}
    return [reversed_keys(one) for one in value] if isinstance(value, list) else value


def shown(name: str, column: Column, total: int) -> str:
    """A row of the table."""
    compile_, mask = sorted(column.compile_ms), sorted(column.mask_us)
    hits = [f"{one.count('ok')}/{len(one)}" for one in (column.valid, column.reversed, column.invalid)]
    return (
        f"| {name} | {column.compiled}/{total} | {statistics.median(compile_):.1f}, "
        f"{compile_[int(0.95 * len(compile_))]:.1f}, {compile_[-1]:.0f} | {statistics.median(mask):.0f}, "
        f"{mask[int(0.95 * len(mask))]:.0f} | {hits[0]} | {hits[1]} | {hits[2]} |"
    )


def by_jsonschema(data: Path) -> tuple[int, int, set[str]]:
    """Instances, and schemas whose given verdicts jsonschema itself doesn't share."""
    count, differ, names = 0, 0, set()
    for name, schema, tests in instances(data):
        kind = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)
        for test in tests:
            count += 1
            try:
                same = kind(schema).is_valid(test["data"]) == test["valid"]
            except Exception:
                same = False
            if not same:
                differ += 1
                names.add(name)
    return count, differ, names


def table(data: Path) -> None:
    total = sum(1 for _ in instances(data))
    count, differ, names = by_jsonschema(data)
    print(
        f"{total} schemas, {count} instances; jsonschema's verdict differs from the given one for {differ}\n"
    )
    for label, tokenizer in (("zoo:listopd", of_zoo()), ("trained", trained())):
        tokens = list(token_bytes(tokenizer))
        end = tokenizer.eos_token_id
        print(f"{label}, {len(tokens)} tokens\n")
        print(
            "| engine | compiled | ms to compile (median, 95 %, most) | µs a mask (median, 95 %) "
            "| valid inside | keys reversed | invalid outside |"
        )
        print("|---|---|---|---|---|---|---|")
        columns = {}
        for make in (ours, llguidance, xgrammar):
            columns[make.__name__] = column = measure(make(tokens, end), tokenizer, data)
            print(shown(make.__name__, column, total), flush=True)
        print()
        for name, column in columns.items():
            print(f"{name} refused: {dict(column.refused.most_common(12))}")
            kinds = {
                "valid outside": column.valid,
                "valid with keys reversed outside": column.reversed,
                "invalid inside": column.invalid,
            }
            for kind, found in kinds.items():
                wrong = Counter(one for one in found if one != "ok")
                known = {one: n for one, n in wrong.items() if one in names}
                print(f"  {kind}: {sum(wrong.values())} ({sum(known.values())} where jsonschema differs too)")
                print(f"    {sorted(wrong)}")
        print()


def oracle() -> None:
    """Classes against what jsonschema accepts, and on the default contract against our automaton."""
    sys.path.insert(0, str(ROOT))
    from harness.contract import Contract, Terms
    from harness.rollouts.grammar_classes import GrammarClasses
    from tests.rollouts.mask_oracle import Language, cases, disagreements

    for label, tokenizer, states in (("zoo:listopd", of_zoo(), 25), ("trained", trained(), 3)):
        tokens, end = list(token_bytes(tokenizer)), tokenizer.eos_token_id
        classes = GrammarClasses(tokens, [end])
        judged, differing = 0, Counter[tuple[str, str, str]]()
        for case in cases():
            terms = Terms(Contract(kind="schema", schema_=json.dumps(case.schema)), 0)
            count, wrong = disagreements(Language(case), classes, terms, tokens, end, states, seed=1)
            judged += count
            differing.update((case.name, token, way) for _, token, way in wrong)
        print(f"{label}: {len(cases())} schemas, {judged} tokens judged, {differing.total()} otherwise")
        for found, count in differing.most_common(20):
            print(f"  {count} x {found}")
        positions, apart = against_automaton(tokens, end)
        print(f"{label}: default contract, {positions} positions, {apart} where the automaton differs\n")


def against_automaton(tokens: list[bytes | None], end: int) -> tuple[int, int]:
    """Positions of answers to the default contract and its like, and at how many class or role differ."""
    from harness.contract import Contract, Terms
    from harness.contract.tokens import TokenClasses
    from harness.rollouts.grammar_classes import GrammarClasses

    engine, looked, apart = GrammarClasses(tokens, [end]), 0, 0
    rng = random.Random(0)
    for contract in (Contract(), Contract(ids="string"), Contract(ranking="$.ids")):
        automaton = TokenClasses(tokens, [end], contract)
        for k in (2, 8, 12, 64):
            terms = Terms(contract, k)
            goal = terms.answer(rng.sample(range(1, k + 1), k)).encode()
            ours, theirs = automaton.start(terms), engine.start(terms)
            while goal:
                looked += 1
                members = automaton.members(ours)
                same = members.tolist() == engine.members(theirs).tolist() and ours.role == theirs.role
                apart += not same
                fitting = [
                    one for one in members.tolist() if one != end and goal.startswith(tokens[one] or b"?")
                ]
                taken = rng.choice(fitting)
                goal = goal[len(tokens[taken] or b"") :]
                ours_next, theirs_next = automaton.follow(ours, taken)[0], engine.follow(theirs, taken)[0]
                assert ours_next is not None
                assert theirs_next is not None
                ours, theirs = ours_next, theirs_next
    return looked, apart


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--oracle", action="store_true")
    given = parser.parse_args()
    if given.oracle:
        oracle()
    elif not given.data.is_file():
        raise SystemExit(f"{given.data} isn't here; give JSONSchemaBench's schemas as --data")
    else:
        table(given.data)


if __name__ == "__main__":
    main()

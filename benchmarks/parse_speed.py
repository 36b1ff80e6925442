"""Cost of parsing a K = 8 answer against a bare `json.loads` of the same text, and of texts made to hurt.

Run: python benchmarks/parse_speed.py

The second table repeats a motif up to a megabyte: the ratio is that to `json.loads` of a list of numbers of
the same length, and the growth is the largest exponent between two neighbouring lengths (1 is linear).

Both are timed in turn in every round, so that a busy machine slows both; the ratio is the median over rounds.
"""

from __future__ import annotations

import itertools
import json
import math
import statistics
import time
from collections.abc import Callable

import numpy as np

from harness.contract import DEFAULT, Tier, parse

K = 8
ROUNDS = 41
TEXTS = 500


def seconds(call: Callable[[str], object], texts: list[str]) -> float:
    """Wall time of `call` on every text."""
    begin = time.perf_counter()
    for text in texts:
        call(text)
    return time.perf_counter() - begin


def strict(text: str) -> object:
    return parse(text, K, DEFAULT)


def loads(text: str) -> object:
    return json.loads(text)


def compare(texts: list[str], baseline: list[str]) -> tuple[float, float, float]:
    """Median µs of a parse, of `json.loads` on the baseline texts, and their median ratio."""
    parsed, loaded = [], []
    for _ in range(ROUNDS):
        parsed.append(seconds(strict, texts) / len(texts))
        loaded.append(seconds(loads, baseline) / len(baseline))
    ratios = [a / b for a, b in zip(parsed, loaded, strict=True)]
    return statistics.median(parsed) * 1e6, statistics.median(loaded) * 1e6, statistics.median(ratios)


SIZES = (1_000, 4_000, 16_000, 64_000, 256_000, 1_000_000)
MOTIFS = (
    *(
        '{"a":',
        '{"ranking":',
        "[",
        '[{"a":',
        '{"a":[',
        '{"a":{"b":[',
        '{"":[[[[',
        '{ "a" : ',
        '{\n"a":\n',
        "{",
    ),
    *(
        '{"',
        '{"a\\n":',
        '{"\\u0061":',
        '{"x":"{\\"a\\":',
        '{"a":"',
        '["{",":{",',
        '{"a":"{","b":',
        '{"a":"\\"{',
        ':{"a"',
    ),
    *(
        '{"a":[{"b":1},',
        '{"a":{},"b":',
        '{"a":[[],',
        '}{"a":',
        ']{"a":[',
        '{"ranking":[3,1,2',
        '{"ranking":[1,1,1],',
    ),
    *(
        '{"a":1},',
        "{}",
        "1,",
        "[1,",
        "null,",
        '"',
        "\\",
        "'ranking': [",
        "ranking:\t",
        "<think>",
        "9",
        "-",
        "1e",
        "\u3000",
    ),
)


def fastest(call: Callable[[str], object], text: str) -> float:
    """Least CPU time of five calls, in seconds."""
    times = []
    for _ in range(5):
        begin = time.process_time()
        call(text)
        times.append(time.process_time() - begin)
    return min(times)


def hurtful() -> None:
    print(
        f"\n{'motif, repeated':24}" + "".join(f"{size // 1000:>9} kB" for size in SIZES) + "   ratio  growth"
    )
    for motif in MOTIFS:
        texts = [motif * (size // len(motif)) for size in SIZES]
        times = [fastest(strict, text) for text in texts]
        # What takes no time at all grows as the clock likes.
        steps = [pair for pair in itertools.pairwise(times) if pair[1] > 2e-3]
        growth = max((math.log(after / max(before, 2e-4), 4) for before, after in steps), default=0.0)
        ratio = max(
            taken / fastest(loads, "[" + "1," * (len(text) // 2) + "1]")
            for taken, text in zip(times, texts, strict=True)
        )
        print(
            f"{motif!r:24}"
            + "".join(f"{1e3 * taken:9.2f} ms" for taken in times)
            + f"{ratio:8.1f}{growth:8.2f}"
        )


def main() -> None:
    rng = np.random.default_rng(0)
    rankings = [[int(n) + 1 for n in rng.permutation(K)] for _ in range(TEXTS)]
    valid = [json.dumps({"ranking": ranking}) for ranking in rankings]
    pretty = [json.dumps({"ranking": ranking}, indent=2) for ranking in rankings]
    repeated = [json.dumps({"ranking": [*ranking[:-1], ranking[0]]}) for ranking in rankings]
    rows: list[tuple[str, Tier, list[str], list[str]]] = [
        ("valid", "strict", valid, valid),
        ("valid, indented", "strict", pretty, pretty),
        ("invalid: an id twice", "none", repeated, repeated),
        ("invalid: in a code fence", "lenient", [f"```json\n{text}\n```" for text in valid], valid),
        ("invalid: trailing comma", "repaired", [f"{text[:-1]},}}" for text in valid], valid),
    ]
    print(f"K = {K}, {TEXTS} texts, median of {ROUNDS} rounds; json.loads of the fence's inside where fenced")
    print(f"{'text':28}{'tier':>10}{'parse µs':>12}{'json.loads µs':>16}{'ratio':>8}")
    for name, tier, texts, baseline in rows:
        if {parse(text, K).tier for text in texts} != {tier}:
            raise AssertionError(f"{name}: not all {tier}")
        parsed, loaded, ratio = compare(texts, baseline)
        print(f"{name:28}{tier:>10}{parsed:12.2f}{loaded:16.2f}{ratio:8.2f}")
    hurtful()


if __name__ == "__main__":
    main()

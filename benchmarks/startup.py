"""Time of `harness --help` against a bare interpreter, and the modules it loads.

Example: python benchmarks/startup.py
"""

import statistics
import subprocess
import sys
import time

ROUNDS = 15
HEAVY = ("torch", "vllm", "transformers", "pandas", "numpy", "pydantic", "sklearn", "jsonschema", "rich")


def seconds(command: list[str]) -> float:
    began = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    return time.monotonic() - began


def main() -> None:
    bare, helped = [], []
    for _ in range(ROUNDS):
        bare.append(seconds([sys.executable, "-c", "pass"]))
        helped.append(seconds([sys.executable, "-m", "harness", "--help"]))
    print(f"python -c pass {statistics.median(bare):.3f} s, harness --help {statistics.median(helped):.3f} s")
    code = "import sys\nfrom harness.cli import main\nmain(['--help'])\n"
    code += "print(' '.join(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    modules = set(done.stderr.split())
    print(f"{len(modules)} modules; of the heavy ones: {sorted(modules & set(HEAVY)) or 'none'}")


if __name__ == "__main__":
    main()

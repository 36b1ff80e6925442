#!/bin/sh
# Makes reports/example.html from the zoo's checkpoints, on a CPU. Runs go to runs/example; the folder must be
# new for numbers of today's code. λ and c are those that the student was trained with (harness/opd/zoo.py).
# The interval of λ* must be narrower than --grid; λ lies 0.2 below λ*, so steps of 0.1 are fine enough.
set -eu
cd "$(dirname "$0")/.."
runs=runs/example

harness eval --ckpt zoo:base --engine hf --out $runs/sft-base
harness eval --ckpt zoo:large --engine hf --out $runs/sft-large
harness eval --ckpt zoo:listopd --engine hf --out $runs/listopd \
  --teacher zoo:teacher --base zoo:base --lambda 1.1 --clip 5 --grid 0.1

# Exit codes 1 and 4 are verdicts, not errors.
gate() { harness gate "$@" || [ $? -eq 1 ] || [ $? -eq 4 ]; }
gate $runs/sft-base
gate $runs/sft-large
gate $runs/listopd --baseline $runs/sft-large --policy reports/example-gate.yaml

harness report $runs/listopd $runs/sft-large $runs/sft-base --baseline sft-large \
  --title "ListOPD student against a larger SFT baseline (zoo, fashion-mini)" -o reports/example.html

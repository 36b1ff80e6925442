#!/bin/sh
# Makes reports/example.html from the zoo's checkpoints, on a CPU. Runs go to runs/example, a new folder, so that
# the numbers are of today's code; everything must be committed, so that the page can name the commit. λ and c are
# those that the student was trained with (harness/opd/zoo.py).
set -eu
cd "$(dirname "$0")/.."
runs=runs/example

if [ -e "$runs" ]; then echo "$runs is there already; remove it first" >&2; exit 2; fi
if ! git diff --quiet HEAD; then echo "commit all changes first: the page names the commit" >&2; exit 2; fi

harness eval --ckpt zoo:base --engine hf --out $runs/sft-base
harness eval --ckpt zoo:large --engine hf --out $runs/sft-large
harness eval --ckpt zoo:listopd --engine hf --out $runs/listopd \
  --teacher zoo:teacher --base zoo:base --lambda 1.1 --clip 5

# Exit codes 1 and 4 are verdicts, not errors.
gate() { harness gate "$@" || case $? in 1 | 4) ;; *) exit 2 ;; esac; }
gate $runs/sft-base
gate $runs/sft-large
gate $runs/listopd --baseline $runs/sft-large --policy reports/example-gate.yaml

harness report $runs/listopd $runs/sft-base $runs/sft-large \
  --title "ListOPD student against a larger SFT baseline (zoo, fashion-mini)" -o reports/example.html

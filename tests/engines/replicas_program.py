"""Draws and scores the shared requests with two vLLM replicas, prints that, and waits to be killed.

Started by test_vllm_engine.py. There is no `if __name__ == "__main__"` here: users forget it too.
"""

from __future__ import annotations

import json
import sys

from harness.engines import EngineConfig, open_engine
from tests.engines.engine_requests import GREEDY, by_key, contents, make_requests, scored_requests

engine = open_engine(
    EngineConfig(engine="vllm", ckpt=sys.argv[1], enforce_eager=True, data_parallel_size=2, device="cpu")
)
engine.start()
answers = contents(by_key(engine.generate(make_requests(engine), GREEDY)))
scores = {one.key: one.logprobs.tolist() for one in engine.score(scored_requests(engine), top_k=5)}
replicas = [replica.process.pid for replica in engine._replicas]
print(json.dumps({"answers": answers, "scores": scores, "replicas": replicas}), flush=True)
sys.stdin.read()

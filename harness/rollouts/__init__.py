"""Prompts, rollouts, their walks through the contract, and the records made of them; whoever drew them."""

from harness.rollouts.classes import Classes, classes_identity, classes_of, require_classes
from harness.rollouts.positions import Positions
from harness.rollouts.prompts import Prompt, answer_room, make_prompts, plan_requests, sample_key, sample_seed
from harness.rollouts.rollout import Rollout, read_rollouts, rollouts_of_run, write_rollouts
from harness.rollouts.walks import Walk, Walker

__all__ = [
    "Classes",
    "Positions",
    "Prompt",
    "Rollout",
    "Walk",
    "Walker",
    "answer_room",
    "classes_identity",
    "classes_of",
    "make_prompts",
    "plan_requests",
    "read_rollouts",
    "require_classes",
    "rollouts_of_run",
    "sample_key",
    "sample_seed",
    "write_rollouts",
]

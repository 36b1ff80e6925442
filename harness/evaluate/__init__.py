"""The job behind `harness eval`: tasks → prompts → engine → parse → scores → run directory."""

from harness.evaluate.config import EvalConfig
from harness.evaluate.early_stop import EarlyStop
from harness.evaluate.job import evaluate
from harness.evaluate.scoring import rescore, summarise_run
from harness.progress import Progress

__all__ = ["EarlyStop", "EvalConfig", "Progress", "evaluate", "rescore", "summarise_run"]

"""Makes runs of a sweep until none is left: `python -m harness.sweep.worker SWEEP`."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType

from harness.errors import HarnessError, IncompleteError, InternalError
from harness.sweep.folder import SweepFolder, read_record, require_same
from harness.sweep.job import lock_hash
from harness.sweep.work import work


def main(path: str) -> int:
    """Work on the sweep in `path`; returns an exit code."""
    import torch

    signal.signal(signal.SIGTERM, _interrupt)
    torch.set_num_threads(1)
    folder, parent = SweepFolder(Path(path)), os.getppid()
    try:
        record = read_record(folder)
        training_code = require_same(record, record.plan, lock_hash(folder))
        # Its parent killed, a worker would go on for nobody.
        work(
            record.plan,
            folder,
            tuple(record.plan.runs()),
            training_code,
            keep_going=lambda: os.getppid() == parent,
        )
    except HarnessError as error:
        print(f"harness: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return IncompleteError.exit_code
    except Exception as error:
        traceback.print_exc()
        print(f"harness: error: {InternalError.of(error)}", file=sys.stderr)
        return InternalError.exit_code
    return 0


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

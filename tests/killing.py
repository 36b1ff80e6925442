"""SIGKILL at every moment at which files change their names."""

import os
import signal
import sys
from collections.abc import Callable

_RENAMES = ("os.rename", "os.remove", "os.rmdir")


def killed_at(point: int, work: Callable[[], object]) -> bool:
    """Do work in a child that kills itself just before its n-th file appears, is replaced or goes.

    Args:
        point: which one, from 0.
        work: what to do; what it leaves on disk is all there is of it.

    Returns:
        Whether it was killed; False where it ended before.
    """
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL
            return True
        assert os.waitstatus_to_exitcode(status) == 0
        return False
    seen = 0

    def count(event: str, arguments: object) -> None:
        nonlocal seen
        if event in _RENAMES:
            if seen == point:
                os.kill(os.getpid(), signal.SIGKILL)
            seen += 1

    sys.addaudithook(count)
    try:
        work()
    except BaseException:
        os._exit(1)
    os._exit(0)

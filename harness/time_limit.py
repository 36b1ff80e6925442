"""Work of a stranger's program in a time of its own: a template may loop for ever."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from itertools import count


class Runaway(BaseException):
    """Thrown into a thread whose work doesn't end; no template can catch it."""


def within(seconds: float, work: Iterator[None]) -> None:
    """Do `work` in a thread of its own, each step of it in this time.

    A thread, because a loop in a template can only be ended from outside, and signals belong to the caller.

    Raises:
        Runaway: a step took longer.
        BaseException: whatever the work raised.
    """
    raised: list[BaseException] = []
    steps = count()
    done = [0]

    def run() -> None:
        try:
            for _ in work:
                done[0] = next(steps) + 1
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, name="template", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            before = done[0]
            thread.join(seconds)
            if before == done[0]:
                break
    finally:
        if thread.is_alive() and thread.ident is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(thread.ident), ctypes.py_object(Runaway)
            )
            thread.join(1.0)
            raised.append(Runaway())
    if raised:
        raise raised[0]

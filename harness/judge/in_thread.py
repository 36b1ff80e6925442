"""Calling a blocking library from the event loop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread, current_thread, main_thread
from typing import TypeVar

Argument = TypeVar("Argument")
Result = TypeVar("Result")


async def in_thread(function: Callable[[Argument], Result], argument: Argument) -> Result:
    """Await `function(argument)`, run in a thread of its own.

    A daemon thread rather than one of an executor: an executor's threads are joined when Python ends, so a
    service that never answers would keep an interrupted process alive.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def deliver(settle: Callable[[], None]) -> None:
        try:
            loop.call_soon_threadsafe(lambda: None if future.done() else settle())
        except RuntimeError:
            return  # the loop is closed: the session was interrupted, and nobody waits for this

    def work() -> None:
        try:
            result = function(argument)
        except Exception as error:
            failure = error
            deliver(lambda: future.set_exception(failure))
        else:
            deliver(lambda: future.set_result(result))

    Thread(target=work, name="judge-request", daemon=True).start()
    return await future


@contextmanager
def interrupts(handle: Callable[[], None]) -> Iterator[None]:
    """Call `handle` in the running loop at Ctrl-C and SIGTERM; only the main thread gets signals."""
    if current_thread() is not main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    earlier = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        loop.add_signal_handler(number, handle)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
            signal.signal(number, earlier[number])

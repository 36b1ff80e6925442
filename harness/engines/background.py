"""An event loop in a thread, so that async clients can serve synchronous iterators."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class _Result(Generic[Result]):
    value: Result


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None


def in_background(
    items: Iterable[Item],
    opened: Callable[[], AbstractAsyncContextManager[Callable[[Item], Awaitable[Result]]]],
    concurrency: int,
) -> Iterator[Result]:
    """Apply an async function to items and yield the results as they finish.

    Args:
        items: taken one at a time, whenever fewer than `concurrency` are being worked on.
        opened: gives the function inside a context, entered and left on the loop.
        concurrency: how many run at once.

    Raises:
        BaseException: the first that the function raises; results from before it are yielded first.
    """
    results: queue.SimpleQueue[_Result[Result] | _End] = queue.SimpleQueue()
    loop = asyncio.new_event_loop()
    pending = iter(items)

    async def work(function: Callable[[Item], Awaitable[Result]]) -> None:
        for item in pending:
            results.put(_Result(await function(item)))

    async def work_all() -> None:
        async with opened() as function, asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(work(function))

    task = loop.create_task(work_all())

    def run() -> None:
        error: BaseException | None = None
        try:
            loop.run_until_complete(task)
        except BaseExceptionGroup as group:
            error = group.exceptions[0]
        except BaseException as other:
            error = other
        finally:
            loop.close()
            results.put(_End(error))

    thread = threading.Thread(target=run, name="background-loop", daemon=True)
    thread.start()
    try:
        while isinstance(message := results.get(), _Result):
            yield message.value
        if message.error is not None:
            raise message.error
    finally:
        with suppress(RuntimeError):  # the loop has ended by itself
            loop.call_soon_threadsafe(task.cancel)
        thread.join()

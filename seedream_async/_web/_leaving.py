"""
What becomes of work when the browser that it is for leaves: no task outlives its owner.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

from attrs import frozen

from seedream_async._client import AsyncSeedream
from seedream_async._errors import ClientClosingError, InvalidRequestError
from seedream_async._reporting import logger

_T = TypeVar("_T")
WhenLeft: TypeAlias = Literal["cancel", "finish_and_store"]


class LeftError(Exception):
    """The browser is gone: nobody reads what is answered."""


class Browser(Protocol):
    """The far side of one request, as a framework has it. Its methods raise `LeftError`."""

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the head of the answer."""
        ...

    async def write(self, chunk: bytes) -> None:
        """Send a piece of its body, as soon as there is room for it."""
        ...

    async def end(self) -> None:
        """Say that the body is whole."""
        ...

    async def cut(self) -> None:
        """Say that it is not."""
        ...

    async def left(self) -> None:
        """Return when it is gone."""
        ...


@frozen
class Head:
    """The head of a browser's request: *headers* have lower-case names."""

    method: str
    headers: Mapping[str, str]


Answer: TypeAlias = Callable[[Head, Browser], Coroutine[Any, Any, None]]


def checked(when_left: WhenLeft) -> WhenLeft:
    """*when_left*, if it is one."""
    if when_left not in ("cancel", "finish_and_store"):
        raise InvalidRequestError(
            f'when_left must be "cancel" or "finish_and_store", not {when_left!r}',
            field="when_left",
        )
    return when_left


async def unless_left(work: Coroutine[Any, Any, _T], left: Coroutine[Any, Any, None]) -> _T:
    """What *work* gives; it is cancelled, and gone, if it is *left* before. Raises `LeftError`."""
    return await _awaited(asyncio.create_task(work), left, stays=False)


async def attended(
    client: AsyncSeedream,
    work: Coroutine[Any, Any, _T],
    left: Coroutine[Any, Any, None],
    when_left: WhenLeft,
) -> _T:
    """As `unless_left`; or *client* keeps the work until it ends, if that is what is chosen."""
    try:
        stays = checked(when_left) == "finish_and_store"
        task = client.keep(work) if stays else asyncio.create_task(work)
    except BaseException:
        work.close()
        left.close()
        raise
    return await _awaited(task, left, stays=stays)


async def _awaited(task: asyncio.Task[_T], left: Coroutine[Any, Any, None], *, stays: bool) -> _T:
    watch = asyncio.create_task(left)
    try:
        await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
        if watch.done() and (trouble := watch.exception()):
            logger.warning("it cannot be told whether a browser left: %r", trouble)
            await asyncio.wait((task,))
    finally:
        is_gone = watch.done()
        ending = [watch] if stays else [watch, task]
        for each in ending:
            each.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
    if task.done() and not task.cancelled():
        return task.result()
    if is_gone:
        raise LeftError
    raise ClientClosingError("cancelled, since the client was closed")

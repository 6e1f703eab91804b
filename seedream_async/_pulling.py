"""The source of a fan-out, whatever its kind: pulled one by one, and never after it ended."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator, Sized
from typing import TypeAlias

from ._errand import Errand, Item
from ._errors import APIConnectionError, InvalidRequestError

Source: TypeAlias = Iterable[Item] | AsyncIterable[Item]


class Pulled:
    """The requests of *source*, until it *has_ended*. If it *is_sized*, it does so some day."""

    def __init__(self, source: Source) -> None:
        self._items = _iterator_of(source)
        self._trouble: Exception | None = None
        self.has_ended = False
        self._count = 0
        self.is_sized = isinstance(source, Sized)

    async def pull(self) -> Errand | None:
        """The next request, or one that failed with what the source raised; nothing at the end."""
        if self._trouble:
            return self._end_in(self._trouble)
        try:
            # Not in a coroutine of its own: none can pass a StopIteration on.
            if isinstance(self._items, AsyncIterator):
                item = await anext(self._items)
            else:
                item = next(self._items)
        except (StopIteration, StopAsyncIteration):
            self.has_ended = True
            return None
        except Exception as error:  # noqa: BLE001  the source's own, reported where it happened
            return self._end_in(error)
        except BaseException as error:
            self.interrupt(error)
            raise
        self._count += 1
        return Errand(self._count - 1, item)

    def interrupt(self, cause: BaseException) -> None:
        """Let the source end here, with an error that says so."""
        self._trouble = APIConnectionError(
            "a task of the fan-out was ended by others: what follows was neither pulled nor sent"
        )
        self._trouble.__cause__ = cause

    async def aclose(self) -> None:
        """Close an asynchronous generator, and let go of any other source."""
        items, self._items = self._items, iter(())
        self.has_ended = True
        if isinstance(items, AsyncGenerator):
            await items.aclose()

    def _end_in(self, error: Exception) -> Errand:
        self.has_ended = True
        errand = Errand(self._count, None)
        errand.fail(error)
        return errand


def _iterator_of(source: Source) -> Iterator[Item] | AsyncIterator[Item]:
    if isinstance(source, str | bytes) or not isinstance(source, Iterable | AsyncIterable):
        problem = f"requests must be an iterable of prompts, not {type(source).__name__}"
    elif getattr(source, "ag_running", False) or getattr(source, "gi_running", False):
        problem = "requests is a generator that is running already: somebody else pulls it"
    else:
        return source.__aiter__() if isinstance(source, AsyncIterable) else iter(source)
    raise InvalidRequestError(problem, field="requests")

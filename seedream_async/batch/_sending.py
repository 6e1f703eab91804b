"""
A row from its first mark to its last: each is on the disk before what it stands for happens.

Once a row is paid for, nothing that goes wrong may have it sent again.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

from attrs import define, evolve, field

from seedream_async import _estimate, _files
from seedream_async._allowance import PricePerImage
from seedream_async._calls import Effort
from seedream_async._errand import Watched
from seedream_async._errors import (
    APIConnectionError,
    APIError,
    APIStatusError,
    InvalidRequestError,
    SeedreamError,
    StorageError,
)
from seedream_async._generating import Generating
from seedream_async._inbox import Inbox
from seedream_async._models import Image, ImagesResponse, SavedImage
from seedream_async._request import GenerateRequest

from ._ballast import Room
from ._entries import Link, Marks
from ._jobs import Job
from ._keeping import Answer, Keeper
from ._leaving import Leaving
from ._states import IllegalTransitionError, State
from ._tally import Tally


@define
class _Course:
    """How far a row is: in the ledger *state*, and in the call that answers it."""

    job: Job
    state: State
    request_id: str | None = None
    cost: float | None = None
    call: Watched | None = None
    trouble: StorageError | None = None
    scope: Any = field(default=None, repr=False)


class Sending:
    """Sends rows and marks them; *jobs* has those that are under way, by their place in the run."""

    def __init__(
        self,
        ledger: Marks,
        generating: Generating,
        keeper: Keeper,
        tally: Tally,
        leaving: Leaving,
        *,
        ballast: Room,
        place: _files.Place,
        model: str,
        price: PricePerImage | None,
    ) -> None:
        self.jobs: dict[int, Job] = {}
        self._ledger = ledger
        self._generating = generating
        self._keeper = keeper
        self._tally = tally
        self._leaving = leaving
        self._ballast = ballast
        self._place = place
        self._model = model
        self._price = price

    async def generate(
        self,
        index: int,
        request: GenerateRequest,
        began: Callable[[Watched], None],
        answered: Callable[[ImagesResponse], None],
    ) -> ImagesResponse:
        """As `FanOut` wants it, with every mark."""
        job = self.jobs.pop(index)
        course = _Course(job, job.before)
        async with Inbox() as inbox:
            try:
                response = await self._answer(course, request, inbox, began)
            except BaseException:
                await self._settle(course)
                raise
            if course.trouble:
                with contextlib.suppress(SeedreamError, IllegalTransitionError):
                    await self._keep(course, response, inbox)  # which nobody knows of, but is there
                raise course.trouble
            inline = any(image.url is None for image in response.images)
            if not inline:
                answered(response)
                self._leave_room()
            try:
                files = await self._keep(course, response, inbox)
            finally:
                if inline:  # it is lost unless it is saved, so its place is not given on before
                    answered(response)
        return evolve(response, files=files)

    def _leave_room(self) -> None:
        """Save nothing that can be fetched later once the disk has refused: the marks need it."""
        if isinstance(self._leaving.why, StorageError):
            raise self._leaving.why

    async def _answer(
        self,
        course: _Course,
        request: GenerateRequest,
        inbox: Inbox,
        began: Callable[[Watched], None],
    ) -> ImagesResponse:
        calls = self._generating.calls

        def watch(call: Watched) -> None:
            course.call = call
            began(call)

        async def receive(stream: Any, asked: Any) -> ImagesResponse:
            try:
                response = await inbox.receive(self._place, stream, asked)
            except APIError as error:
                if error.response is None or not error.response.images:
                    raise
                response = error.response
            await self._paid(course, request, response)
            return response

        async with self._leaving.waiting() as course.scope, calls.prepared(request) as prepared:
            effort = Effort(guard=partial(self._guarded, course))
            return await calls.answer(prepared, effort, receive, watch)

    @contextlib.asynccontextmanager
    async def _guarded(self, course: _Course) -> AsyncIterator[None]:
        """Around one attempt: it is sent from the moment when this is entered."""
        self._leaving.refuse()
        self._leaving.busy(course.scope)
        job = course.job
        await self._ledger.sent(job.number, resend_unknown=job.resend)
        self._move(course, "sent")
        try:
            yield
        except APIError as error:
            with self._stopping():
                await self._refused(course, error)
            self._leaving.resume(course.scope)
            raise

    async def _refused(self, course: _Course, error: APIError) -> None:
        """Note what became of an attempt that failed."""
        number, name = course.job.number, type(error).__name__
        if course.state != "sent":
            return
        if isinstance(error, APIStatusError):
            after = await self._ledger.failed(number, name, str(error), request_id=error.request_id)
        elif isinstance(error, APIConnectionError):
            after = await self._ledger.put_back(number)
        else:
            await self._ledger.unknown(number, name, str(error), request_id=error.request_id)
            after = "unknown"
        self._move(course, after)

    async def _paid(
        self, course: _Course, request: GenerateRequest, response: ImagesResponse
    ) -> None:
        """Note the links of *response*. What goes wrong is told later: it is no failed attempt."""
        course.request_id, images = response.request_id, response.images
        course.cost = cost_of(request, len(images), self._model, self._price)
        paid = partial(
            self._ledger.paid,
            course.job.number,
            [_link(image) for image in images],
            request_id=response.request_id,
            cost=course.cost,
        )
        try:
            await self._surely(paid)
        except StorageError as error:
            course.trouble = error
            return
        self._tally.cost += course.cost or 0.0
        self._move(course, "paid")

    async def _keep(
        self, course: _Course, response: ImagesResponse, inbox: Inbox
    ) -> tuple[SavedImage, ...]:
        made = [index for index, image in enumerate(response.data) if image.error is None]
        files = {at: inbox.files[index] for at, index in enumerate(made) if index in inbox.files}
        answer = Answer(
            images=dict(enumerate(response.images)),
            count=len(made),
            model=course.job.row.request.model or self._model,
            request_id=course.request_id,
            cost=course.cost,
            files=files,
        )
        return await self._keeper.keep(course.job, answer)

    async def _settle(self, course: _Course) -> None:
        """Note what became of a row whose call has ended, unless that is noted."""
        if course.state != "sent" or course.trouble:
            return
        attempts = course.call.attempts if course.call else ()
        with self._stopping():
            if attempts and attempts[-1].fate == "never sent":
                self._move(course, await self._ledger.put_back(course.job.number))
                return
            await self._ledger.unknown(course.job.number, "Interrupted", _INTERRUPTED)
            self._move(course, "unknown")

    async def _surely(self, mark: Callable[[], Awaitable[None]]) -> None:
        """Make a *mark*; if the disk refuses it, end the batch, make room, and try once more."""
        try:
            await mark()
        except StorageError as error:
            self._leaving.leave(error)
            await self._ballast.drop()
            with contextlib.suppress(IllegalTransitionError):  # it was made, and nobody was sure
                await mark()

    def _move(self, course: _Course, after: State) -> None:
        self._tally.move(course.state, after)
        course.state = after

    @contextlib.contextmanager
    def _stopping(self) -> Any:
        """A mark that the disk refuses ends the batch; what it was about is told by its error."""
        try:
            yield
        except StorageError as error:
            self._leaving.leave(error)


_INTERRUPTED = "the batch ended before its answer came"


def _link(image: Image) -> Link:
    expires = image.expires_at
    return Link(url=image.url, expires=expires.timestamp() if expires else None)


def cost_of(
    request: GenerateRequest, images: int, model: str, price: PricePerImage | None
) -> float | None:
    """What *images* of *request* cost; nothing if no price is known."""
    try:
        cost = _estimate.estimate(request, model=model, price=price)
    except InvalidRequestError:
        return None
    return round(cost.amount[1] / cost.images[1] * images, 6)

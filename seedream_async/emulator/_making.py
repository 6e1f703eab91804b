"""Carries out plans: makes images, bills them, and tells of them, all at once or in a stream."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import Any

from aiohttp import web

from seedream_async import _threads

from ._pictures import Window
from ._plan import Plan
from ._refusals import Refusal, ark_id
from ._scripts import Oddities, Outcome, Problem, Script
from ._store import Picture, Store
from ._streams import Stream, frame

# The layers of every picture: name, description, and left, top, right and bottom in thousandths.
_LAYERS = (
    ("sky", "A graded sky with a sun", (0, 0, 1000, 620)),
    ("hills", "Two ranges of hills", (0, 480, 1000, 1000)),
)
_CUT_OUT = (125, 125, 875, 875)  # what is left of a picture without its background
_EVENT = "image_generation."


class Making:
    """What is made, and what it costs. *script* and *oddities* wait for the next request."""

    def __init__(self, store: Store, latency: float, clock: Callable[[], datetime]) -> None:
        self.images_billed = 0
        self.script = Script()
        self.oddities = Oddities()
        self._store = store
        self._latency = latency
        self._clock = clock

    async def carry_out(self, plan: Plan) -> web.Response | Stream:
        """The answer to *plan*; raises `Refusal` if the script has one."""
        script, self.script = self.script, Script()
        outcomes = script.outcomes(plan.count, layers=plan.layers)
        problem = _problem_of_all(outcomes)
        if problem and script.status != 200:
            raise Refusal(script.status, problem.code, problem.message)
        if plan.stream:
            oddities, self.oddities = self.oddities, Oddities()
            frames = self._frames(plan, outcomes, oddities)
            return Stream(frames=frames, chunk=oddities.chunk, cut_after=oddities.cut_after)
        # Work that was begun is billed, whether or not anybody waits for the answer.
        self.images_billed += _made(outcomes)
        await asyncio.sleep(self._latency)
        return web.json_response(await self._answer(plan, outcomes))

    async def _answer(self, plan: Plan, outcomes: Sequence[Outcome]) -> dict[str, Any]:
        job = ark_id(self._clock())
        answer = self._head(plan)
        if problem := _problem_of_all(outcomes):
            answer |= {"data": [], "error": _error(problem.code, problem.message)}
        else:
            answer["data"] = [await self._item(plan, outcome, job) for outcome in outcomes]
        return answer | _costs(plan, outcomes)

    async def _item(self, plan: Plan, outcome: Outcome, job: str) -> dict[str, Any]:
        if outcome.problem:
            return {"error": _error(outcome.problem.code, outcome.problem.message)}
        picture = _picture(plan, outcome.index)
        item = await self._image(plan, picture, f"{job}_{outcome.index}")
        if plan.names_format:
            item["output_format"] = picture.output_format
        if plan.names_background:
            item["background"] = plan.background
        if plan.layers:
            item |= _layer(plan, outcome.index)
        return item

    async def _image(self, plan: Plan, picture: Picture, name: str) -> dict[str, Any]:
        size = f"{picture.width}x{picture.height}"
        if plan.response_format == "b64_json":
            encoded = await _threads.in_thread(lambda: base64.b64encode(picture.content()).decode())
            return {"b64_json": encoded, "size": size}
        directory = plan.model.rpartition("-")[0]
        path = f"/{directory}/{name}.{picture.output_format}"
        return {"url": self._store.issue(path, picture, watermark=plan.watermark), "size": size}

    async def _frames(
        self, plan: Plan, outcomes: Sequence[Outcome], oddities: Oddities
    ) -> AsyncIterator[bytes]:
        async for name, data in self._events(plan, outcomes, oddities):
            if oddities.comments:
                yield f": still there{oddities.line_end * 2}".encode()
            yield frame(data, oddities.line_end, name)
        if oddities.done:
            yield frame("[DONE]", oddities.line_end)

    async def _events(
        self, plan: Plan, outcomes: Sequence[Outcome], oddities: Oddities
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        waiting = {outcome.index: outcome for outcome in outcomes}
        told = waiting.keys() & (waiting if oddities.order is None else oddities.order)
        job = ark_id(self._clock())
        for index in [*(oddities.order or ()), *waiting]:
            if (outcome := waiting.pop(index, None)) is None:
                continue
            await asyncio.sleep(self._latency)
            self.images_billed += _made([outcome])
            if index in told:
                yield await self._event(plan, outcome, job)
        if oddities.error:
            yield "error", {"error": _error(oddities.error.code, oddities.error.message)}
        elif oddities.completed:
            name = f"{_EVENT}completed"
            yield name, {"type": name, **self._head(plan), **_costs(plan, outcomes)}

    async def _event(self, plan: Plan, outcome: Outcome, job: str) -> tuple[str, dict[str, Any]]:
        name = f"{_EVENT}partial_{'failed' if outcome.problem else 'succeeded'}"
        event = {"type": name, **self._head(plan), "image_index": outcome.index}
        if outcome.problem:
            event["error"] = _error(outcome.problem.code, outcome.problem.message)
        else:
            picture = _picture(plan, outcome.index)
            event |= await self._image(plan, picture, f"{job}_{outcome.index}")
        return name, event

    def _head(self, plan: Plan) -> dict[str, Any]:
        return {"model": plan.model, "created": int(self._clock().timestamp())}


def _made(outcomes: Sequence[Outcome]) -> int:
    return sum(outcome.problem is None for outcome in outcomes)


def _problem_of_all(outcomes: Sequence[Outcome]) -> Problem | None:
    """Why no image was made, if there was a problem with each."""
    return outcomes[0].problem if outcomes and not _made(outcomes) else None


def _error(code: str, message: str) -> dict[str, str]:
    return {"code": code, "message": message}


def _costs(plan: Plan, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    made = _made(outcomes)
    tokens = made * plan.width * plan.height // 256
    usage: dict[str, Any] = {
        "generated_images": made,
        "output_tokens": tokens,
        "total_tokens": tokens,
    }
    if plan.counts_references:
        usage["input_images"] = plan.references
    if plan.searches:
        return {
            "usage": {**usage, "tool_usage": {"web_search": 1}},
            "tools": [{"type": "web_search"}],
        }
    return {"usage": usage}


def _picture(plan: Plan, index: int) -> Picture:
    above = plan.layers and index > 0
    thousandths = _LAYERS[index - 1][2] if above else _CUT_OUT
    return Picture(
        width=plan.width,
        height=plan.height,
        output_format="png" if above else plan.output_format,
        # A layer is a part of its base: the same picture, seen through a window.
        seed=plan.seed + bytes([0 if plan.layers else index]),
        window=_window(plan, thousandths) if above or plan.background == "transparent" else None,
    )


def _layer(plan: Plan, index: int) -> dict[str, Any]:
    if not index:
        return {"z_index": 0}
    name, description, thousandths = _LAYERS[index - 1]
    return {
        "z_index": index,
        "name": name,
        "description": description,
        "bounding_box": {
            "absolute": list(_window(plan, thousandths)),
            "normalized": list(thousandths),
        },
    }


def _window(plan: Plan, thousandths: Window) -> Window:
    left, top, right, bottom = thousandths
    width, height = plan.width, plan.height
    return (
        left * width // 1000,
        top * height // 1000,
        right * width // 1000,
        bottom * height // 1000,
    )

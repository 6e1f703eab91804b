"""
What single parts of a call cost, each alone and next to a peer: the limiter, building a request,
reading an answer, and server-sent events.

Nothing is sent anywhere. Run it with `python benchmarks/parts.py --peers`, or with `--quick` to see
that it works.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from arena import CPU, GROWTH, RATE, Contender, Contest, Run, main, spread
from arena.servers import GENERATED

MODEL = "doubao-seedream-5-0-260128"
PROMPT = "a cat wearing a scarf, in the style of a woodcut, on grey paper"
ANSWER = json.dumps(GENERATED).encode()
SLOTS = 32
PIECE = 64 * 1024  # bytes that arrive at once


def repeat(run: Run, work: Callable[[], object]) -> None:
    """Do *work* a tenth as often as it is measured, and then so often."""
    times = run.options["times"]
    for _ in range(times // 10 + 1):
        work()
    with run.measured(units=times):
        for _ in range(times):
            work()


# reading an answer


def json_alone(run: Run) -> None:
    repeat(run, lambda: json.loads(ANSWER))


def orjson_alone(run: Run) -> None:
    import orjson

    repeat(run, lambda: orjson.loads(ANSWER))


def our_answer(run: Run) -> None:
    from seedream_async import _wire
    from seedream_async._http import Answer, Asked

    headers = {"content-type": "application/json", "x-request-id": "0" * 32}
    answer, asked = Answer(200, headers, ANSWER), Asked(secrets=("sk-key", PROMPT))
    repeat(run, lambda: _wire.parse(answer, asked, datetime.now(UTC)))


def openai_answer(run: Run) -> None:
    from openai._models import construct_type
    from openai.types import ImagesResponse

    repeat(run, lambda: construct_type(type_=ImagesResponse, value=json.loads(ANSWER)))


# building a request


def json_request(run: Run) -> None:
    body = {"model": MODEL, "prompt": PROMPT, "size": "2K", "watermark": False}
    repeat(run, lambda: json.dumps(body).encode())


def our_request(run: Run) -> None:
    from seedream_async import GenerateRequest, _wire

    def work() -> object:
        request = GenerateRequest(PROMPT, size="2K", watermark=False)
        return _wire.build(request, model=MODEL)

    repeat(run, work)


# server-sent events


def small_events() -> bytes:
    """What a stream of 15 links looks like."""
    part = {"type": "image_generation.partial_succeeded", **GENERATED["data"][0]}  # type: ignore[index]
    data = b"".join(
        b"event: %b\ndata: %b\n\n"
        % (part["type"].encode(), json.dumps({**part, "image_index": index}).encode())
        for index in range(15)
    )
    return data + b"data: [DONE]\n\n"


def pieces(run: Run) -> list[bytes]:
    """The bytes of a stream as they arrive."""
    size = run.options.get("image")
    whole = b'data: {"b64_json":"' + b"A" * size + b'"}\n\n' if size else small_events()
    return [whole[at : at + PIECE] for at in range(0, len(whole), PIECE)]


def split_events(run: Run) -> None:
    """No parser: one that knows that lines end in a line feed and events in two."""
    arriving = pieces(run)
    repeat(run, lambda: b"".join(arriving).split(b"\n\n"))


def our_events(run: Run) -> None:
    from seedream_async._sse import Parser

    arriving = pieces(run)

    def work() -> list[Any]:
        parser = Parser()
        return [event for piece in arriving for event in parser.feed(piece)]

    repeat(run, work)


def openai_events(run: Run) -> None:
    from openai._streaming import SSEDecoder

    arriving = pieces(run)
    repeat(run, lambda: list(SSEDecoder().iter_bytes(iter(arriving))))


# the limiter


async def turns(run: Run, turn: Callable[[], Any]) -> None:
    """So many calls, far more of them at once than there are slots."""
    times, width = run.options["times"], run.options["width"]
    await spread(turn, times // 10 + width, width)
    with run.measured(units=times, tick=None):
        await spread(turn, times, width)


async def semaphore(run: Run) -> None:
    slots = asyncio.Semaphore(SLOTS)

    async def turn() -> None:
        async with slots:
            await asyncio.sleep(0)

    await turns(run, turn)


async def our_limiter(run: Run) -> None:
    from seedream_async import Limits
    from seedream_async._traffic import Traffic

    rate = run.options.get("per_minute")
    traffic = Traffic(Limits(concurrency=SLOTS, images_per_minute=rate))

    async def turn() -> None:
        async with traffic.turn(1) as mine:
            await mine.admitted(math.inf)
            await asyncio.sleep(0)
            mine.answered()
            mine.made(1)

    await turns(run, turn)


async def aiolimiter(run: Run) -> None:
    from aiolimiter import AsyncLimiter

    slots = asyncio.Semaphore(SLOTS)
    rate = AsyncLimiter(run.options["per_minute"], 60)

    async def turn() -> None:
        async with slots, rate:
            await asyncio.sleep(0)

    await turns(run, turn)


def reading(times: int) -> Contest:
    return Contest(
        title="Reading an answer of 0.6 kB",
        contenders=[
            Contender("json.loads", json_alone),
            Contender("orjson.loads", orjson_alone, peers=True),
            Contender("AsyncSeedream: checked, as ImagesResponse", our_answer, ours=True),
            Contender("openai: json.loads, as ImagesResponse", openai_answer, peers=True),
        ],
        baseline="json.loads",
        metrics=[CPU],
        options={"times": times},
        unit="answer",
    )


def building(times: int) -> Contest:
    return Contest(
        title="Building a request",
        contenders=[
            Contender("json.dumps of a dict", json_request),
            Contender("AsyncSeedream: from GenerateRequest", our_request, ours=True),
        ],
        baseline="json.dumps of a dict",
        metrics=[CPU],
        options={"times": times},
        unit="request",
    )


def events(title: str, times: int, **options: int) -> Contest:
    return Contest(
        title=title,
        contenders=[
            Contender("join and split", split_events),
            Contender("AsyncSeedream", our_events, ours=True),
            Contender("openai", openai_events, peers=True),
        ],
        baseline="join and split",
        metrics=[CPU, GROWTH],
        options={"times": times, **options},
        unit="stream",
    )


def limiting(times: int, per_minute: int | None = None) -> Contest:
    limited = [Contender("AsyncSeedream", our_limiter, ours=True)]
    if per_minute:
        limited.append(Contender("semaphore and aiolimiter", aiolimiter, peers=True))
    return Contest(
        title=f"The limiter, 256 calls for {SLOTS} slots{', with a rate' if per_minute else ''}",
        contenders=[Contender("asyncio.Semaphore", semaphore), *limited],
        baseline="asyncio.Semaphore",
        metrics=[CPU, RATE],
        options={"times": times, "width": 256, "per_minute": per_minute},
    )


def contests(quick: bool) -> Sequence[Contest]:
    times = 500 if quick else 20_000
    found = [
        limiting(times),
        limiting(times, per_minute=1_000_000),  # more than are made: the bookkeeping alone
        building(times),
        reading(times),
        events("Server-sent events: a stream of 15 links", max(times // 10, 100)),
        events("Server-sent events: one image of 8 MiB", 2 if quick else 20, image=8 * 2**20),
    ]
    return [replace(contest, rounds=1) for contest in found] if quick else found


if __name__ == "__main__":
    main(__doc__, contests, title="What the parts of a call cost")

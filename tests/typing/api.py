"""
What type checkers must accept and refuse. Checked by mypy and pyright, never run.

Each `type: ignore` marks what must be refused: both checkers complain about one without need.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import assert_type

from aiohttp import web
from starlette.requests import Request

from seedream_async import (
    AsyncSeedream,
    CallEnded,
    CallStarted,
    DownloadStarted,
    Event,
    EventStream,
    Failure,
    GenerateRequest,
    Image,
    ImageFailed,
    ImagesResponse,
    ImageStream,
    ImageSucceeded,
    ModelInfo,
    RateLimitError,
    Result,
    RetryPolicy,
    SavedImage,
    StreamCompleted,
    Success,
    Timeout,
    UnknownEvent,
    aiohttp_web,
    estimate,
    size_for,
    starlette,
)
from seedream_async.batch import BatchResult, run_batch
from seedream_async.emulator import Emulator
from seedream_async.opentelemetry import instrument


async def accepts(client: AsyncSeedream) -> None:
    response = await client.generate(
        "a cat",
        model="doubao-seedream-4-5-251128",
        size="2K",
        image=["a.png", b"bytes", Path("a.png"), Image()],
        sequential_image_generation="auto",
        optimize_prompt_options={"mode": "fast", "thinking": "auto"},
        tools=[{"type": "web_search"}],
        extra_body={"anything": [1]},
        timeout=30,
    )
    assert_type(response, ImagesResponse)
    assert_type(response.images, tuple[Image, ...])
    assert_type(response.data[0].url, str | None)
    assert_type(response.files, tuple[SavedImage, ...])
    assert_type(await client.download(response.data[0], "a.jpeg"), SavedImage)
    assert_type(await client.download("https://h/a", "a.jpeg", repair=True), SavedImage)
    async with client.open(response.data[0], repair=True) as image:
        assert_type(image, ImageStream)
        assert_type(image.content_type, str | None)
        assert_type(await image.read(), bytes)
    assert_type(await client.models(), tuple[ModelInfo, ...])
    await client.generate(GenerateRequest("a cat", size="1234x5678"), model="a-new-model")
    assert_type(await client.generate("a cat", share=True), ImagesResponse)
    assert_type(size_for("16:9", "2K"), str)
    assert_type(estimate(GenerateRequest("a cat")).amount, tuple[float, float])


async def fans_out(client: AsyncSeedream, prompts: AsyncIterator[str]) -> None:
    assert_type(await client.generate_many(["a cat", GenerateRequest("a dog")]), list[Result])
    async with client.generate_many(prompts, concurrency=4, save_to=Path("out")) as results:
        async for result in results:
            match result:
                case Success(index=index, files=files):
                    assert_type(index, int)
                    assert_type(files, tuple[SavedImage, ...])
                case Failure(error=error):
                    assert_type(error, Exception)
            assert_type(result.unwrap(), ImagesResponse)
    assert_type(results.undelivered, tuple[Result, ...])
    await client.generate_many(prompts, ordered=True, max_images=9, max_cost=1, price=(0.03, "USD"))
    await client.generate_many(["a cat"], save_to=lambda image: Path(image.prompt, image.size))


async def streams(client: AsyncSeedream) -> None:
    async with client.stream("a cat", max_images=3) as events:
        assert_type(events, EventStream)
        async for event in events:
            match event:
                case ImageSucceeded():
                    assert_type(event.file, SavedImage | None)
                case ImageFailed():
                    assert_type(event.error.code, str | None)
                case StreamCompleted() | UnknownEvent():
                    pass


async def serves(client: AsyncSeedream, request: Request, app: web.Application) -> None:
    starlette.lifespan(lambda: AsyncSeedream(model="m"), grace=5)
    assert_type(starlette.get_client(request), AsyncSeedream)
    work = client.generate("a cat")
    got = await starlette.attend(request, client, work, when_left="finish_and_store")
    assert_type(got, ImagesResponse)
    image = starlette.image_response(client, got.images[0], filename="cat", attachment=True)
    assert_type(image, starlette.ImageResponse)
    results = client.generate_many(["a cat"])
    told = starlette.event_response(client, results, when_left="cancel", public=public)
    assert_type(told, starlette.EventResponse)
    aiohttp_web.event_response(client, client.stream("a cat"), when_left="cancel", heartbeat=5)
    aiohttp_web.event_response(client, results)  # type: ignore[call-arg]
    aiohttp_web.event_response(client, results, when_left="give up")  # type: ignore[arg-type]
    app.cleanup_ctx.append(aiohttp_web.cleanup_ctx(grace=5))
    assert_type(app[aiohttp_web.CLIENT], AsyncSeedream)
    assert_type(await client.keep(client.generate("a cat")), ImagesResponse)
    await client.aclose(grace=20)


def public(result: Result) -> dict[str, int] | None:
    return {"index": result.index}


def configures() -> None:
    AsyncSeedream(timeout=5, validation="warn", retry=RetryPolicy(attempts=1))
    AsyncSeedream(timeout=Timeout(total=None, read=60))
    assert_type(RateLimitError("slow down").retry_after, float | None)
    assert_type(Emulator().client(), AsyncSeedream)
    assert_type(instrument(AsyncSeedream(), capture_prompts=True), AsyncSeedream)


def listens(event: Event) -> None:
    match event:
        case CallStarted(images=images, prompt=prompt):
            assert_type(images, int)
            assert_type(prompt, str | None)
        case CallEnded(output_tokens=tokens):
            assert_type(tokens, int | None)
        case DownloadStarted(download=download):
            assert_type(download, int)
        case _:
            pass


async def runs_a_batch(client: AsyncSeedream) -> None:
    result = await run_batch("prompts.jsonl", "images", client=client, max_cost=5)
    assert_type(result, BatchResult)
    assert_type(result.cost, float | None)
    await run_batch("prompts.jsonl", "images", retries=2)  # type: ignore[call-arg]


async def refuses(client: AsyncSeedream) -> None:
    await client.generate("a cat", response_format="raw")  # type: ignore[arg-type]
    await client.generate("a cat", output_format="webp")  # type: ignore[arg-type]
    await client.generate("a cat", sequential_image_generation=True)  # type: ignore[arg-type]
    await client.generate("a cat", optimize_prompt_options={"mode": "slow"})  # type: ignore[arg-type]
    await client.generate("a cat", tools=[{"type": "hammer"}])  # type: ignore[typeddict-item]
    await client.generate("a cat", n=2)  # type: ignore[call-arg]
    await client.generate()  # type: ignore[call-arg]
    await client.generate("a cat", "2K")  # type: ignore[call-arg]
    GenerateRequest("a cat", background="green")  # type: ignore[arg-type]
    AsyncSeedream("sk-key")  # type: ignore[call-arg]
    AsyncSeedream(validation="lax")  # type: ignore[arg-type]
    client.generate_many([1, 2])  # type: ignore[list-item]

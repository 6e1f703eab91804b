"""Sources of requests."""

import asyncio

from seedream_async._pulling import Pulled


async def test_a_pull_that_is_cancelled_ends_the_source():
    """What a cancellation did to a source does not look like its end, whoever asks next."""

    async def source():
        yield "p0"
        await asyncio.Event().wait()

    pulled = Pulled(source())
    await pulled.pull()
    task = asyncio.create_task(pulled.pull())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])

    errand = await pulled.pull()

    assert task.cancelled()
    assert (errand.index, errand.request) == (1, None)
    assert "ended by others" in str(errand.result.error)
    assert pulled.has_ended

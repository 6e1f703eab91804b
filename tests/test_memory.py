"""The memory belongs to the application: what saving takes, in a process of its own. Needs Linux."""

import asyncio
import base64
import re
import sys
from pathlib import Path

import pytest

MOST = 8 * 1024  # kB above the idle client
SMALL, BASE64_SIZE, LINK_SIZE = 100_000, 40_000_000, 200_000_000  # bytes
PIECE = 3 * 2**18


def pieces_of(size):
    """As much of a JPEG as a client looks at, of *size* bytes, in pieces that base64 can join."""
    yield b"\xff\xd8\xff".ljust(PIECE, b"x")
    for _ in range(size // PIECE):
        yield b"x" * PIECE
    yield b"\xff\xd9\xff"


def size_of(size):
    return sum(map(len, pieces_of(size)))


async def answer(reader, writer):
    """A POST gets the image whose size is in its path as base64, a GET its bytes."""
    head = await reader.readuntil(b"\r\n\r\n")
    size = int(re.search(rb"/(\d+)", head)[1])
    start, encode, end = b"", bytes, b""
    length = size_of(size)
    if head.startswith(b"POST"):
        await reader.readexactly(int(re.search(rb"(?i)content-length: (\d+)", head)[1]))
        start, encode, end = b'{"data": [{"b64_json": "', base64.b64encode, b'"}]}'
        length = len(start) + length // 3 * 4 + len(end)
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % length)
    writer.write(start)
    for piece in pieces_of(size):
        writer.write(encode(piece))
        await writer.drain()
    writer.write(end)
    writer.close()


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        pytest.param("base64", BASE64_SIZE, id="base64"),
        pytest.param("base64 without pybase64", BASE64_SIZE, id="base64 without pybase64"),
        pytest.param("link", LINK_SIZE, id="link"),
    ],
)
async def test_saving_takes_no_memory(kind, size, tmp_path):
    """However large an image is, saving it takes less than 8 MB."""
    server = await asyncio.start_server(answer, "127.0.0.1")
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    command = (sys.executable, __file__, kind, url, str(size), str(tmp_path / "image.jpeg"))

    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    told, _ = await process.communicate()
    server.close()

    assert process.returncode == 0
    assert (tmp_path / "image.jpeg").stat().st_size == size_of(size)
    assert int(told) < MOST


# What runs in that process


def memory(name):
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(rf"{name}:\s*(\d+) kB", status)[1])


def forget_peak():
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


async def measure(kind, url, size, path):
    if kind == "base64 without pybase64":
        sys.modules["pybase64"] = None
    from seedream_async import AsyncSeedream  # noqa: PLC0415

    async def save(size, path):
        async with AsyncSeedream(api_key="k", base_url=f"{url}/{size}/v1") as client:
            if kind == "link":
                await client.download(f"{url}/{size}", path)
            else:
                await client.generate("a cat", save_to=path)

    # So that everything is loaded, and all threads are there.
    await asyncio.gather(*(save(SMALL, f"{path}.{number}.jpeg") for number in range(16)))
    forget_peak()
    before = memory("VmRSS")
    await save(size, path)
    return memory("VmHWM") - before


if __name__ == "__main__":
    print(asyncio.run(measure(*sys.argv[1:])))  # noqa: T201

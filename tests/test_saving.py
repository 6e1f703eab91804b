"""Images onto the disk, by links that the store verifies, or from base64."""

from datetime import UTC, datetime, timedelta

import pytest

from seedream_async import (
    DownloadError,
    Image,
    InvalidRequestError,
    LinkAlteredError,
    LinkDeniedError,
    LinkExpiredError,
    NotAnImageError,
    RetryPolicy,
    StorageError,
    _partfile,
)
from seedream_async.emulator import Emulator

QUICK = RetryPolicy(wait_initial=0)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


async def test_download_keeps_the_link(emulator, client, tmp_path):
    """The store, which compares byte for byte, hands out the image, and sees no key."""
    response = await client.generate("a cat")

    saved = await client.download(response.data[0], tmp_path / "cat.jpeg")

    assert (saved.width, saved.height, saved.content_type) == (2048, 2048, "image/jpeg")
    assert saved.path.read_bytes()[:2] == b"\xff\xd8"
    assert emulator.fetched[-1].status == 200
    assert response.data[0].url.endswith(emulator.fetched[-1].target)
    assert "Authorization" not in emulator.fetched[-1].headers


async def test_download_by_link_into_a_folder(client, tmp_path):
    """A plain link will do, and a folder gets a safe name with the right extension."""
    response = await client.generate("a cat", output_format="png")

    saved = await client.download(response.data[0].url, tmp_path / "out")

    assert saved.path.parent == tmp_path / "out"
    assert saved.path.name.startswith("021")
    assert saved.path.suffix == ".png"


async def test_download_of_base64(client, tmp_path):
    """Base64 takes the same road."""
    response = await client.generate("a cat", response_format="b64_json")

    saved = await client.download(response.data[0], tmp_path)

    assert saved.path == tmp_path / "image.jpeg"
    assert saved.width == 2048


async def test_broken_base64(client, tmp_path):
    """What is not base64 never becomes a file."""
    with pytest.raises(NotAnImageError, match="not base64"):
        await client.download(Image(b64_json="%%%"), tmp_path)

    assert names(tmp_path) == []


async def test_hollow_image(client, tmp_path):
    """An item without link and base64 cannot be saved."""
    with pytest.raises(InvalidRequestError, match="neither a link nor base64"):
        await client.download(Image(), tmp_path)


async def test_overwrite_only_on_request(client, tmp_path):
    """An existing file is refused before the store is asked."""
    response = await client.generate("a cat")
    (tmp_path / "cat.jpeg").write_text("mine")

    with pytest.raises(InvalidRequestError, match="exists already"):
        await client.download(response.data[0], tmp_path / "cat.jpeg")
    saved = await client.download(response.data[0], tmp_path / "cat.jpeg", overwrite=True)

    assert saved.path.read_bytes()[:2] == b"\xff\xd8"


async def test_save_to_fills_files(client, tmp_path):
    """A group is on disk when generate returns, numbered from 1."""
    response = await client.generate(
        "a cat",
        sequential_image_generation="auto",
        max_images=3,
        save_to=tmp_path / "cat.jpeg",
    )

    assert [file.path.name for file in response.files] == [f"cat-{n}.jpeg" for n in (1, 2, 3)]
    assert names(tmp_path) == ["cat-1.jpeg", "cat-2.jpeg", "cat-3.jpeg"]


async def test_trouble_is_tried_again(emulator, tmp_path):
    """A busy store and a cut transfer cost nothing but time."""
    async with emulator.client(retry=QUICK) as client:
        emulator.fail_next(status=503, on="store")
        emulator.cut_next(after_bytes=1000, on="store", times=3)
        response = await client.generate("a cat", save_to=tmp_path)

    assert response.files[0].width == 2048
    assert emulator.images_billed == 1
    assert len(names(tmp_path)) == 1


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        pytest.param(lambda link: link.partition("&")[0], LinkAlteredError, id="cut"),
        pytest.param(lambda link: link.replace("&", "&amp;"), LinkAlteredError, id="escaped"),
        pytest.param(lambda link: link.replace("host", "hosts"), LinkAlteredError, id="changed"),
        pytest.param(lambda link: link.partition("?")[0], LinkDeniedError, id="unsigned"),
    ],
)
async def test_spoiled_links(client, tmp_path, spoil, error):
    """A link that was altered on its way here is told as such."""
    response = await client.generate("a cat")

    with pytest.raises(error):
        await client.download(spoil(response.data[0].url), tmp_path)

    assert names(tmp_path) == []


async def test_expired_link(tmp_path):
    """A link that is too old is told as such, with the image on the error."""
    yesterday = datetime.now(UTC) - timedelta(days=1, hours=1)
    async with Emulator(clock=lambda: yesterday) as emulator, emulator.client() as client:
        response = await client.generate("a cat")
        emulator.fail_next(status=403, body=b'{"Code": "AccessDenied"}', on="store")

        with pytest.raises(LinkExpiredError, match="expired 1 hour ago") as excinfo:
            await client.download(response.data[0], tmp_path)

    assert excinfo.value.image is response.data[0]


async def test_failed_saving_carries_the_response(emulator, client, tmp_path):
    """What was paid for is on the error, with what could be saved."""
    emulator.fail_next(status=403, body=b"{}", on="store")

    with pytest.raises(LinkDeniedError) as excinfo:
        await client.generate(
            "a cat", sequential_image_generation="auto", max_images=3, save_to=tmp_path
        )

    assert len(excinfo.value.response.data) == 3
    assert len(excinfo.value.response.files) == 2
    assert excinfo.value.image in excinfo.value.response.data


async def test_a_full_disk_carries_the_response(client, tmp_path, monkeypatch):
    """The links are still good when the disk is not."""

    def full(self, *pieces):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_partfile.PartFile, "write", full)

    with pytest.raises(StorageError, match="No space left") as excinfo:
        await client.generate("a cat", save_to=tmp_path)

    assert excinfo.value.response.data[0].url
    assert excinfo.value.image == excinfo.value.response.data[0]


async def test_other_errors_of_saving_pass(client, tmp_path, monkeypatch):
    """A bug is not dressed up as trouble with the disk."""

    def broken(self, *pieces):
        raise LookupError("bug")

    monkeypatch.setattr(_partfile.PartFile, "write", broken)

    with pytest.raises(LookupError):
        await client.generate("a cat", save_to=tmp_path)


async def test_a_place_that_cannot_be_is_refused_before_anything_is_sent(
    emulator, client, tmp_path
):
    """Nothing is paid for that could not be saved."""
    (tmp_path / "file").touch()

    with pytest.raises(InvalidRequestError, match="is a file, not a folder"):
        await client.generate("a cat", save_to=tmp_path / "file" / "cat.png")
    with pytest.raises(InvalidRequestError, match="is a file, not a folder"):
        await client.generate_many(["a cat"], save_to=tmp_path / "file")

    assert emulator.request_count == 0


async def test_nothing_but_a_gone_store_is_a_download_error(tmp_path):
    """A store that is gone is the download's trouble, after as many attempts as allowed."""
    async with Emulator() as emulator:
        async with emulator.client(retry=RetryPolicy(attempts=2, wait_initial=0)) as client:
            image = (await client.generate("a cat")).data[0]
            await emulator.aclose()

            with pytest.raises(DownloadError, match="cannot connect") as excinfo:
                await client.download(image, tmp_path)

    assert excinfo.value.__notes__ == ["gave up after attempt 2"]

"""Batches that are killed at any moment: what is paid for is saved or told, and paid for once."""

import json

import pytest

from seedream_async.batch._contents import digest_of

from .killed_batches import WIDTH, Service, killed_batch

ROWS, KILLS = 60, 12


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """What became of a batch that was killed again and again, and where it is."""
    folder = tmp_path_factory.mktemp("killed")
    with Service.running(latency=0.3) as service:
        yield folder, killed_batch(service, folder, rows=ROWS, kills=KILLS, seed=7, longest=1.1)


def test_every_row_ends_saved_or_unknown(course):
    """After any number of kills, the last run leaves no row undecided."""
    _, course = course

    assert len(course.of("saved", "unknown")) == len(course.entries) == ROWS
    assert course.of("saved")


def test_no_row_is_billed_twice(course):
    """What may have been sent is not sent again, and what is saved was billed once."""
    _, course = course

    assert max(course.billed.values()) == 1
    assert all(course.billed[f"picture {row.line - 1}"] == 1 for row in course.of("saved"))


def test_a_kill_leaves_no_more_in_doubt_than_was_in_flight(course):
    """The rows that a kill leaves in doubt are at most as many as are sent at once."""
    _, course = course

    assert max(course.doubts) > 0
    assert max(course.doubts) <= WIDTH


def test_what_is_saved_is_on_the_disk_once(course):
    """Each saved row has its one file, as the ledger has it, and no file is nobody's."""
    folder, course = course
    files = {image.file.path: image.file for row in course.of("saved") for image in row.images}
    out = folder / "out"

    assert {path.name for path in out.glob("*.jpeg")} >= files.keys()
    assert all(digest_of(out / file.path) == file.digest for file in files.values())
    manifest = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert {line["file"] for line in manifest} == files.keys()

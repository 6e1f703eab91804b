"""The rows of an input: what each says, what is wrong with one, and what is no input at all."""

import asyncio
import itertools
import json
import os
import select
import subprocess
import sys
import threading
import tracemalloc
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedream_async import GenerateRequest, InvalidRequestError
from seedream_async.batch import _lines, _rows
from seedream_async.batch._fields import FIELDS, BadRow, Row, column_problem, make_row
from seedream_async.batch._rows import read_rows, rows

os_close = os.close
CAT = GenerateRequest("a cat")


@pytest.fixture
def write(tmp_path):
    def write(content, name="input.jsonl"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def told(path, **options):
    """Line and reason of what is wrong, line and prompt of the others."""
    return [
        (row.line, row.reason if isinstance(row, BadRow) else row.request.prompt)
        for row in read_rows(path, **options)
    ]


# What a row may say


def test_every_field_has_a_kind():
    """A new field of a request is given the type that its text is read as."""
    names = [field for field in GenerateRequest.__annotations__ if not field.startswith("_")]

    assert list(FIELDS) == names


def test_a_row_of_json(write):
    """A row has any fields of a request, an id, and whatever else it carries."""
    row = {
        "id": 7,
        "prompt": "a cat",
        "size": "2K",
        "image": ["a.png", "https://example.test/b.png"],
        "watermark": False,
        "seed": 3,
        "guidance_scale": 2.5,
        "tools": [{"type": "web_search"}],
        "topic": {"name": "pets"},
        "note": None,
    }
    path = write(json.dumps(row))

    (found,) = read_rows(path)

    assert found == Row(
        1,
        GenerateRequest(
            "a cat",
            size="2K",
            image=["a.png", "https://example.test/b.png"],
            watermark=False,
            seed=3,
            guidance_scale=2.5,
            tools=[{"type": "web_search"}],
        ),
        "7",
        {"topic": {"name": "pets"}, "note": None},
    )


def test_a_row_that_is_a_prompt(write):
    """A line may be a prompt alone."""
    assert told(write('"a cat"\n{"prompt": "a dog", "seed": null}\n')) == [
        (1, "a cat"),
        (2, "a dog"),
    ]


def test_defaults_fill_in(write):
    """What a row leaves out is as the batch has it; what it says wins."""
    path = write('"a cat"\n{"prompt": "a dog", "size": "4K"}\n')

    found = [row.request for row in read_rows(path, defaults={"size": "2K", "seed": None})]

    assert found == [GenerateRequest("a cat", size="2K"), GenerateRequest("a dog", size="4K")]


def test_a_prompt_for_all(write):
    """Rows may share a prompt, and layers need none."""
    shared = list(read_rows(write('{"seed": 1}'), defaults={"prompt": "a cat"}))
    layers = list(read_rows(write('{"layer_decomposition": true, "image": "a.png"}')))

    assert shared[0].request == GenerateRequest("a cat", seed=1)
    assert layers[0].request.prompt == ""


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "the line is no JSON (Expecting property name enclosed in double quotes, column 2)"),
        ("[", "if the file is one list, write each of its items on a line of its own"),
        ('["a cat"]', "the line is neither an object nor a text; if the file is one list"),
        ("7", "the line is neither an object nor a text"),
        ("[" * 100_000, "the line is nested too deeply"),
        ('{"prompt": "a", "prompt": "b"}', "the line is no JSON: it has a name twice"),
        ('{"prompt": "a", "seed": NaN}', "the line is no JSON: it has a number that is none"),
        ("{}", "it has no prompt"),
        ('{"prompt": null}', "it has no prompt"),
        ('{"prompt": " "}', "prompt is empty; describe the image you want"),
        ('{"prompt": 7}', "prompt must be text, not a number"),
        ('{"prompt": ["secret"]}', "prompt must be text, not a list"),
        ('{"prompt": {"secret": 1}}', "prompt must be text, not an object"),
        (r'{"prompt": "\ud800"}', "prompt holds half a character"),
        ('{"prompt": "secret", "seed": "3"}', "seed must be a whole number, not text"),
        ('{"prompt": "secret", "seed": 3.5}', "seed must be a whole number, not a number"),
        ('{"prompt": "secret", "seed": true}', "seed must be a whole number, not true or false"),
        ('{"prompt": "secret", "watermark": 1}', "watermark must be true or false, not a number"),
        (
            '{"prompt": "secret", "guidance_scale": "2"}',
            "guidance_scale must be a number, not text",
        ),
        ('{"prompt": "secret", "tools": "x"}', "tools must be an object or a list, not text"),
        (
            '{"prompt": "secret", "image": [1]}',
            "image must be a path, a link, a data URI, or a list",
        ),
        ('{"prompt": "secret", "extra_body": {"n": 2}}', "extra_body: Seedream ignores n"),
        ('{"promt": "secret"}', "'promt' is no field of a row; did you mean 'prompt'?"),
        (
            '{"prompt": "secret", "Images": "x"}',
            "'Images' is no field of a row; did you mean 'image'?",
        ),
        ('{"prompt": "secret", "max images": 2}', "did you mean 'max_images'?"),
        ('{"prompt": "secret", "ID": 2}', "did you mean 'id'?"),
        (
            '{"prompt": "secret", "n": 2}',
            "n is no field of a row: Seedream ignores n; use max_images",
        ),
        ('{"prompt": "secret", "stream": true}', "a batch does not stream"),
        ('{"prompt": "secret", "id": true}', "id must be text or a whole number"),
        ('{"prompt": "secret", "id": 1.5}', "id must be text or a whole number"),
        (
            '{"prompt": "secret", "id": "a\\nb"}',
            "id must be at most 500 characters that can be printed",
        ),
        ('{"prompt": "secret", "id": "%s"}' % ("x" * 501), "id must be at most 500 characters"),
        (b'"caf\xe9"', "the line is not UTF-8 from byte 5"),
        (b'"a\x01b"', "the line is no JSON (Invalid control character at, column 3)"),
    ],
)
def test_a_bad_row_does_not_stop_the_others(write, line, reason):
    """What is wrong with a row is told with its line, without what it holds; the others follow."""
    line = line.encode() if isinstance(line, str) else line
    path = write(b'"a cat"\n' + line + b'\n"a dog"')

    first, bad, last = read_rows(path)

    assert (first.line, last.line) == (1, 3)
    assert isinstance(bad, BadRow)
    assert bad.line == 2
    assert reason in bad.reason
    assert "secret" not in bad.reason


def test_a_bad_row_keeps_its_id(write):
    """A row with an id is reported by it."""
    (bad,) = read_rows(write('{"id": "x", "prompt": ""}'))

    assert bad == BadRow(1, "prompt is empty; describe the image you want", "x")


@pytest.mark.parametrize("name", ["topic", "image_url", "user", "uid", "metadata", "négatif", ""])
def test_most_columns_are_metadata(name):
    """Only what is nearly a field is taken for a mistake."""
    assert column_problem(name) is None


@given(
    given=st.dictionaries(
        st.sampled_from([*FIELDS, "id", "topic", "n"]) | st.text(max_size=5),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=2)
                | st.dictionaries(st.text(max_size=3), inner, max_size=2)
            ),
            max_leaves=4,
        ),
    )
)
def test_no_row_raises(given):
    """Whatever a row says, it is a request or a reason."""
    assert isinstance(make_row(1, given, {}), Row | BadRow)


@given(given=st.dictionaries(st.sampled_from([*FIELDS, "id"]), st.text(max_size=6)))
def test_no_text_raises(given):
    """Whatever the cells of a row hold, it is a request or a reason."""
    assert isinstance(make_row(1, given, {}, from_text=True), Row | BadRow)


# Formats


def test_plain_text(write):
    """Each line that is not blank is a prompt, with the number that an editor shows."""
    path = write("\ufeffa cat \r\n\r\n  a dog\n\n# a hash", "prompts.txt")

    assert told(path) == [(1, "a cat"), (3, "a dog"), (5, "# a hash")]


@pytest.mark.parametrize(
    ("content", "prompts"),
    [
        ('\n{"prompt": "a cat"}\n', ["a cat"]),
        ('"a cat"', ["a cat"]),
        ("a cat\na dog", ["a cat", "a dog"]),
    ],
    ids=["objects", "texts", "plain"],
)
def test_the_first_line_tells_the_format(write, content, prompts):
    """A name that says nothing leaves it to the first line that is not blank."""
    path = write(content, "input")

    assert [prompt for _, prompt in told(path)] == prompts


def test_a_format_that_is_named(write):
    """What the caller says wins over the name of the file."""
    assert told(write('"a cat"', "x.jsonl"), format="text") == [(1, '"a cat"')]


def test_csv(write):
    """Cells are read as the types of their fields; empty ones are unset, others metadata."""
    path = write(
        "id, prompt,max_images,watermark,guidance_scale,image,tools,topic,seed,\r\n"
        '1,"a ""big"" cat,\r\nasleep",2,Yes,3,a.png,"[{""type"": ""web_search""}]",pets,,x\r\n'
        "\r\n"
        '2,a dog,,no,2.5,"[""a.png"", ""b.png""]",,,-1\r\n'
        "3,a fish\r\n",
        "rows.csv",
    )

    found = list(read_rows(path))

    assert found == [
        Row(
            2,
            GenerateRequest(
                'a "big" cat,\nasleep',
                max_images=2,
                watermark=True,
                guidance_scale=3,
                image="a.png",
                tools=[{"type": "web_search"}],
            ),
            "1",
            {"topic": "pets"},
        ),
        Row(
            5,
            GenerateRequest(
                "a dog", watermark=False, guidance_scale=2.5, image=["a.png", "b.png"], seed=-1
            ),
            "2",
            {"topic": ""},
        ),
        Row(6, GenerateRequest("a fish"), "3", {}),
    ]


@pytest.mark.parametrize(
    ("content", "name"),
    [("prompt;size\na, b;2K", "x.csv"), ("prompt\tsize\na, b\t2K", "x.tsv")],
    ids=["semicolons", "tabs"],
)
def test_csv_with_other_signs(write, content, name):
    """What separates the columns is the sign that the header has."""
    (row,) = read_rows(write(content, name))

    assert row.request == GenerateRequest("a, b", size="2K")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"x,two", "max_images must be a whole number"),
        (b"x,2,3", "it has 3 values for 2 columns"),
        (b"x,1_0", "max_images must be a whole number"),
        (b"caf\xe9,2", "the line is not UTF-8 from byte 4"),
        (b'"a"b,2', "the row up to line 2 is no CSV"),
        (
            b"%s,2" % (b"x" * 140_000),
            "field larger than field limit (131072); a quote may be missing",
        ),
    ],
)
def test_a_bad_row_of_csv(write, line, reason):
    """A row of a CSV file that is wrong does not stop the others."""
    path = write(b"prompt,max_images\n" + line + b"\na dog,2\n", "x.csv")

    bad, good = read_rows(path)

    assert (bad.line, good.line) == (2, 3)
    assert reason in bad.reason
    assert good.request == GenerateRequest("a dog", max_images=2)


def test_a_quote_that_is_not_closed(write):
    """What an open quote swallows is told with the lines that it took."""
    path = write('prompt\na cat\n"a dog\na fish\n', "x.csv")

    assert told(path)[1] == (
        3,
        "the row up to line 4 is no CSV (unexpected end of data; a quote may be missing, or JSONL be needed)",
    )


@pytest.mark.parametrize("value", ["maybe", "NaN", "[1", "{"])
@pytest.mark.parametrize("name", ["watermark", "guidance_scale", "tools"])
def test_cells_that_are_not_of_their_type(name, value):
    """A cell that cannot be read as the type of its field is named."""
    row = make_row(1, {"prompt": "a cat", name: value}, {}, from_text=True)

    assert row.reason.startswith(f"{name} must be ")


# What is no input


@pytest.mark.parametrize(
    ("content", "name", "problem"),
    [
        (b"", "x.jsonl", "it is empty"),
        (b"\n \r\n", "x.jsonl", "it is empty"),
        (b"", "x", "it is empty"),
        (b"", "x.csv", "it is empty"),
        (b"prompt\n", "x.csv", "it is empty"),
        ("a cat".encode("utf-16"), "x.txt", "it is UTF-16 text; save it as UTF-8"),
        ("a cat".encode("utf-16-le"), "x.txt", "it is no text: it has null characters"),
        (b"PK\x03\x04abc", "x.csv", "it is a spreadsheet or an archive; save it as CSV"),
        (b"\x1f\x8b\x08\x01", "x.jsonl", "it is compressed; unpack it"),
        (b"PAR1\x15", "x.jsonl", "it is Parquet; save it as JSONL"),
        (
            b"a cat\na dog\n",
            "x.csv",
            'its first line must name the columns, and one of them be "prompt"',
        ),
        (b"prompt,promt\nx,y\n", "x.csv", "'promt' is no field of a row; did you mean 'prompt'?"),
        (b"prompt,n\nx,2\n", "x.csv", "Seedream ignores n"),
        (b"prompt,a,a\nx,y,z\n", "x.csv", "a column is there twice"),
        (b"prompt,caf\xe9\nx,y\n", "x.csv", "the line is not UTF-8 from byte 11"),
    ],
)
def test_what_is_no_input(write, content, name, problem):
    """An input that is wrong as a whole raises before its first row."""
    with pytest.raises(InvalidRequestError) as caught:
        list(read_rows(write(content, name)))

    assert problem in str(caught.value)
    assert caught.value.field == "input"


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("absent.jsonl", "absent.jsonl: it cannot be read: No such file"),
        (".", "it is a folder"),
        ("a\0b", "it cannot be read: .*embedded null"),
    ],
    ids=["absent", "folder", "null"],
)
def test_paths_that_lead_to_nothing(tmp_path, path, problem):
    """A path that cannot be read is named."""
    with pytest.raises(InvalidRequestError, match=problem):
        list(read_rows(f"{tmp_path}/{path}"))


def test_a_disk_that_breaks_on_the_way(write, monkeypatch):
    """An input that ends in an error is a row that says so, after those that were read."""
    path = write("a cat\n" * 50_000, "x.txt")
    read = os.read

    def breaking(descriptor, length, calls=[]):  # noqa: B006
        calls.append(length)
        if len(calls) > 1:
            raise OSError(5, "Input/output error")
        return read(descriptor, length)

    monkeypatch.setattr(_lines.os, "read", breaking)

    *good, bad = read_rows(path)

    assert all(row.request == CAT for row in good)
    assert good
    assert bad == BadRow(
        good[-1].line + 1, "the input cannot be read from here on: Input/output error"
    )


# Bytes into lines


@given(
    text=st.binary().map(lambda b: b.replace(b"\r", b"")),
    cuts=st.lists(st.integers(0, 50), max_size=8),
)
def test_lines_are_those_of_the_whole(text, cuts):
    """However the bytes come, the lines are the same."""
    at = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[a:b] for a, b in itertools.pairwise(at)]

    found = list(_lines.lines(iter(pieces)))

    whole = text.split(b"\n")
    expected = whole if whole[-1] else whole[:-1]
    assert found == list(enumerate(expected, 1))


@pytest.mark.parametrize("pieces", [[b"abcdef\nxy\n"], [b"abc", b"d", b"ef\nx", b"y\n"]])
def test_a_line_that_is_too_long(pieces):
    """A line beyond the limit is told and not kept; the next one is read."""
    assert list(_lines.lines(iter(pieces), longest=3)) == [(1, None), (2, b"xy")]


def test_a_last_line_that_is_too_long():
    """Also the last line may be too long."""
    assert list(_lines.lines(iter([b"ab\n", b"abcd"]), longest=3)) == [(1, b"ab"), (2, None)]


def test_a_null_character():
    """A null character far down is told, and hides nothing of the line."""
    assert _lines.decoded(b"a\0b") == ("a\ufffdb", "the line has a null character")


def test_too_long_a_line_is_a_bad_row(write, monkeypatch):
    """A line that is too long is told like other mistakes."""
    monkeypatch.setattr(_lines.lines, "__defaults__", (10,))
    found = told(write('"a cat"\n"a very long cat"\n', "x"))

    assert found == [(1, "a cat"), (2, "the line is longer than 128 MiB")]


def test_lines_of_megabytes(write):
    """A row may hold its reference, and costs a few times its own size at most."""
    row = json.dumps({"prompt": "a cat", "image": "data:image/png;base64," + "A" * 3_000_000})
    path = write(f"{row}\n" * 4)
    tracemalloc.start()

    lengths = [len(row.request.image[0]) for row in read_rows(path)]

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert lengths == [3_000_022] * 4
    assert peak < 25_000_000


def test_many_rows_cost_no_memory(write):
    """A hundred thousand rows take no more than a few."""
    path = write("a cat\n" * 100_000, "x.txt")
    tracemalloc.start()

    count = sum(1 for _ in read_rows(path))

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 100_000
    assert peak < 12 * 2**20


# Without blocking the loop


async def test_rows_off_the_loop(write):
    """The same rows come without a blocking call on the loop."""
    path = write('{"prompt": "a cat"}\n' * 1200)

    found = [row async for row in rows(path)]

    assert found == await asyncio.to_thread(lambda: list(read_rows(path)))


async def test_leaving_early_closes_the_file(write, monkeypatch):
    """Who has seen enough leaves nothing open."""
    closed = []
    monkeypatch.setattr(_rows.os, "close", lambda fd: closed.append(fd) or os_close(fd))
    found = rows(write("a cat\n" * 1200, "x.txt"))
    assert (await anext(found)).request == CAT

    await found.aclose()

    assert len(closed) == 1


async def test_no_input_off_the_loop(write):
    """What is no input raises where the rows are taken."""
    with pytest.raises(InvalidRequestError, match="it is empty"):
        [row async for row in rows(write(b""))]


async def test_a_pipe_is_read_as_it_is_written():
    """Rows of a pipe come when they are written, not when many have gathered."""
    source, sink = os.pipe()
    found = rows(source)
    os.write(sink, b"a cat\n")

    first = await asyncio.wait_for(anext(found), 30)
    os.write(sink, b"a dog\n")
    os.close(sink)
    rest = [row async for row in found]
    os.close(source)

    assert first == Row(1, CAT)
    assert [row.request.prompt for row in rest] == ["a dog"]


async def test_waiting_for_a_pipe_can_be_cancelled(monkeypatch):
    """Nobody may ever write again, and yet the program can be left."""
    source, sink = os.pipe()
    waiting = threading.Event()

    def wait(*args):
        waiting.set()
        return select.select(*args)

    monkeypatch.setattr(_lines, "select", types.SimpleNamespace(select=wait))
    task = asyncio.ensure_future(anext(rows(source)))
    assert await asyncio.to_thread(waiting.wait, 30)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 30)

    os.close(sink)
    os.close(source)


def test_a_descriptor_is_not_closed(write):
    """Who opened a descriptor closes it."""
    with write("a cat", "x.txt").open("rb") as file:
        assert [row.request for row in read_rows(file.fileno())] == [CAT]
        assert file.tell() == 5


def test_an_empty_descriptor_has_no_name(write):
    """What has no name is called the input."""
    with write(b"").open("rb") as file:
        with pytest.raises(InvalidRequestError, match="input: the input: it is empty"):
            list(read_rows(file.fileno()))


def test_a_hyphen(write, monkeypatch):
    """A hyphen is wherever standard input leads, which stays open."""
    with write("a cat", "x").open("rb") as file:
        monkeypatch.setattr(_rows.sys, "stdin", file)

        assert told("-") == [(1, "a cat")]
        assert file.read() == b""


def test_standard_input():
    """A pipe into a program is read line by line to its end."""
    code = "from seedream_async.batch._rows import read_rows\nprint(*read_rows('-'))"
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code],
        input=b"a cat\n\n\xff",
        capture_output=True,
        check=True,
        timeout=60,
    )

    assert done.stdout.startswith(b"Row(line=1, ")
    assert b"BadRow(line=3, reason='the line is not UTF-8 from byte 1', id=None)" in done.stdout

"""Answers of the API to read, and how they are read."""

import json
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import strategies as st

from seedream_async._http import Answer, Asked
from seedream_async._wire import parse

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SAMPLES = Path(__file__).parent / "samples"
TYPES = {".json": "application/json", ".html": "text/html; charset=utf-8"}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def answer(payload, status=200, headers=None):
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return Answer(
        status, {"content-type": "application/json"} if headers is None else headers, body
    )


def sample(name, **headers):
    """The answer in the file *name*: its situation, status and kind."""
    path = SAMPLES / name
    status = int(path.suffixes[-2][1:])
    return Answer(status, {"content-type": TYPES[path.suffix], **headers}, path.read_bytes())


def read(answer, **asked):
    return parse(answer, Asked(**asked), NOW)

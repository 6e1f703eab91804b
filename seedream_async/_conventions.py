"""
What OpenTelemetry's conventions for generative AI call what is known of a call. Values in and out.

What they have no name for is called `seedream.…`.
"""

from __future__ import annotations

import json
from typing import TypeAlias

from ._events import Attempt, CallEnded, CallStarted

Attributes: TypeAlias = dict[str, str | int | float | bool]
OPERATION = "generate_content"


def asked(event: CallStarted) -> Attributes:
    """What a call asks for, save for its prompt."""
    attributes: Attributes = {
        "gen_ai.output.type": "image",
        "seedream.images.requested": event.images,
        "seedream.slot.wait_s": event.waited,
        "seedream.stream": event.stream,
    }
    if event.images > 1:
        attributes["gen_ai.request.choice.count"] = event.images
    for name, value in (
        ("gen_ai.request.seed", event.seed),
        ("seedream.size", event.size),
        ("seedream.watermark", event.watermark),
    ):
        if value is not None:
            attributes[name] = value
    return attributes


def message(prompt: str) -> str:
    """*prompt* as they write what a model is given."""
    return json.dumps([{"role": "user", "parts": [{"type": "text", "content": prompt}]}])


def fate(number: int, attempt: Attempt) -> Attributes:
    """What became of the attempt with that *number*."""
    attributes: Attributes = {
        "seedream.attempt": number,
        "seedream.fate": attempt.fate,
        "seedream.elapsed_s": attempt.elapsed,
    }
    for name, value in (
        ("error.type", attempt.error),
        ("http.response.status_code", attempt.status_code),
        ("seedream.request_id", attempt.request_id),
    ):
        if value is not None:
            attributes[name] = value
    return attributes


def came(event: CallEnded) -> Attributes:
    """What a call came to."""
    return {
        "seedream.images.generated": event.images,
        "seedream.retries": max(0, len(event.attempts) - 1),
        "seedream.possibly_billed": event.possibly_billed,
    }

"""
Base64 text that comes in pieces, as bytes.

Strict: what RFC 4648, section 4, does not have is refused, never skipped.
"""

from __future__ import annotations

import binascii
from functools import partial

# Imported with the client rather than when first used: that would block the loop.
try:
    from pybase64 import b64decode
except ImportError:
    _decode = partial(binascii.a2b_base64, strict_mode=True)
else:
    _decode = partial(b64decode, validate=True)  # 40 times as fast


class Decoder:
    """Decodes one text. Every `ValueError` says that it is not base64."""

    def __init__(self) -> None:
        self.rest = b""  # characters that are no group of four yet
        self._padded = False

    def feed(self, text: bytes) -> bytes:
        """The bytes that *text* completes."""
        text = self.rest + text
        end = len(text) - len(text) % 4
        self.rest = text[end:]
        if not end:
            return b""
        if self._padded:
            raise ValueError("text after the padding")
        data = _decode(memoryview(text)[:end])
        # The standard library takes more padding than there can be for no harm.
        missing = end // 4 * 3 - len(data)
        if missing > 2:
            raise ValueError("too much padding")
        self._padded = missing > 0
        return data

    def finish(self) -> None:
        """Raise unless the text may end here."""
        if self.rest:
            raise ValueError("the text breaks off")

"""
What becomes of each request of a fan-out.

Annotations are not postponed here, so that `typing.get_type_hints` works on every class
although each calls itself a member of `seedream_async`.
"""

from typing import TypeAlias

from attrs import field, frozen

from ._models import ImagesResponse, SavedImage
from ._request import GenerateRequest


@frozen
class Success:
    """A request that was answered. *files* are its saved images, if saving was asked for."""

    index: int
    request: GenerateRequest
    response: ImagesResponse

    @property
    def files(self) -> tuple[SavedImage, ...]:
        return self.response.files

    def unwrap(self) -> ImagesResponse:
        """The response."""
        return self.response


@frozen
class Failure:
    """
    A request that failed with *error*.

    *request* is missing only if the source of the requests raised instead of giving one.
    """

    index: int
    request: str | GenerateRequest | None = field(repr=False)
    error: Exception

    @property
    def possibly_billed(self) -> bool:
        """Whether it may cost. If it surely does, `error.response` has what was paid for."""
        paid_for = getattr(self.error, "response", None) is not None
        return paid_for or getattr(self.error, "possibly_billed", False)

    def unwrap(self) -> ImagesResponse:
        """Raise the error."""
        raise self.error


Result: TypeAlias = Success | Failure

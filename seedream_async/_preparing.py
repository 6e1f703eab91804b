"""What a request is sent as: checked, built, and its references held until it is answered."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial

from attrs import frozen

from . import _catalog, _estimate, _validate, _wire
from ._http import Asked, Piece
from ._references import References
from ._request import GenerateRequest, Reference


@frozen
class Prepared:
    """A request that is ready to be sent."""

    request: GenerateRequest
    model: str
    pieces: tuple[Piece, ...]
    headers: Mapping[str, str] | None
    asked: Asked


class Preparing:
    """Prepares the requests of one client, which are for *model* if they name no other."""

    def __init__(self, key: str, model: str, validation: _validate.Validation) -> None:
        self._key = key
        self._model = model
        self._validation = validation
        self._references = References()

    def prepared(
        self, request: GenerateRequest, *, stream: bool = False
    ) -> AbstractAsyncContextManager[Prepared]:
        """What is to be sent, if nothing is wrong with it. Nothing is sent before that."""
        model = request.model or self._model
        self._judge(_validate.problems(request, model, stream=stream))
        if request.image:
            return self._with_references(request, request.image, model, stream=stream)
        return contextlib.nullcontext(self._built(request, (), model, stream=stream))

    def _judge(self, problems: Iterable[_validate.Problem]) -> None:
        _validate.judge(problems, self._validation)

    @contextlib.asynccontextmanager
    async def _with_references(
        self, request: GenerateRequest, images: Sequence[Reference], model: str, *, stream: bool
    ) -> AsyncIterator[Prepared]:
        rules = partial(
            _validate.reference_problems,
            family=_catalog.family_of(model),
            layers=bool(request.layer_decomposition),
        )
        async with self._references.resolve(images, self._judge, rules) as references:
            yield self._built(request, references, model, stream=stream)

    def _built(
        self, request: GenerateRequest, references: Sequence[Piece], model: str, *, stream: bool
    ) -> Prepared:
        images = _estimate.most_images(request, model)
        return Prepared(
            request,
            model,
            _wire.build(request, model=model, references=references, stream=stream),
            request.extra_headers,
            Asked(
                secrets=(self._key, request.prompt),
                remedy=partial(_validate.remedy_for, request, model, stream=stream),
                images=images,
                most_bytes=_wire.most_bytes(request, images),
            ),
        )

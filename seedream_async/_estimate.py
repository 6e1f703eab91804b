"""What a request may cost, reckoned from the catalogue. Nothing here is a quote."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from . import _catalog
from ._catalog import MAX_IMAGES, MAX_LAYERS, Family, Price
from ._errors import InvalidRequestError
from ._request import GenerateRequest
from ._sizes import areas_of

_MAKES_MANY = {
    "sequential_image_generation",
    "sequential_image_generation_options",
    "layer_decomposition",
}


@frozen(kw_only=True)
class Estimate:
    """
    What a request may make and cost, each as the least and the most if all goes well.

    *source* tells whose prices these are, and of when.
    """

    images: tuple[int, int]
    amount: tuple[float, float]
    currency: str
    source: str


def estimate(
    request: GenerateRequest,
    *,
    model: str | None = None,
    price: Price | tuple[float, str] | None = None,
) -> Estimate:
    """
    Reckon what *request* may cost, answered by *model* if it names no other.

    A group makes from 1 to *max_images* images: the model decides. Whether CometAPI takes the price
    of one or of all is not confirmed, so the least is that of 1 and the most that of all. *price*,
    such as `(0.03, "USD")`, is of one image, and goes before the catalogue's. Raises
    `InvalidRequestError` if there is no price of the model.
    """
    name = request.model or model or _catalog.DEFAULT_MODEL
    family = _catalog.family_of(name)
    images, prices = _images_of(request, family), _known_prices(request, name, family, price)
    return Estimate(
        images=images,
        amount=(
            round(images[0] * min(price.amount for price in prices), 6),
            _most_amount(images[1], prices, request),
        ),
        currency=prices[0].currency,
        source="; ".join(dict.fromkeys(map(_source_of, prices))),
    )


def most_per_image(
    request: GenerateRequest, model: str, price: Price | tuple[float, str] | None
) -> float:
    """As `estimate`: the most that *request* to *model* may cost, for each of its images."""
    family = _catalog.family_of(model)
    images, prices = _images_of(request, family), _known_prices(request, model, family, price)
    return _most_amount(images[1], prices, request) / images[1]


def currency_of(model: str, price: Price | tuple[float, str] | None = None) -> str | None:
    """The currency of *price*, or of the catalogue's prices of *model* if it has any."""
    if price is not None:
        return _as_price(price).currency
    family = _catalog.family_of(model)
    return family.prices[0].currency if family and family.prices else None


def most_images(request: GenerateRequest, model: str) -> int:
    """How many images an answer to *request* by *model* may have at most."""
    family = _catalog.family_of(model)
    if (request.extra_body or {}).keys() & _MAKES_MANY:  # on the caller's own account
        return max(MAX_IMAGES, _most_layers(family))
    return _images_of(request, family)[1]


def _most_amount(images: int, prices: Sequence[Price], request: GenerateRequest) -> float:
    most = images * max([price.amount for price in prices])
    if request.image:
        # Not all who sell ask for it: only the most has it.
        extra = [p.per_reference * (len(request.image) - p.free_references) for p in prices]
        most += max(*extra, 0)
    return round(most, 6)


def _images_of(request: GenerateRequest, family: Family | None) -> tuple[int, int]:
    if request.layer_decomposition:
        return 1, _most_layers(family)
    if request.sequential_image_generation != "auto":
        return 1, 1
    left = MAX_IMAGES - len(request.image or ())
    return 1, max(1, min(request.max_images or MAX_IMAGES, left))


def _most_layers(family: Family | None) -> int:
    """The most images of a picture in layers: its base, and the layers."""
    return 1 + (family.most_layers if family else MAX_LAYERS)


def _known_prices(
    request: GenerateRequest,
    name: str,
    family: Family | None,
    price: Price | tuple[float, str] | None,
) -> Sequence[Price]:
    prices = _prices_of(request, family) if price is None else (_as_price(price),)
    if not prices:
        problem = f'no price of {name} is known; pass price, such as price=(0.03, "USD")'
        raise InvalidRequestError(problem, field="price")
    return prices


def _prices_of(request: GenerateRequest, family: Family | None) -> Sequence[Price]:
    """The prices to reckon with: one, or those of the areas that the images may have."""
    if family is None or not family.prices:
        return ()
    first = family.prices[0]
    if first.above is first.up_to is None:
        return (first,)
    size = "auto" if request.layer_decomposition and request.size is None else request.size
    low, high = areas_of(size, family)
    return [
        price
        for price in family.prices
        if price.currency == first.currency
        and (price.above is None or high > price.above)
        and (price.up_to is None or low <= price.up_to)
    ]


def _as_price(price: Price | tuple[float, str]) -> Price:
    if not isinstance(price, Price):
        amount, currency = price
        price = Price(amount, currency, "given", "")
    if not price.amount >= 0:
        raise InvalidRequestError(f"price must not be negative: {price.amount}", field="price")
    return price


def _source_of(price: Price) -> str:
    return f"{price.source}, {price.date}" if price.date else price.source

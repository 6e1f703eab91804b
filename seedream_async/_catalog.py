"""
What each model family can do, as data. No rule is decided here.

Sources, in the words of the file they were noted in: `page` is CometAPI's page of the endpoint,
`ark` Volcengine's reference of the model behind it; dates are those of the figures.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

DEFAULT_MODEL = "doubao-seedream-5-0-260128"
MAX_IMAGES = 15  # references and images made, together  [page]
RATIOS = ("1:1", "4:3", "3:4", "16:9", "9:16", "3:2", "2:3", "21:9")


@frozen(kw_only=True)
class Price:
    """A published price of one image, of an area up to *up_to* pixels if that matters."""

    amount: float
    currency: str
    source: str
    date: str
    up_to: int | None = None


@frozen(kw_only=True)
class Family:
    """
    What the models of one family take. `None` is: not known.

    *pixels* is the smallest and largest area of an image. *sizes* holds the recommended
    `WIDTHxHEIGHT` of each tier, in the order of `RATIOS`. *prices* has the one to reckon with
    first. *unsure* names the fields on which sources disagree, or which none confirms.
    """

    name: str
    ids: tuple[str, ...]
    references: int
    group: bool
    stream: bool | None
    web_search: bool | None
    output_formats: tuple[str, ...]
    optimize_modes: tuple[str, ...] | None
    seed: bool
    guidance_scale: bool
    layers: bool | None
    background: bool | None
    pixels: tuple[int, int]
    default_size: str
    sizes: Mapping[str, tuple[str, ...]]
    prices: tuple[Price, ...]
    unsure: frozenset[str] = frozenset()


def _row(sizes: str) -> tuple[str, ...]:
    return tuple(sizes.split())


# Recommended sizes  [ark, 2026]
_1K_4_0 = _row("1024x1024 1152x864 864x1152 1280x720 720x1280 1248x832 832x1248 1512x648")
_1K_PRO = _row("1024x1024 1152x864 864x1152 1424x800 800x1424 1248x832 832x1248 1568x672")
_1_5K = _row("1536x1536 1792x1344 1344x1792 2048x1152 1152x2048 1872x1248 1248x1872 2352x1008")
_2K = _row("2048x2048 2304x1728 1728x2304 2848x1600 1600x2848 2496x1664 1664x2496 3136x1344")
_2K_PRO = _row("2048x2048 2368x1776 1776x2368 2816x1584 1584x2816 2496x1664 1664x2496 3136x1344")
_3K = _row("3072x3072 3456x2592 2592x3456 4096x2304 2304x4096 3744x2496 2496x3744 4704x2016")
_4K = _row("4096x4096 4704x3520 3520x4704 5504x3040 3040x5504 4992x3328 3328x4992 6240x2656")

# Capabilities and areas  [ark, mid-2026]; ids  [page and CometAPI's model pages, 2026-07]
FAMILIES = (
    Family(
        name="5.0 lite",
        ids=("doubao-seedream-5-0-260128", "doubao-seedream-5-0-lite-260128"),
        references=14,
        group=True,
        output_formats=("png", "jpeg"),
        stream=True,
        web_search=True,
        optimize_modes=("standard",),
        seed=False,
        guidance_scale=False,
        layers=False,
        background=False,
        default_size="2048x2048",
        pixels=(3_686_400, 16_777_216),
        sizes={"2K": _2K, "3K": _3K, "4K": _4K},
        prices=(Price(amount=0.035, currency="USD", source="BytePlus list price", date="2026-06"),),
    ),
    Family(
        name="4.5",
        ids=("doubao-seedream-4-5-251128",),
        references=14,
        group=True,
        output_formats=("jpeg",),
        stream=True,
        web_search=False,
        optimize_modes=("standard",),
        seed=False,
        guidance_scale=False,
        layers=False,
        background=False,
        default_size="2048x2048",
        pixels=(3_686_400, 16_777_216),
        sizes={"2K": _2K, "4K": _4K},
        prices=(Price(amount=0.032, currency="USD", source="CometAPI model page", date="2025-12"),),
    ),
    Family(
        name="4.0",
        ids=("doubao-seedream-4-0-250828",),
        references=14,
        group=True,
        output_formats=("jpeg",),
        stream=True,
        web_search=False,
        optimize_modes=("standard", "fast"),
        seed=False,
        guidance_scale=False,
        layers=False,
        background=False,
        default_size="2048x2048",
        pixels=(921_600, 16_777_216),
        sizes={"1K": _1K_4_0, "2K": _2K, "4K": _4K},
        prices=(Price(amount=0.03, currency="USD", source="BytePlus list price", date="2026"),),
    ),
    Family(
        name="5.0 pro",
        ids=("seedream-5-0-pro-260628", "doubao-seedream-5-0-pro-260628"),
        references=10,
        group=False,
        output_formats=("png", "jpeg"),
        stream=False,
        web_search=False,
        optimize_modes=("standard", "fast"),
        seed=False,
        guidance_scale=False,
        layers=True,
        background=True,
        default_size="2K",
        pixels=(921_600, 4_624_220),
        sizes={"1K": _1K_PRO, "1.5K": _1_5K, "2K": _2K_PRO},
        prices=(Price(amount=0.045, currency="USD", source="CometAPI blog", date="2026-08"),),
    ),
)


def family_of(model: str) -> Family | None:
    """The family that *model* belongs to, or nothing for a model that is not listed here."""
    return next((family for family in FAMILIES if model in family.ids), None)

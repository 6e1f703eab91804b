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
    """A published price per image."""

    amount: float
    currency: str
    source: str


@frozen(kw_only=True)
class Family:
    """
    What the models of one family take.

    *pixels* is the smallest and largest area of an image. *sizes* holds the recommended
    `WIDTHxHEIGHT` of each tier, in the order of `RATIOS`.
    """

    name: str
    ids: tuple[str, ...]
    max_references: int
    group: bool
    output_formats: tuple[str, ...]
    pixels: tuple[int, int]
    sizes: Mapping[str, tuple[str, ...]]
    price: Price


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
        max_references=14,
        group=True,
        output_formats=("png", "jpeg"),
        pixels=(3_686_400, 16_777_216),
        sizes={"2K": _2K, "3K": _3K, "4K": _4K},
        price=Price(amount=0.035, currency="USD", source="BytePlus list price, 2026-06"),
    ),
    Family(
        name="4.5",
        ids=("doubao-seedream-4-5-251128",),
        max_references=14,
        group=True,
        output_formats=("jpeg",),
        pixels=(3_686_400, 16_777_216),
        sizes={"2K": _2K, "4K": _4K},
        price=Price(amount=0.032, currency="USD", source="CometAPI model page, 2025-12"),
    ),
    Family(
        name="4.0",
        ids=("doubao-seedream-4-0-250828",),
        max_references=14,
        group=True,
        output_formats=("jpeg",),
        pixels=(921_600, 16_777_216),
        sizes={"1K": _1K_4_0, "2K": _2K, "4K": _4K},
        price=Price(amount=0.03, currency="USD", source="BytePlus list price, 2026"),
    ),
    Family(
        name="5.0 pro",
        ids=("seedream-5-0-pro-260628", "doubao-seedream-5-0-pro-260628"),
        max_references=10,
        group=False,
        output_formats=("png", "jpeg"),
        pixels=(921_600, 4_624_220),
        sizes={"1K": _1K_PRO, "1.5K": _1_5K, "2K": _2K_PRO},
        price=Price(amount=0.045, currency="USD", source="CometAPI blog, 2026-08"),
    ),
)


def family_of(model: str) -> Family | None:
    """The family that *model* belongs to, or nothing for a model that is not listed here."""
    return next((family for family in FAMILIES if model in family.ids), None)

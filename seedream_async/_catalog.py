"""
What each model family can do, as data. No rule is decided here.

Sources: `page` is CometAPI's page of the endpoint; `ark` Volcengine's reference of the models
behind it (82379/1541523, mid-2026) and its tutorial; `live` the texts of refusals; `bp` BytePlus'
reference (2025-12); `others` what resellers and users wrote. Dates are those of the figures.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

DEFAULT_MODEL = "doubao-seedream-5-0-260128"
MAX_IMAGES = 15  # references and images made, together  [page, ark]
MAX_REFERENCES = 14  # of any model  [page]
MAX_LAYERS = 16  # on top of the base  [ark]
RATIOS = ("1:1", "4:3", "3:4", "16:9", "9:16", "3:2", "2:3", "21:9")


def _row(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# Formats of references: those of the page, and what is new in mid-2026  [ark]
_OLD_FORMATS = _row("jpeg png webp bmp tiff gif")
_FORMATS = (*_OLD_FORMATS, "heic", "heif")


@frozen
class Price:
    """
    A published price of one image, of an area *above* and *up_to* so many pixels if that matters.

    *per_reference* is added for each reference after the first *free_references*.
    """

    amount: float
    currency: str
    source: str
    date: str
    above: int | None = field(default=None, kw_only=True)
    up_to: int | None = field(default=None, kw_only=True)
    per_reference: float = field(default=0.0, kw_only=True)
    free_references: int = field(default=0, kw_only=True)


@frozen(kw_only=True)
class Family:
    """
    What the models of one family take. `None` is: not known.

    *ids* starts with CometAPI's. The first of *output_formats* is the default. *most_layers* is
    besides the base. *pixels* is the smallest and largest area of an image.
    *sizes* holds the recommended `WIDTHxHEIGHT` of each tier, in the order of `RATIOS`.
    *background_edits* is whether only one reference can get a transparent background.
    *reference_aspect* is width by height of a reference. *prices* has the one to reckon with first;
    where the area matters, all of its currency together. *unsure* names the fields on which sources
    disagree, or which the API's own pages do not confirm.
    """

    name: str
    ids: tuple[str, ...]
    references: int
    needs_reference: bool = False
    group: bool = False
    stream: bool | None = False
    web_search: bool | None = False
    output_formats: tuple[str, ...]
    optimize_modes: tuple[str, ...] | None = ()
    seed: bool = False
    guidance_scale: bool = False
    layers: bool | None = False
    most_layers: int = MAX_LAYERS
    background: bool | None = False
    background_edits: bool = False
    pixels: tuple[int, int]
    default_size: str
    sizes: Mapping[str, tuple[str, ...]] = field(hash=False)
    reference_formats: tuple[str, ...] = _FORMATS
    reference_aspect: tuple[float, float] = (1 / 16, 16)
    prices: tuple[Price, ...]
    unsure: frozenset[str] = frozenset()


# Recommended sizes  [ark]; in 1K of 4.0 the tutorial has 1312x736, 736x1312 and 1568x672
_1K_4_0 = _row("1024x1024 1152x864 864x1152 1280x720 720x1280 1248x832 832x1248 1512x648")
_1K_PRO = _row("1024x1024 1152x864 864x1152 1424x800 800x1424 1248x832 832x1248 1568x672")
_1_5K = _row("1536x1536 1792x1344 1344x1792 2048x1152 1152x2048 1872x1248 1248x1872 2352x1008")
_2K = _row("2048x2048 2304x1728 1728x2304 2848x1600 1600x2848 2496x1664 1664x2496 3136x1344")
_2K_PRO = _row("2048x2048 2368x1776 1776x2368 2816x1584 1584x2816 2496x1664 1664x2496 3136x1344")
_3K = _row("3072x3072 3456x2592 2592x3456 4096x2304 2304x4096 3744x2496 2496x3744 4704x2016")
_4K = _row("4096x4096 4704x3520 3520x4704 5504x3040 3040x5504 4992x3328 3328x4992 6240x2656")
_SIZES_PRO = {"1K": _1K_PRO, "1.5K": _1_5K, "2K": _2K_PRO}

# Models from 4.0 on: the page has both for all, and says that 5.0 ignores them; Ark may refuse.
_LEGACY = frozenset({"seed", "guidance_scale"})
# Models that neither the page nor the reference of mid-2026 describes.
_ALL = frozenset(
    _row(
        "references needs_reference group stream web_search output_formats optimize_modes seed "
        "guidance_scale layers background background_edits pixels sizes reference_formats "
        "reference_aspect prices"
    )
)

FAMILIES = (
    # ids [page, ark, bp]; the rest [ark, live]. BytePlus had no 4K, and 10.4 Mpx, in 2026-02.
    Family(
        name="5.0 lite",
        ids=(
            "doubao-seedream-5-0-260128",
            "doubao-seedream-5-0-lite-260128",
            "seedream-5-0-260128",
        ),
        references=14,
        group=True,
        stream=True,
        web_search=True,
        output_formats=("jpeg", "png"),
        optimize_modes=("standard",),
        pixels=(3_686_400, 16_777_216),
        default_size="2048x2048",
        sizes={"2K": _2K, "3K": _3K, "4K": _4K},
        prices=(
            Price(0.035, "USD", "BytePlus list price", "2026-06"),
            Price(0.22, "CNY", "Ark list price", "2026-07"),
        ),
        unsure=_LEGACY,
    ),
    # ids [CometAPI's model page, ark, bp]; output_format [ark] against [page]; the rest [ark, live]
    Family(
        name="4.5",
        ids=("doubao-seedream-4-5-251128", "seedream-4-5-251128"),
        references=14,
        group=True,
        stream=True,
        output_formats=("jpeg",),
        optimize_modes=("standard",),
        pixels=(3_686_400, 16_777_216),
        default_size="2048x2048",
        sizes={"2K": _2K, "4K": _4K},
        prices=(
            Price(0.032, "USD", "CometAPI model page", "2025-12"),
            Price(0.04, "USD", "BytePlus list price", "2026"),
            Price(0.25, "CNY", "Ark list price", "2026-07"),
        ),
        unsure=_LEGACY | {"output_formats"},
    ),
    # As 4.5. The model card has 10 references, [ark] and [page] have 14.
    Family(
        name="4.0",
        ids=("doubao-seedream-4-0-250828", "seedream-4-0-250828"),
        references=14,
        group=True,
        stream=True,
        output_formats=("jpeg",),
        optimize_modes=("standard", "fast"),
        pixels=(921_600, 16_777_216),
        default_size="2048x2048",
        sizes={"1K": _1K_4_0, "2K": _2K, "4K": _4K},
        prices=(
            Price(0.03, "USD", "BytePlus list price", "2026"),
            Price(0.2, "CNY", "Ark list price", "2026-07"),
        ),
        unsure=_LEGACY | {"output_formats"},
    ),
    # ids [CometAPI's announcement, ark, bp]; the rest [ark]; skill files have 1024x1024 as default
    Family(
        name="5.0 pro",
        ids=(
            "seedream-5-0-pro-260628",
            "doubao-seedream-5-0-pro-260628",
            "dola-seedream-5-0-pro-260628",
        ),
        references=10,
        output_formats=("jpeg", "png"),
        optimize_modes=("standard", "fast"),
        layers=True,
        background=True,
        background_edits=True,
        pixels=(921_600, 4_624_220),
        default_size="2K",
        sizes=_SIZES_PRO,
        # CometAPI says "from". Where the dearer area starts, sources disagree: 2.36 or 2.61 Mpx.
        prices=(
            Price(
                0.045,
                "USD",
                "CometAPI blog",
                "2026-08",
                up_to=2_610_000,
                per_reference=0.003,
                free_references=1,
            ),
            Price(
                0.09,
                "USD",
                "BytePlus list price",
                "2026-07",
                above=2_360_000,
                per_reference=0.003,
                free_references=1,
            ),
            Price(0.3, "CNY", "Ark list price", "2026-07", up_to=2_610_000),
            Price(0.6, "CNY", "Ark list price", "2026-07", above=2_360_000),
        ),
        unsure=_LEGACY | {"prices"},
    ),
    # All [others, 2026-09 and 10]; not seen at CometAPI. No stream: untested.
    Family(
        name="5.0 flash",
        ids=("doubao-seedream-5-0-flash-260915", "seedream-5-0-flash-260915"),
        references=10,
        output_formats=("jpeg", "png"),
        optimize_modes=("standard", "fast"),
        layers=None,
        background=True,
        pixels=(921_600, 4_624_220),
        default_size="2K",
        sizes=_SIZES_PRO,
        prices=(
            Price(0.018, "USD", "OpenRouter, about", "2026-10"),
            Price(0.12, "CNY", "Ark list price", "2026-10"),
        ),
        unsure=_ALL,
    ),
    # All [others, 2026-11]; not seen at CometAPI. Sizes and areas: taken to be those of pro.
    Family(
        name="5.5",
        ids=("seedream-5-5-261028", "dola-seedream-5-5-261028"),
        references=10,
        stream=None,
        web_search=None,
        output_formats=("png", "jpeg"),
        optimize_modes=None,
        layers=True,
        most_layers=99,
        background=True,
        pixels=(921_600, 4_624_220),
        default_size="2K",
        sizes=_SIZES_PRO,
        # By tier, 1K and 1.5K or 2K; the areas between are pro's.
        prices=(
            Price(0.02, "USD", "resellers", "2026-11", up_to=2_610_000, per_reference=0.008),
            Price(0.035, "USD", "resellers", "2026-11", above=2_360_000, per_reference=0.008),
        ),
        unsure=_ALL,
    ),
    # All [bp, others]: gone from the reference of mid-2026. The second id follows from the first.
    Family(
        name="3.0",
        ids=("doubao-seedream-3-0-t2i-250415", "seedream-3-0-t2i-250415"),
        references=0,
        output_formats=("jpeg",),
        seed=True,
        guidance_scale=True,
        pixels=(262_144, 4_194_304),
        default_size="1024x1024",
        sizes={},
        reference_formats=_OLD_FORMATS,
        prices=(Price(0.03, "USD", "BytePlus list price", "2026"),),
        unsure=_ALL,
    ),
    # As 3.0. It picks from a list between 512x1536 and 1536x512 what is nearest to the reference.
    Family(
        name="seededit 3.0",
        ids=("doubao-seededit-3-0-i2i-250628", "seededit-3-0-i2i-250628"),
        references=1,
        needs_reference=True,
        output_formats=("jpeg",),
        seed=True,
        guidance_scale=True,
        pixels=(786_432, 1_048_576),
        default_size="adaptive",
        sizes={},
        reference_formats=_OLD_FORMATS,
        reference_aspect=(1 / 3, 3),
        prices=(Price(0.03, "USD", "BytePlus, unconfirmed", "2026"),),
        unsure=_ALL,
    ),
)


def family_of(model: str) -> Family | None:
    """The family of *model*; nothing for one that is not listed, or an endpoint's `ep-…`."""
    for family in FAMILIES:
        if model in family.ids:
            return family
    return None

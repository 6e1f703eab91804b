"""
What `run_batch` gives, and what it tells meanwhile.

Annotations are not postponed here, so that `typing.get_type_hints` works on every class although
each calls itself a member of `seedream_async.batch`.
"""

from pathlib import Path

from attrs import frozen


@frozen(kw_only=True)
class BatchProgress:
    """
    How far a batch is. Rows are *saved*, *failed*, *unknown*, or *left*, of *total* in all.

    *images* and *cost* are those of all runs; *projected* is what it comes to if the rest costs
    the same, and *seconds_left* how long that takes. *waiting* tells why nothing is sent now.
    """

    total: int
    saved: int
    failed: int
    unknown: int
    left: int
    images: int
    elapsed: float
    images_per_minute: float
    in_flight: int = 0
    cost: float | None = None
    projected: float | None = None
    currency: str | None = None
    seconds_left: float | None = None
    waiting: str | None = None


@frozen(kw_only=True)
class BatchResult:
    """
    What became of a batch. Each of *total* rows is *saved*, *failed*, *unknown*, or still *left*.

    *paid* of those that are left are paid for: their images are fetched by the next run, for free.
    *bad* rows are none, *missing* images were saved and are gone. *cost* is what all runs have
    cost, as far as prices are known. *stopped* tells why it ended before its end, if it did.
    """

    total: int
    saved: int
    failed: int
    unknown: int
    left: int
    paid: int = 0
    bad: int = 0
    missing: int = 0
    images: int = 0
    cost: float | None = None
    currency: str | None = None
    problems: tuple[str, ...] = ()
    stopped: str | Exception | None = None
    folder: Path
    ledger: Path
    manifest: Path | None = None
    failed_rows: Path | None = None
    report: Path | None = None


@frozen(kw_only=True)
class BatchPlan:
    """
    What a batch would do: send *left* of *rows*, for a *cost* (least and most), in *seconds*.

    *bad* rows are none; *unpriced* ones have a model of which no price is known.
    """

    rows: int
    bad: int
    left: int
    images: tuple[int, int]
    cost: tuple[float, float]
    currency: str | None
    source: str
    unpriced: int
    seconds: tuple[float, float]

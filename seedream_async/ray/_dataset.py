"""
`generate`: from a dataset of requests to one of what became of them.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray.data import Dataset

from seedream_async import _catalog, _files
from seedream_async._allowance import PricePerImage
from seedream_async._request import Model
from seedream_async._settings import checked_base_url, checked_key
from seedream_async.batch._options import NAME, template_of

from ._actors import coordinator_of, working
from ._coordinator import Terms
from ._setup import Setup
from ._stores import Store, store_of


def generate(
    dataset: Dataset,
    *,
    out: str | os.PathLike[str],
    ledger: str | os.PathLike[str],
    filesystem: Any = None,
    actors: int = 2,
    in_flight: int = 16,
    images_per_minute: int | None = None,
    max_images: int | None = None,
    max_cost: float | None = None,
    price: PricePerImage | None = None,
    model: Model = _catalog.DEFAULT_MODEL,
    defaults: Mapping[str, Any] | None = None,
    name: str = NAME,
    resend_unknown: bool = False,
    retry_failed: bool = False,
    sidecar: bool = False,
    api_key: str | None = None,
    base_url: str | None = None,
    num_cpus: float = 0.25,
    **client: Any,
) -> Dataset:
    """
    What becomes of the rows of *dataset*: a lazy dataset with a row for each image, or for a row
    that has none, in the columns of a manifest, `state` and `problem`.

    A column is a field of a request, `id`, or metadata, as in a batch. Images go to *out*: a
    folder that all nodes have, or a folder of a pyarrow or fsspec *filesystem*, or its URI. The
    *ledger* is a file on this machine: rows that it knows as saved are not made again. Rows that
    ask for the same are one, unless their ids differ.

    Each of so many *actors* has *in_flight* requests on their way at most, so a killed one leaves
    no more unknown. *images_per_minute*, *max_images* and *max_cost* are for all of them together,
    the latter two also for all runs. *client* is what else theirs are made with; the key is that
    of this process. Raises `InvalidRequestError` before anything is sent.
    """
    told = dict(locals())
    store = store_of(out, filesystem)
    folder = None if store else Path(out).absolute()
    if folder is not None:
        _files.open_place(os.path.join(folder, ""), field="out")  # noqa: PTH118  says: a folder
    setup, terms = _setup(folder, store, told), _terms(told)
    if not ray.is_initialized():
        ray.init()
    coordinator = coordinator_of(terms)
    settings = {"input": "a dataset", "model": model, "defaults": setup.defaults, "name": name}
    _, error = ray.get(coordinator.call.remote("begin", (uuid.uuid4().hex, settings)))
    if error is not None:
        raise error
    return working(dataset, setup, coordinator, actors=actors, num_cpus=num_cpus)


def _setup(folder: Path | None, store: Store | None, told: Mapping[str, Any]) -> Setup:
    """What the workers go by, who are to do as *told*."""
    name, alike = told["name"], ("in_flight", "model", "price", "sidecar")
    columns = [] if name == NAME else list(told["dataset"].columns() or ())
    access = {
        "api_key": checked_key(told["api_key"]),
        "base_url": checked_base_url(told["base_url"]),
        "model": told["model"],
    }
    return Setup(
        client={**access, **told["client"]},
        folder=folder,
        store=store,
        template=template_of(folder or Path(), name, columns),
        defaults=dict(told["defaults"] or {}),
        limited=told["max_images"] is not None or told["max_cost"] is not None,
        priced=told["max_cost"] is not None,
        resend_unknown=told["resend_unknown"],
        retry_failed=told["retry_failed"],
        **{field: told[field] for field in alike},
    )


def _terms(told: Mapping[str, Any]) -> Terms:
    alike = ("model", "images_per_minute", "max_images", "max_cost", "price")
    ledger = str(Path(told["ledger"]).absolute())
    return Terms(ledger=ledger, **{field: told[field] for field in alike})

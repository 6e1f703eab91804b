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
from ._stores import store_of
from ._worker import Setup


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
    store = store_of(out, filesystem)
    folder = None if store else Path(out).absolute()
    if folder is not None:
        _files.open_place(os.path.join(folder, ""), field="out")  # noqa: PTH118  says: a folder
    columns = [] if name == NAME else list(dataset.columns() or ())
    setup = Setup(
        client={
            "api_key": checked_key(api_key),
            "base_url": checked_base_url(base_url),
            "model": model,
            **client,
        },
        model=model,
        folder=folder,
        store=store,
        template=template_of(folder or Path(), name, columns),
        in_flight=in_flight,
        defaults=dict(defaults or {}),
        limited=max_images is not None or max_cost is not None,
        priced=max_cost is not None,
        price=price,
        resend_unknown=resend_unknown,
        retry_failed=retry_failed,
        sidecar=sidecar,
    )
    terms = Terms(
        ledger=str(Path(ledger).absolute()),
        model=model,
        images_per_minute=images_per_minute,
        max_images=max_images,
        max_cost=max_cost,
        price=price,
    )
    if not ray.is_initialized():
        ray.init()
    coordinator = coordinator_of(terms)
    settings = {"input": "a dataset", "model": model, "defaults": setup.defaults, "name": name}
    _, error = ray.get(coordinator.call.remote("begin", (uuid.uuid4().hex, settings)))
    if error is not None:
        raise error
    return working(dataset, setup, coordinator, actors=actors, num_cpus=num_cpus)

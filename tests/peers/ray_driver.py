"""
A driver of Ray that `ray_kills.py` runs, and kills: a dataset of rows, and what became of them.
"""

import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path

import ray
from pyarrow.fs import LocalFileSystem
from ray.cluster_utils import Cluster

from seedream_async.ray import generate

MODEL = "doubao-seedream-3-0-t2i-250415"
STORE = 100 * 1024 * 1024  # bytes: the images do not pass through it


def start(nodes, stack):
    """A machine on its own, or so many raylets that are taken for one each."""
    if nodes == 1:
        ray.init(num_cpus=4, object_store_memory=STORE, include_dashboard=False)
    else:
        head = {"num_cpus": 2, "object_store_memory": STORE}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        stack.callback(cluster.shutdown)
        for _ in range(nodes - 1):
            cluster.add_node(num_cpus=2, object_store_memory=STORE)
        ray.init(address=cluster.address)
    stack.callback(ray.shutdown)


def main():
    task = json.loads(sys.argv[1])
    folder = Path(task["folder"])
    with ExitStack() as stack:
        start(task["nodes"], stack)
        results = generate(
            ray.data.read_json(str(folder / "rows.jsonl")),
            out=folder / "out",
            # What has several nodes has a store; here it is a disk, as pyarrow sees it.
            filesystem=LocalFileSystem() if task["nodes"] > 1 else None,
            ledger=folder / "out" / "ledger.sqlite3",
            model=MODEL,
            actors=task["actors"],
            in_flight=task["in_flight"],
            images_per_minute=task["images_per_minute"],
        )
        rows = results.take_all()
        (folder / "manifest.json").write_text(json.dumps(rows))


if __name__ == "__main__":
    os.environ["RAY_DATA_DISABLE_PROGRESS_BARS"] = "1"
    main()

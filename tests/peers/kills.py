"""
A batch of 400 rows, killed at 50 random moments: what must hold, at the length that it must hold.

A script, since it takes a minute or more: `.ci/kills` runs it, with a folder as argument.
"""

import sys
import time
from collections import Counter
from pathlib import Path

from killed_batches import WIDTH, Service, killed_batch

ROWS, KILLS, LONGEST = 400, 50, 1.6


def main():
    folder, start = Path(sys.argv[1]), time.monotonic()
    with Service.running(latency=0.4) as service:
        course = killed_batch(service, folder, rows=ROWS, kills=KILLS, seed=start, longest=LONGEST)
    states = Counter(entry.state for entry in course.entries)
    assert states.keys() <= {"saved", "unknown"}, states
    assert states.total() == ROWS, states
    assert max(course.billed.values()) == 1, course.billed.most_common(3)
    assert all(course.billed[f"picture {row.line - 1}"] == 1 for row in course.of("saved"))
    assert max(course.doubts) <= WIDTH, course.doubts
    for row in course.of("saved"):
        for image in row.images:
            assert (folder / "out" / image.file.path).stat().st_size == image.file.bytes
    sys.stdout.write(
        f"{KILLS} kills, {ROWS} rows: {dict(states)}, at most {max(course.doubts)} in doubt "
        f"by one kill, {course.billed.total()} billed, {time.monotonic() - start:.0f} s\n"
    )


if __name__ == "__main__":
    main()

"""What is to become of the images of the next request, and of its stream, on order."""

from __future__ import annotations

from attrs import Factory, define, frozen


@frozen
class Problem:
    """Why an image could not be made."""

    code: str
    message: str

    @property
    def ends_the_group(self) -> bool:
        """Whether the images after it are not tried: a filter stops one, a breakdown the rest."""
        return self.code.partition(".")[0] == "InternalServiceError"


@frozen
class Outcome:
    """What became of the image number *index*: it was made, unless there is a *problem*."""

    index: int
    problem: Problem | None = None


@define
class Script:
    """At most *most* images are made, and of these none that has a problem."""

    most: int | None = None
    problems: dict[int, Problem] = Factory(dict)
    of_all: Problem | None = None
    status: int = 200  # of the answer, if no image was made for a problem

    def outcomes(self, count: int, *, layers: bool) -> list[Outcome]:
        """What becomes of *count* images. Of layers, one that fails fails them all."""
        outcomes = []
        for index in range(count if self.most is None else min(count, self.most)):
            problem = self.of_all or self.problems.get(index)
            outcomes.append(Outcome(index, problem))
            if problem and (layers or problem.ends_the_group):
                return outcomes[-1:] if layers else outcomes
        return outcomes


@frozen(kw_only=True)
class Oddities:
    """What is odd about a stream; see `Emulator.stream_next`."""

    order: tuple[int, ...] | None = None
    completed: bool = True
    done: bool = True
    comments: bool = False
    line_end: str = "\n"
    cut_after: int | None = None
    error: Problem | None = None
    chunk: int | None = None

"""What was learned from traced renders: a tree of decisions for each set of shared values, with shapes as its leaves.

A learner walks the tree with plain values. Where it ends, somebody is rendered once more and a path is added.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mmcampaign.merge.expressions import Expression, UntraceableError
from mmcampaign.merge.questions import Answer, Question
from mmcampaign.model import Shape

MOST_PATHS = 200  # of one set of shared values: so many forms of one email are no longer reviewed, only stored


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One decision that makes a shape what it is: ``learner.country == 'AU'``, ``yes``, and where it is asked first."""

    question: str
    answer: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.question} -> {self.answer}, {self.file} line {self.line}"


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """The end of a path: a shape, or the reason why there is none and people are rendered alone.

    Each value in ``required`` must match its pattern whole, and all in ``unasked`` must compute, or the person is
    rendered alone as well, for the reason given.
    """

    shape: Shape | None
    choices: tuple[Choice, ...] = ()
    required: tuple[tuple[str, re.Pattern[str], str], ...] = ()
    unasked: tuple[Expression, ...] = ()
    reason: str = ""


class Fork:
    """A decision, and where each answer met so far leads to."""

    __slots__ = ("ask", "branches", "question")

    def __init__(self, question: Question) -> None:
        self.question = question
        self.ask: Callable[[Mapping[str, str], dict[str, str]], Answer] = question.ask
        self.branches: dict[Answer, Fork | Leaf] = {}


class Tree:
    """The paths of one set of shared values."""

    def __init__(self) -> None:
        self._root: Fork | Leaf | None = None
        self._paths = 0
        self._places: Counter[tuple[str, int]] = Counter()

    def leaf(self, values: Mapping[str, str], found: dict[str, str]) -> Leaf | None:
        """Where these values lead to; derived values are put into ``found`` on the way. None: nobody went there yet.

        Raises whatever a decision raises: a plain render would raise it, too.
        """
        node = self._root
        while isinstance(node, Fork):
            node = node.branches.get(node.ask(values, found))
        return node

    def crowded(self) -> str:
        """Why no path is added any more: the place that splits people most. Empty while there is room."""
        if self._paths < MOST_PATHS:
            return ""
        (file, line), _ = self._places.most_common(1)[0]
        return f"{file}, line {line}: decides so often that there would be more than {MOST_PATHS} forms of this email"

    def add(self, path: list[tuple[Question, Answer]], leaf: Leaf) -> None:
        """Raises UntraceableError where the template asked something else than it asked before on the same path."""
        fork, answer = None, None
        node = self._root
        for question, given in path:
            if node is None:
                node = Fork(question)
                self._places[question.file, question.line] += 1
                self._attach(fork, answer, node)
            if not isinstance(node, Fork) or node.question.key != question.key:
                raise UntraceableError("the template does not do the same each time")
            fork, answer = node, given
            node = node.branches.get(given)
        self._attach(fork, answer, leaf)
        self._paths += 1

    def _attach(self, fork: Fork | None, answer: Answer, node: Fork | Leaf) -> None:
        if fork is None:
            self._root = node
        else:
            fork.branches[answer] = node


def choices(path: list[tuple[Question, Answer]]) -> tuple[Choice, ...]:
    """The decisions of a path that are worth telling."""
    return tuple(
        Choice(question=question.words, answer=told, file=question.file, line=question.line)
        for question, answer in path
        if (told := question.told(answer))
    )

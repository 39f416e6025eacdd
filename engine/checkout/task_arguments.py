"""The arguments that a version of Fooocus makes a task of, in their order, as the source of its `AsyncTask` says.

`AsyncTask.__init__` takes values off the end of a reversed list, one by one; which values, and in which order, differs
between versions and forks. The source is read and not run, so the web process can read it too.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

TASK, BEGIN = "AsyncTask", "__init__"


class UnreadableTask(ValueError):
    """The source makes tasks in a way that is not known here; the text says what is unusual."""


@dataclass(frozen=True)
class Argument:
    """One value, by the attribute or the variable that it goes to."""

    name: str


@dataclass(frozen=True)
class Repeated:
    """Arguments that are taken as often as `times` says, an expression of the source."""

    times: ast.expr
    each: Sequence[Part]


@dataclass(frozen=True)
class Either:
    """Arguments that depend on `condition`, an expression of the source."""

    condition: ast.expr
    then: Sequence[Part]
    otherwise: Sequence[Part]


Part = Argument | Repeated | Either


@dataclass(frozen=True)
class TaskArguments:
    """The arguments of one version; `imports` are what the expressions in `parts` need besides the module's names."""

    parts: Sequence[Part]
    imports: Sequence[ast.stmt]

    @property
    def names(self) -> frozenset[str]:
        """Every name that a value may be asked for by."""
        return frozenset(_names(self.parts))

    def in_order(self, evaluate: Callable[[ast.expr], Any]) -> Iterator[str]:
        """The name of each value in turn; `evaluate` gives what an expression of the source is worth."""
        return _in_order(self.parts, evaluate)


def read_task_arguments(source: str) -> TaskArguments:
    """The arguments of the class `AsyncTask` in the source of a `modules/async_worker.py`.

    Raises:
        UnreadableTask: it has no such class, or that takes its arguments in another way.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise UnreadableTask(f"line {error.lineno} is no Python: {error.msg}") from error
    classes = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == TASK)
    functions = (
        node for found in classes for node in found.body if isinstance(node, ast.FunctionDef) and node.name == BEGIN
    )
    function = next(functions, None)
    if function is None or len(function.args.args) != 2:
        raise UnreadableTask(f"it has no class {TASK} that is made of one list of arguments")
    reader = _Reader(function.args.args[1].arg)
    parts = reader.body(function.body)
    if not parts:
        raise UnreadableTask(f"its {TASK} takes no arguments off its list, as those of Fooocus before 2.5 do not")
    return TaskArguments(parts, [node for node in function.body if isinstance(node, (ast.Import, ast.ImportFrom))])


class _Reader:
    """Finds where a function takes values off the list that it calls `given`."""

    def __init__(self, given: str) -> None:
        self.given = given

    def body(self, statements: Sequence[ast.stmt]) -> list[Part]:
        return [part for statement in statements for part in self.statement(statement)]

    def statement(self, node: ast.stmt) -> list[Part]:
        if not self.takes(node):
            return []
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            return self.expression(node.value, _target(node.targets[0]))
        if isinstance(node, ast.For):
            return [Repeated(_times(node.iter), self.body(node.body))]
        if isinstance(node, ast.If) and not self.takes(node.test):
            return [Either(node.test, self.body(node.body), self.body(node.orelse))]
        raise UnreadableTask(f"line {node.lineno} takes arguments in a way that is not known here")

    def expression(self, node: ast.AST, name: str) -> list[Part]:
        if not self.takes(node):
            return []
        if self.is_taking(node):
            return [Argument(name)]
        if isinstance(node, ast.ListComp) and len(node.generators) == 1:
            return [Repeated(_times(node.generators[0].iter), self.expression(node.elt, name))]
        if isinstance(node, ast.IfExp) and not self.takes(node.test):
            return [Either(node.test, self.expression(node.body, name), self.expression(node.orelse, name))]
        if isinstance(node, (ast.Call, ast.keyword, ast.Tuple, ast.List, ast.BinOp, ast.UnaryOp)):
            return [part for child in ast.iter_child_nodes(node) for part in self.expression(child, name)]
        raise UnreadableTask(f"{name} is made of arguments in a way that is not known here")

    def takes(self, node: ast.AST) -> bool:
        return any(self.is_taking(inner) for inner in ast.walk(node))

    def is_taking(self, node: ast.AST) -> bool:
        return (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "pop"
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == self.given
        )


def _target(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Name):
        return node.id
    raise UnreadableTask(f"line {node.lineno} gives an argument to what has no name")


def _times(node: ast.expr) -> ast.expr:
    """The number in `range(number)`."""
    called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range"
    if called and len(node.args) == 1 and not node.keywords:  # type: ignore[attr-defined]
        return node.args[0]  # type: ignore[attr-defined]
    raise UnreadableTask(f"line {node.lineno} takes arguments again and again, not a number of times")


def _names(parts: Sequence[Part]) -> Iterator[str]:
    for part in parts:
        if isinstance(part, Argument):
            yield part.name
        elif isinstance(part, Repeated):
            yield from _names(part.each)
        else:
            yield from _names([*part.then, *part.otherwise])


def _in_order(parts: Sequence[Part], evaluate: Callable[[ast.expr], Any]) -> Iterator[str]:
    for part in parts:
        if isinstance(part, Argument):
            yield part.name
        elif isinstance(part, Repeated):
            for _ in range(evaluate(part.times)):
                yield from _in_order(part.each, evaluate)
        else:
            yield from _in_order(part.then if evaluate(part.condition) else part.otherwise, evaluate)


def page_defaults(source: str) -> dict[str, ast.expr]:
    """What the controls of a `webui.py` hold before anybody touches them, by the variables that they are kept in."""
    found: dict[str, ast.expr] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and isinstance(node.targets[0], ast.Name):
            values = [keyword.value for keyword in node.value.keywords if keyword.arg == "value"]
            found.update((node.targets[0].id, value) for value in values)
    return found

"""
Change one thing in the code at a time, and see that a test notices: ``make mutants``.

Each mutant runs in a process of its own, forked from one that has imported everything, with the tests that execute the
changed line: first those of the module's own file, then those that notice the most in the least time. Words that people
read are not changed.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
import types
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from importlib import import_module
from itertools import zip_longest
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import coverage
import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "airflow_provider_anyformat"
ROOMS = ["api/replies.py", "api/quota.py", "api/listing.py", "retention", "bulk"]
TESTS = ["tests/unit", "tests/integration"]
GOAL = 90.0
PROCESSES = 2
# Seconds of tests that a mutant has to survive: the likeliest first, and the survivors once more.
ROUNDS = (10.0, 120.0)

PAIRS = "Lt LtE, Gt GtE, Eq NotEq, In NotIn, Is IsNot, And Or, Add Sub, Mult Div, BitOr BitAnd, Continue Break"
SWAPPED = {
    getattr(ast, a): getattr(ast, b) for pair in PAIRS.split(", ") for a, b in (pair.split(), pair.split()[::-1])
}
SWAPPED |= {ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult}
# What a module or class holds under a name, and can be replaced by what a mutant holds there.
DATA = (bool, int, float, str, bytes, tuple, frozenset, dict, list, re.Pattern, datetime, timedelta)


class Mutant(NamedTuple):
    """One change: where, which, the lines whose execution shows it (``None``: any), and how to make it in the tree."""

    file: str
    line: int
    change: str
    lines: set[int] | None
    tree: ast.Module
    make: Callable[[], None]


def _other(value: Any) -> list[ast.AST]:
    if isinstance(value, bool):
        return [ast.Constant(not value)]
    if isinstance(value, int | float):
        return [ast.Constant(value + 1)]
    return [ast.Constant(f"XX{value}")] if isinstance(value, str) and " " not in value else []


def _negated(node: Any) -> list[ast.AST]:
    if isinstance(node.test, ast.Compare | ast.BoolOp | ast.UnaryOp) and not isinstance(node, ast.IfExp):
        return []
    return [type(node)(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)]


CHANGES: dict[type[ast.AST], Callable[[Any], list[ast.AST]]] = {
    ast.Compare: lambda it: [
        ast.Compare(it.left, [*it.ops[:at], SWAPPED[type(op)](), *it.ops[at + 1 :]], it.comparators)
        for at, op in enumerate(it.ops)
    ],
    ast.BoolOp: lambda it: [ast.BoolOp(SWAPPED[type(it.op)](), it.values)],
    ast.BinOp: lambda it: [ast.BinOp(it.left, SWAPPED[type(it.op)](), it.right)] if type(it.op) in SWAPPED else [],
    ast.UnaryOp: lambda it: [it.operand] if isinstance(it.op, ast.Not) else [],
    ast.Constant: lambda it: _other(it.value),
    ast.If: _negated,
    ast.IfExp: _negated,
    ast.Return: lambda it: [] if isinstance(it.value, ast.Constant | None) else [ast.Return(ast.Constant(None))],
    ast.Expr: lambda it: [ast.Pass()] if isinstance(it.value, ast.Call | ast.YieldFrom) else [],
    ast.Raise: lambda _: [ast.Pass()],
    ast.AugAssign: lambda _: [ast.Pass()],
    ast.Continue: lambda _: [ast.Break()],
    ast.Break: lambda _: [ast.Continue()],
    ast.Call: lambda it: [
        ast.Call(it.func, it.args, [*it.keywords[:at], *it.keywords[at + 1 :]])
        for at, each in enumerate(it.keywords)
        if each.arg != "strict"
    ],
}


def is_words(parent: ast.AST, field: str, node: ast.AST) -> bool:
    """Say whether a node is a docstring, a log call, part of an f-string, a type, a decorator, an import or a check."""
    match node:
        case ast.Expr(ast.Constant()) | ast.Expr(ast.Call(ast.Attribute(ast.Name("log")))):
            return True
        case ast.Import() | ast.ImportFrom() | ast.If(ast.Name("TYPE_CHECKING")) | ast.keyword("strict"):
            return True
    literal = isinstance(parent, ast.JoinedStr) and isinstance(node, ast.Constant)
    return literal or field in ("annotation", "returns", "decorator_list", "format_spec")


def mutants_of(file: str) -> Iterator[Mutant]:
    """Yield every mutant of a file."""
    tree = ast.parse((ROOT / file).read_text())

    def walk(node: ast.AST, statement: Any, running: bool) -> Iterator[Mutant]:
        for field, value in ast.iter_fields(node):
            for at, child in enumerate(value if isinstance(value, list) else [value]):
                if not isinstance(child, ast.AST) or is_words(node, field, child):
                    continue
                own = child if isinstance(child, ast.stmt) else statement
                inside = running or (isinstance(node, ast.FunctionDef) and field == "body")
                for new in CHANGES.get(type(child), lambda _: [])(child):
                    ast.fix_missing_locations(ast.copy_location(new, child))
                    line = child.lineno if isinstance(child, ast.expr) else own.lineno
                    last = (child.end_lineno or line) if isinstance(child, ast.expr) else line
                    lines = {own.lineno, *range(line, last + 1)} if inside else None
                    change = "  ->  ".join(ast.unparse(each).partition("\n")[0] for each in (child, new))
                    make = partial(value.__setitem__, at) if isinstance(value, list) else partial(setattr, node, field)
                    yield Mutant(file, line, change, lines, tree, partial(make, new))
                yield from walk(child, own, inside)

    yield from walk(tree, None, False)


def functions(value: object) -> Iterator[types.FunctionType]:
    """Yield the plain functions in what a class or module holds under a name."""
    inner = (getattr(value, name, None) for name in ("fget", "func", "__func__", "__wrapped__"))
    yield from (each for each in (value, *inner) if isinstance(each, types.FunctionType))


def graft(old: Any, new: Any) -> None:
    """Put what differs in a mutated module or class into the one that is imported everywhere."""
    for name, value in list(vars(new).items()):
        now = vars(old).get(name)
        if now is value:
            continue
        if isinstance(now, type) and isinstance(value, type):
            graft(now, value)
        elif isinstance(now, DATA) and repr(now) != repr(value):
            for holder in (old, *(each for each in list(sys.modules.values()) if vars(each).get(name) is now)):
                setattr(holder, name, value)
        for there, here in zip(functions(now), functions(value), strict=False):
            there.__code__ = here.__code__
            if repr((there.__defaults__, there.__kwdefaults__)) != repr((here.__defaults__, here.__kwdefaults__)):
                there.__defaults__, there.__kwdefaults__ = here.__defaults__, here.__kwdefaults__


def in_parallel(works: Iterator[tuple[Any, Callable[[], object]]]) -> Iterator[tuple[Any, Any]]:
    """Do each piece of work in a process of its own; yield its name and answer, ``None`` where it gave none."""
    running: dict[int, tuple[Any, Path]] = {}
    while True:
        while len(running) < PROCESSES and (work := next(works, None)):
            folder = Path(tempfile.mkdtemp(prefix="mutants-"))
            if process := os.fork():
                running[process] = work[0], folder
                continue
            os.setsid()
            os.environ["PYTEST_DEBUG_TEMPROOT"] = tempfile.tempdir = str(folder)
            for number in (1, 2):
                os.dup2(os.open(os.devnull, os.O_WRONLY), number)
            with contextlib.suppress(BaseException):
                (folder / "answer").write_text(json.dumps(work[1]()))
            os._exit(0)
        if not running:
            return
        process, _ = os.wait()
        name, folder = running.pop(process)
        # What a test had started, and could not end.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)
        yield name, json.loads(answer.read_text()) if (answer := folder / "answer").exists() else None
        shutil.rmtree(folder, ignore_errors=True)


class Check:
    """Takes the place of pytest's own loop over the tests."""

    def __init__(self, files: dict[str, str], sample: int | None) -> None:
        self.files = files
        self.sample = sample
        self.failed = ""
        self.reached = True
        self.seconds: dict[str, float] = {}
        self.covering: dict[tuple[str, int], set[str]] = defaultdict(set)
        self.found: Counter[str] = Counter()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Let each test show which lines it executes."""
        for node in (node for item in items for node in item.listchain()):
            node.own_markers = [each for each in node.own_markers if each.name != "untraced"]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a failure."""
        self.failed = report.nodeid if report.failed else self.failed

    def run(self, items: list[pytest.Item]) -> Iterator[pytest.Item]:
        """Run tests, and yield each when it has run; end the process if one takes much longer than it did."""
        for item, following in zip_longest(items, items[1:]):
            self.failed = ""
            watch = threading.Timer(10 + 5 * self.seconds.get(item.nodeid, 100), os._exit, [0])
            watch.daemon = True
            watch.start()
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            watch.cancel()
            yield item

    def measure(self, items: list[pytest.Item]) -> tuple[dict[str, float], dict[str, dict[int, list[str]]]]:
        """Run tests as they are: how long each takes, and which of them execute a line."""
        sources = [str(ROOT / file) for file in self.files]
        measured = coverage.Coverage(data_file=None, config_file=False, include=sources)
        seconds, began = {}, time.monotonic()
        with measured.collect():
            measured.switch_context(items[0].nodeid)
            for item, following in zip(self.run(items), [*items[1:], items[0]], strict=True):
                if not self.failed:
                    seconds[item.nodeid] = time.monotonic() - began
                began = time.monotonic()
                measured.switch_context(following.nodeid)
        return seconds, {file: measured.get_data().contexts_by_lineno(str(ROOT / file)) for file in self.files}

    def attempt(self, mutant: Mutant, items: list[pytest.Item]) -> str:
        """Change the code, and return the first test that fails, empty if none does."""
        mutant.make()
        module = import_module(mutant.file.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
        mutated = types.ModuleType(module.__name__)
        try:
            exec(compile(mutant.tree, str(ROOT / mutant.file), "exec", dont_inherit=True), vars(mutated))  # noqa: S102
        except Exception:  # noqa: BLE001 - whatever it is, every test would fail
            return "import"
        graft(module, mutated)
        return next((self.failed for _ in self.run(items) if self.failed), "")

    def tests_of(self, mutant: Mutant, left: float) -> Iterator[str]:
        """Yield the tests that may notice, the likeliest first, for so many seconds."""
        lines = mutant.lines or {line for file, line in self.covering if file == mutant.file}
        able = set().union(*(self.covering[mutant.file, line] for line in lines)) & self.seconds.keys()
        own = f"/test_{Path(mutant.file).stem}"
        if mutant.lines is None:
            # What a dataclass generates has no line in the file.
            able |= {name for name in self.seconds if own in name}
        seen: Counter[str] = Counter()
        ranks = {}
        for name in sorted(able, key=lambda it: self.seconds[it] / (1 + self.found[it])):
            function = name.partition("[")[0]
            # The first of a table's rows, then the second ones: each function sees something else.
            ranks[name] = (own not in name, seen[function])
            seen[function] += 1
        for name in sorted(ranks, key=ranks.__getitem__):
            if left > 0:
                yield name
            left -= self.seconds[name]

    def measure_all(self, items: list[pytest.Item]) -> None:
        """Measure the tests of each file in a process of its own."""
        groups: dict[str, list[pytest.Item]] = defaultdict(list)
        for item in items:
            groups[item.nodeid.partition("::")[0]].append(item)
        for name, answer in in_parallel((name, partial(self.measure, group)) for name, group in groups.items()):
            if answer is None:
                print(f"{name} did not end")
                continue
            self.seconds |= answer[0]
            for file, lines in answer[1].items():
                for line, tests in lines.items():
                    self.covering[file, int(line)] |= set(tests)

    def survivors(self, mutants: list[Mutant], items: dict[str, pytest.Item], seconds: float) -> list[Mutant]:
        """Return the mutants that so many seconds of tests do not notice."""
        tries = (
            (it, partial(self.attempt, it, [items[name] for name in self.tests_of(it, seconds)])) for it in mutants
        )
        left = []
        for mutant, killer in in_parallel(tries):
            self.found[killer] += 1
            left += [mutant] if killer == "" else []
        return left

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Measure the tests, try every mutant, and print which survive."""
        self.measure_all(session.items)
        mutants = [mutant for file in self.files for mutant in mutants_of(file)]
        random.Random(1).shuffle(mutants)  # noqa: S311
        mutants = mutants[: self.sample]
        print(f"\n{len(mutants)} mutants, {len(self.seconds)} of {len(session.items)} tests", flush=True)
        made = Counter(mutant.file for mutant in mutants)
        for seconds in ROUNDS:
            mutants = self.survivors(mutants, {item.nodeid: item for item in session.items}, seconds)
        for mutant in sorted(mutants, key=attrgetter("file", "line")):
            print(f"survived: {mutant.file}:{mutant.line}: {mutant.change}")
        survived = Counter(mutant.file for mutant in mutants)
        for room in {self.files[file]: None for file in made}:
            files = [file for file in made if self.files[file] == room]
            shares = {
                name: 100 - 100 * sum(survived[it] for it in parts) / sum(made[it] for it in parts)
                for name, parts in (*((file, [file]) for file in files), (room, files))
            }
            for name, share in shares.items():
                print(f"{share:5.1f} % killed: {name}")
            self.reached = self.reached and shares[room] >= GOAL
        return True


def main() -> int:
    """Read the command line; the exit code is 1 where fewer mutants of a room are killed than the goal says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "rooms", nargs="*", default=ROOMS, help="files and folders of the package; default: %(default)s"
    )
    parser.add_argument("--sample", type=int, help="how many mutants to try, chosen at random; default: all")
    options = parser.parse_args()
    files: dict[str, str] = {}
    for room in options.rooms:
        path = ROOT / PACKAGE / room
        files |= {
            str(file.relative_to(ROOT)): room for file in (sorted(path.glob("*.py")) if path.is_dir() else [path])
        }
    check = Check(files, options.sample)
    ended = pytest.main([*TESTS, "-q", "-p", "no:cacheprovider", "-o", "timeout=0"], plugins=[check])
    return int(ended) or not check.reached


if __name__ == "__main__":
    sys.exit(main())

"""YAML with the line of each key, in which no key may stand twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from airflow_provider_anyformat.exceptions import AnyformatValueError

# Deeper than any key goes; past some 10,000 the quick loader ends the process.
_DEEPEST = 20


class SourceError(AnyformatValueError):
    """
    A file cannot be used.

    :param file: its path.
    :param line: the line, from 1, or ``None`` where the whole file is meant.
    :param problem: what is wrong, as a sentence.
    """

    def __init__(self, file: Path, line: int | None, problem: str) -> None:
        super().__init__(f"{file}{'' if line is None else f', line {line}'}: {problem}")
        self.line = line
        self.problem = problem


class Block(dict[str, Any]):
    """A mapping of the file: ``lines`` has the line of each key, ``line`` that of the first."""

    line: int
    lines: dict[str, int]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """PyYAML's safe loader, the quick one where there is one; dates stay text, mappings become :class:`Block`."""

    # A date is read where its field is known, so that a bad one is named with its line.
    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own form
        first: [(tag, expression) for tag, expression in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def block(self, node: yaml.MappingNode) -> Any:
        block = Block()
        yield block
        block.line, block.lines = node.start_mark.line + 1, {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be text", problem_mark=key.start_mark)
            if key.value in block.lines:
                first = f"the key {key.value} stands twice, first in line {block.lines[key.value]}"
                raise yaml.MarkedYAMLError(problem=first, problem_mark=key.start_mark)
            block.lines[key.value] = key.start_mark.line + 1
            block[key.value] = self.construct_object(value, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.block)


def _check_depth(data: bytes) -> None:
    depth = 0
    for event in yaml.parse(data, _Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise yaml.MarkedYAMLError(
                problem=f"it is nested deeper than {_DEEPEST} levels", problem_mark=event.start_mark
            )


def load(file: Path) -> Block:
    """
    Read a file whose top level is a mapping.

    :raises SourceError: it is missing, empty, not YAML, not a mapping, or a key stands twice.
    """
    try:
        data = file.read_bytes()
        _check_depth(data)
        content = yaml.load(data, _Loader)  # noqa: S506 - it is a safe loader
    except OSError as error:
        raise SourceError(file, None, f"it cannot be read: {error.strerror or error}") from None
    except yaml.MarkedYAMLError as error:
        line = None if error.problem_mark is None else error.problem_mark.line + 1
        raise SourceError(file, line, f"not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SourceError(file, None, f"not valid YAML: {' '.join(str(error).split())}") from None
    if content is None:
        raise SourceError(file, None, "the file is empty")
    if not isinstance(content, Block):
        raise SourceError(file, 1, f"it holds {type(content).__name__}, not keys with values")
    return content

"""Smell tests of how the source reads. They are no goals: do not split a thought to pass one."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from conftest import PROJECT

CLASS = 150  # lines
TERNARIES = 15  # in 1,000 lines
LONG_LINES = 0.01  # share of lines over 100 columns


def modules() -> Iterator[tuple[str, str]]:
    """Name and text of each module of the source."""
    for file in sorted((PROJECT / "src").rglob("*.py")):
        yield str(file.relative_to(PROJECT / "src")), file.read_text(encoding="utf-8")


def test_no_class_is_long() -> None:
    long = []
    for name, text in modules():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef) and node.end_lineno is not None:
                lines = node.end_lineno - node.lineno + 1
                if lines > CLASS:
                    long.append(f"{name}: {node.name} has {lines} lines")
    assert long == []


def test_conditional_expressions_are_rare() -> None:
    lines = ternaries = 0
    for _, text in modules():
        lines += len(text.splitlines())
        ternaries += sum(isinstance(node, ast.IfExp) for node in ast.walk(ast.parse(text)))
    assert lines > 10_000, "the source was found"
    assert 1000 * ternaries / lines <= TERNARIES


def test_a_comprehension_has_at_most_two_loops_and_one_condition() -> None:
    dense = []
    for name, text in modules():
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
                continue
            conditions = sum(len(each.ifs) for each in node.generators)
            if len(node.generators) > 2 or conditions > 1:
                dense.append(f"{name}:{node.lineno}")
    assert dense == []


def test_lines_are_short() -> None:
    lines = [line for _, text in modules() for line in text.splitlines()]
    long = [line for line in lines if len(line) > 100]
    assert len(long) / len(lines) <= LONG_LINES


def test_a_class_name_stands_once() -> None:
    places: dict[str, list[str]] = {}
    for name, text in modules():
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(name)
    assert {name: where for name, where in places.items() if len(where) > 1} == {}

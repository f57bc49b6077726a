"""How many lines of Python or YAML a program has, without blank lines, comments and docstrings.

uv run python -m benchmarks.lines FILE...     one sum for all files of a command
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path


def python_lines(text: str) -> int:
    documented: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            continue
        if ast.get_docstring(node):
            docstring = node.body[0]
            documented |= set(range(docstring.lineno, (docstring.end_lineno or 0) + 1))
    kept = [line for n, line in enumerate(text.splitlines(), 1) if n not in documented]
    return _code_lines(kept)


def yaml_lines(text: str) -> int:
    return _code_lines(text.splitlines())


def _code_lines(lines: list[str]) -> int:
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in lines)


def lines(file: Path) -> int:
    text = file.read_text(encoding="utf-8")
    return python_lines(text) if file.suffix == ".py" else yaml_lines(text)


if __name__ == "__main__":
    print(sum(lines(Path(name)) for name in sys.argv[1:]))

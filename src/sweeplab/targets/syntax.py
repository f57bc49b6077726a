"""What the code of a module says: what it imports, which names it binds; and the code alone, without comments."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

ANY = "**"
"""In the place of a module's name: any module of the package."""

_BY_NAME = frozenset({"import_module", "__import__", "run_module", "get_class", "get_method", "get_object"})
_IMPORTING = frozenset({"import_module", "__import__", "run_module"})
_NAME_ARGUMENTS = frozenset({"name", "mod_name", "path"})  # of these functions
_DOTTED = re.compile(r"[^\W\d]\w*(?:[.:][^\W\d]\w*)+")

Import = tuple[int, str]
"""How many dots it begins with (0: an absolute name), and the dotted name."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file: its code without comments and docstrings, and what it says about names."""

    text: str
    imports: list[Import] = field(default_factory=list)
    words: tuple[str, ...] = ()  # texts that may be the dotted names of code, as a config has them
    names: frozenset[str] = frozenset()  # bound anywhere in it; `*` for what cannot be told
    exports: tuple[str, ...] = ()  # `__all__`, which `from package import *` imports


def source(content: bytes) -> Source:
    """Read a module's code."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):  # importing it will say so
        return Source(content.decode(errors="replace"), names=frozenset("*"))
    for item in ast.walk(tree):
        _drop_bare_texts(item)
    imports, words = list(dict.fromkeys(_imports(tree))), dict.fromkeys(_words(tree))
    return Source(ast.unparse(tree), imports, tuple(words), frozenset(_names(tree)), tuple(_exports(tree)))


def _executed(tree: ast.AST) -> Iterator[ast.AST]:
    """All parts of the code but what is for type checkers only."""
    waiting = [tree]
    while waiting:
        item = waiting.pop()
        yield item
        if isinstance(item, ast.If) and _identifier(item.test) == "TYPE_CHECKING":
            waiting += item.orelse
        else:
            waiting += ast.iter_child_nodes(item)


def _identifier(item: ast.AST) -> str:
    """`b` of the expressions `b` and `a.b`; '' of others."""
    if isinstance(item, ast.Attribute):
        return item.attr
    return item.id if isinstance(item, ast.Name) else ""


# --- Imports ----------------------------------------------------------------------------------------------------------


def _imports(tree: ast.Module) -> Iterator[Import]:
    called_as = _aliases(tree)
    for item in _executed(tree):
        if isinstance(item, ast.Import):
            yield from ((0, alias.name) for alias in item.names)
        elif isinstance(item, ast.ImportFrom):
            # `from a import b`: b may be a module of a. If it is none, looking for a.b still finds a.
            yield from ((item.level, f"{item.module or ''}.{alias.name}".strip(".")) for alias in item.names)
        elif isinstance(item, ast.Call):
            name = _identifier(item.func)
            yield from _called(item, called_as.get(name, name))


def _aliases(tree: ast.Module) -> dict[str, str]:
    """`im` -> `import_module` after `from importlib import import_module as im`."""
    names = [alias for item in _executed(tree) if isinstance(item, ast.ImportFrom) for alias in item.names]
    return {alias.asname: alias.name for alias in names if alias.asname}


def _called(call: ast.Call, function: str) -> Iterator[Import]:
    """What a call imports: `import_module("mine.nets")`, `import_module(f".{name}", __package__)`."""
    if function not in _BY_NAME:
        return
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    path = next(iter([*call.args, *(given[name] for name in given if name in _NAME_ARGUMENTS)]), None)
    if path is None:
        return
    package = _text(given.get("package", call.args[1] if len(call.args) > 1 else None))
    text = _text(path)
    if text is not None:
        found = [text, *(f"{text}.{name}" for name in _texts(given.get("fromlist")))]
    elif function in _IMPORTING:
        found = [f"{_beginning(path).rpartition('.')[0] or '.'}.{ANY}".replace("..", ".")]
    else:
        found = []
    for name in found:
        level = len(name) - len(name.lstrip("."))
        yield (0, package + name) if level == 1 and package else (level, name.lstrip("."))


def _beginning(computed: ast.AST) -> str:
    """The text with which a computed name begins; '' if that is not written there."""
    while True:
        if isinstance(computed, ast.JoinedStr) and computed.values:
            computed = computed.values[0]
        elif isinstance(computed, ast.BinOp):  # + or %
            computed = computed.left
        elif isinstance(computed, ast.Call) and isinstance(computed.func, ast.Attribute):  # "p.{}".format(name)
            computed = computed.func.value
        else:
            return re.split(r"[%{]", _text(computed) or "")[0]


def _text(item: ast.AST | None) -> str | None:
    return item.value if isinstance(item, ast.Constant) and isinstance(item.value, str) else None


def _texts(item: ast.AST | None) -> list[str]:
    found = [_text(each) for each in ast.walk(item)] if item is not None else []
    return [each for each in found if each is not None]


def _words(tree: ast.Module) -> Iterator[str]:
    """`mine.act` of `instantiate({"_target_": "mine.act"})`; `mine:act` is another way to write it."""
    for text in (_text(item) for item in _executed(tree)):
        if text is not None and len(text) < 1000 and _DOTTED.fullmatch(text):
            yield text.replace(":", ".", 1)


# --- Names ------------------------------------------------------------------------------------------------------------


def _names(tree: ast.Module) -> Iterator[str]:
    """What the code binds, at any depth; `*` for what another module, or `globals()`, may bring."""
    for item in ast.walk(tree):
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield item.name
        elif isinstance(item, ast.Import | ast.ImportFrom):
            yield from ((alias.asname or alias.name).partition(".")[0] for alias in item.names)
        elif isinstance(item, ast.Name) and isinstance(item.ctx, ast.Store):
            yield item.id
        elif _binds_at_will(item):
            yield "*"


def _binds_at_will(item: ast.AST) -> bool:
    """Whether it may give the module any name: `globals()["x"] = 1`, `setattr(sys.modules[__name__], "x", 1)`."""
    if isinstance(item, ast.Call):
        return _identifier(item.func) in ("globals", "exec")
    return isinstance(item, ast.Attribute) and item.attr == "modules"


def _exports(tree: ast.Module) -> Iterator[str]:
    for item in tree.body:
        targets = item.targets if isinstance(item, ast.Assign) else [getattr(item, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            yield from _texts(item)


def _drop_bare_texts(item: ast.AST) -> None:
    """Take out docstrings, and texts below attributes that are meant for readers, too."""
    for part in ("body", "orelse", "finalbody"):
        statements = getattr(item, part, None)
        if isinstance(statements, list):
            kept = [each for each in statements if not (isinstance(each, ast.Expr) and _text(each.value) is not None)]
            empty = part == "body" and not kept and not isinstance(item, ast.Module)
            statements[:] = [ast.Pass()] if empty else kept

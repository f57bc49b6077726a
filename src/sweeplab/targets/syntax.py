"""Read the code of a module: what it imports, which names it binds, and the code alone, without
comments.
"""

from __future__ import annotations

import ast
import copy
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

ANY = "**"
"""In the place of a module's name: any module of the package."""

_IMPORTING = frozenset({"import_module", "__import__", "run_module"})
_BY_NAME = _IMPORTING | {"get_class", "get_method", "get_object"}
_NAME_ARGUMENTS = frozenset({"name", "mod_name", "path"})  # of these functions
_DOTTED = re.compile(r"[^\W\d]\w*(?:[.:][^\W\d]\w*)+")
_QUOTES = ("'", '"', '"""', "'''")
_LONGEST = 1000  # characters of a text that may be a dotted name

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
    """Read a module's code; of code that cannot be parsed, all names are unknown."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):  # importing it will say so
        return Source(content.decode(errors="replace"), names=frozenset("*"))
    for node in ast.walk(tree):
        _drop_bare_texts(node)
    return Source(
        _unparsed(tree),
        imports=list(dict.fromkeys(_imports(tree))),
        words=tuple(dict.fromkeys(_words(tree))),
        names=frozenset(_names(tree)),
        exports=tuple(_exports(tree)),
    )


def _unparsed(tree: ast.Module) -> str:
    """Write the code as Python 3.11 does, so that another Python gives no other fingerprint."""
    if sys.version_info < (3, 12):
        return ast.unparse(tree)
    return ast.unparse(_FormattedTexts().visit(copy.deepcopy(tree)))


class _FormattedTexts(ast.NodeTransformer):
    """Write f-strings in quotes that do not occur in them, as they were before Python 3.12."""

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.expr:
        self.generic_visit(node)
        text = ast.unparse(node).removeprefix("f")
        quote = text[:3] if text[:3] in _QUOTES else text[0]
        body = text.removeprefix(quote).removesuffix(quote)
        fitting = [quote for quote in _QUOTES if quote not in body]
        for part in node.values:
            ending = (_text(part) or "")[-1:]  # the quote that a text ends in comes last
            fitting.sort(key=lambda quote: quote[0] == ending)
        return ast.Name(f"f{fitting[0]}{body}{fitting[0]}") if fitting else node

    def visit_FormattedValue(self, node: ast.FormattedValue) -> ast.FormattedValue:
        node.value = self.visit(node.value)
        if isinstance(node.format_spec, ast.JoinedStr):  # which stands in no quotes of its own
            self.generic_visit(node.format_spec)
        return node


def _drop_bare_texts(node: ast.AST) -> None:
    """Take out docstrings, and texts below attributes, which are meant for readers, too."""
    for part in ("body", "orelse", "finalbody"):
        statements = getattr(node, part, None)
        if not isinstance(statements, list):
            continue
        statements[:] = [statement for statement in statements if not _is_bare_text(statement)]
        if part == "body" and not statements and not isinstance(node, ast.Module):
            statements.append(ast.Pass())


def _is_bare_text(statement: ast.AST) -> bool:
    return isinstance(statement, ast.Expr) and _text(statement.value) is not None


def _executed(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield all parts of the code, except for what only type checkers read."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and _identifier(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)


def _identifier(node: ast.AST) -> str:
    """Return `b` of the expressions `b` and `a.b`; '' of others."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _text(node: ast.AST | None) -> str | None:
    """Return the text that a constant is; None of other expressions."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return None


def _texts(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        text = _text(part)
        if text is not None:
            yield text


# --- Imports --------------------------------------------------------------------------------------


def _imports(tree: ast.Module) -> Iterator[Import]:
    aliases = _aliases(tree)
    for node in _executed(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield 0, alias.name
        elif isinstance(node, ast.ImportFrom):
            # `from a import b`: b may be a module of a. If it is none, looking for a.b still finds
            # a.
            for alias in node.names:
                yield node.level, f"{node.module or ''}.{alias.name}".strip(".")
        elif isinstance(node, ast.Call):
            name = _identifier(node.func)
            yield from _imported_by_call(node, aliases.get(name, name))


def _aliases(tree: ast.Module) -> dict[str, str]:
    """Return `im` -> `import_module` after `from importlib import import_module as im`."""
    aliases: dict[str, str] = {}
    for node in _executed(tree):
        if isinstance(node, ast.ImportFrom):
            aliases |= {alias.asname: alias.name for alias in node.names if alias.asname}
    return aliases


def _imported_by_call(call: ast.Call, function: str) -> Iterator[Import]:
    """Yield what a call imports: `import_module("mine.nets")`, `import_module(f".{name}",
    __package__)`.
    """
    if function not in _BY_NAME:
        return
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    candidates = list(call.args)
    candidates += [value for name, value in keywords.items() if name in _NAME_ARGUMENTS]
    if not candidates:
        return
    path = candidates[0]
    package = _text(keywords.get("package", call.args[1] if len(call.args) > 1 else None))
    text = _text(path)
    names: list[str] = []
    if text is not None:
        names = [text]
        if "fromlist" in keywords:
            names += [f"{text}.{name}" for name in _texts(keywords["fromlist"])]
    elif function in _IMPORTING:
        folder = _beginning(path).rpartition(".")[0] or "."
        names = [f"{folder}.{ANY}".replace("..", ".")]
    for name in names:
        level = len(name) - len(name.lstrip("."))
        if level == 1 and package:
            yield 0, package + name
        else:
            yield level, name.lstrip(".")


def _beginning(computed: ast.AST) -> str:
    """Return the text with which a computed name begins; '' if that is not written there."""
    while True:
        if isinstance(computed, ast.JoinedStr) and computed.values:
            computed = computed.values[0]
        elif isinstance(computed, ast.BinOp):  # + or %
            computed = computed.left
        elif isinstance(computed, ast.Call) and isinstance(computed.func, ast.Attribute):
            computed = computed.func.value  # "p.{}".format(name)
        else:
            return re.split(r"[%{]", _text(computed) or "")[0]


def _words(tree: ast.Module) -> Iterator[str]:
    """Yield `mine.act` of `instantiate({"_target_": "mine.act"})`; `mine:act` is another way to
    write it.
    """
    for node in _executed(tree):
        text = _text(node)
        if text is not None and len(text) < _LONGEST and _DOTTED.fullmatch(text):
            yield text.replace(":", ".", 1)


# --- Names ----------------------------------------------------------------------------------------


def _names(tree: ast.Module) -> Iterator[str]:
    """Yield what the code binds, at any depth; `*` for what another module, or `globals()`, may
    bring.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                yield (alias.asname or alias.name).partition(".")[0]
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif _may_bind_any_name(node):
            yield "*"


def _may_bind_any_name(node: ast.AST) -> bool:
    """Whether it may give the module any name: `globals()["x"] = 1`,
    `setattr(sys.modules[__name__], "x", 1)`.
    """
    if isinstance(node, ast.Call):
        return _identifier(node.func) in ("globals", "exec")
    return isinstance(node, ast.Attribute) and node.attr == "modules"


def _exports(tree: ast.Module) -> Iterator[str]:
    """Yield the names in `__all__`."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            yield from _texts(node)

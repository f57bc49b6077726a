"""Small expressions over a config, as `model.hidden < 512 or not model.batch_norm`: read safely, nothing is run."""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from sweeplab.errors import UserError, did_you_mean

LONGEST, LARGEST = 1000, 200  # characters; syntax nodes

WORDS = {"true": True, "false": False, "null": None}
EQUALITY: dict[type, Callable[[Any, Any], bool]] = {ast.Eq: operator.eq, ast.NotEq: operator.ne}
ORDER: dict[type, Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
NODES = (
    ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.Compare, ast.In, ast.NotIn,
    ast.BinOp, ast.Constant, ast.Name, ast.Attribute, ast.List, ast.Load, *EQUALITY, *ORDER, *ARITHMETIC,
)  # fmt: skip
GRAMMAR = "and, or, not, ==, !=, <, <=, >, >=, in, + - * /, numbers, 'texts', true, false, null, [lists] and keys"


class Expression:
    """An expression that is true or false of a config. `key` is where it stands, for messages."""

    def __init__(self, text: str, body: ast.expr, key: str) -> None:
        self._text, self._body, self._key = text, body, key

    @classmethod
    @lru_cache(maxsize=64)
    def read(cls, text: str, key: str = "where") -> Expression:
        """Raises UserError that shows the place for what is no such expression, or too long."""
        text = " ".join(text.splitlines()).strip()  # as YAML's folded texts have them
        if len(text) > LONGEST:
            raise UserError(f"{key}: has {len(text)} characters; at most {LONGEST} are read")
        try:
            with warnings.catch_warnings(action="ignore"):
                body = ast.parse(text, mode="eval").body
        except SyntaxError as error:
            raise _pointing(f"{key}: cannot be read: {error.msg}", text, (error.offset or len(text) + 1) - 1) from None
        except (ValueError, RecursionError, MemoryError):  # a null byte, too many brackets
            raise UserError(f"{key}: cannot be read; only these can be used here: {GRAMMAR}") from None
        nodes = list(ast.walk(body))
        if len(nodes) > LARGEST:
            raise UserError(f"{key}: has {len(nodes)} parts; at most {LARGEST} are read")
        for parent in nodes:
            for node in (parent, *ast.iter_child_nodes(parent)):
                if not _is_known(node):
                    at = getattr(node, "col_offset", getattr(parent, "col_offset", 0))  # in bytes; signs have none
                    place = len(text.encode()[:at].decode())
                    raise _pointing(f"{key}: only these can be used here: {GRAMMAR}", text, place)
        return cls(text, body, key)

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether it is true; `values` are dotted names with plain values. `and` and `or` look no further than needed.

        Raises UserError for a name that is not there, and for values that do not go together.
        """
        return self._truth(self._body, values)

    def _truth(self, node: ast.expr, values: Mapping[str, Any]) -> bool:
        found = self._value(node, values)
        if not isinstance(found, bool):
            raise self._wrong(node, f"{self._shown(node, found)}, not true or false; compare it with something")
        return found

    def _value(self, node: ast.expr, values: Mapping[str, Any]) -> Any:
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name() | ast.Attribute():
                return self._named(node, values)
            case ast.List(elts=elements):
                return [self._value(each, values) for each in elements]
            case ast.BoolOp(op=ast.And(), values=parts):
                return all(self._truth(each, values) for each in parts)
            case ast.BoolOp(values=parts):
                return any(self._truth(each, values) for each in parts)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return not self._truth(operand, values)
            case ast.UnaryOp(operand=operand):
                return -self._number(operand, values)
            case ast.BinOp(left=left, op=sign, right=right):
                return self._computed(node, sign, self._number(left, values), self._number(right, values))
            case ast.Compare():
                return self._compared(node, values)
        raise AssertionError(f"{type(node)} was read")

    def _named(self, node: ast.expr, values: Mapping[str, Any]) -> Any:
        name = ast.unparse(node)
        if name in values:
            return values[name]
        if name in WORDS:
            return WORDS[name]
        quoted = f"; a text needs quotes: '{name}'" if isinstance(node, ast.Name) else ""
        raise self._wrong(node, f"no such key{did_you_mean(name, values)}{quoted}")

    def _number(self, node: ast.expr, values: Mapping[str, Any]) -> Any:
        found = self._value(node, values)
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise self._wrong(node, f"{self._shown(node, found)}, not a number")
        return found

    def _computed(self, node: ast.expr, sign: ast.operator, left: Any, right: Any) -> Any:
        try:
            return ARITHMETIC[type(sign)](left, right)
        except ArithmeticError as error:
            raise self._wrong(node, str(error)) from None

    def _compared(self, node: ast.Compare, values: Mapping[str, Any]) -> bool:
        """A chain, `0 < a < 1`, holds if each of its links does."""
        left = node.left
        for sign, right in zip(node.ops, node.comparators, strict=True):
            if not self._link(node, (left, self._value(left, values)), sign, (right, self._value(right, values))):
                return False
            left = right
        return True

    def _link(
        self, whole: ast.Compare, left: tuple[ast.expr, Any], sign: ast.cmpop, right: tuple[ast.expr, Any]
    ) -> bool:
        a, b = left[1], right[1]
        if type(sign) in EQUALITY:
            return EQUALITY[type(sign)](a, b)
        if isinstance(sign, ast.In | ast.NotIn):
            if not (isinstance(b, list) or (isinstance(a, str) and isinstance(b, str))):
                raise self._wrong(whole, f"{self._shown(*right)}; `in` looks into a list, or for a text in a text")
            return (a in b) == isinstance(sign, ast.In)
        if _kind(a) != _kind(b) or _kind(a) not in ("a number", "a text"):
            odd = right if _kind(a) == "a number" else left
            raise self._wrong(whole, f"{self._shown(*odd)}{_hint(odd[1], ast.unparse(odd[0]))}")
        return ORDER[type(sign)](a, b)

    def _shown(self, node: ast.expr, value: Any) -> str:
        source, typed, kind = self._source(node), _typed(value), _kind(value)
        return (
            f"{source} is {kind}" if isinstance(node, ast.Constant) or value is None else f"{source} is {typed}, {kind}"
        )

    def _source(self, node: ast.expr) -> str:
        return ast.get_source_segment(self._text, node) or ast.unparse(node)

    def _wrong(self, node: ast.expr, why: str) -> UserError:
        return UserError(f"{self._key}: {self._source(node)}: {why}")


def _is_known(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return node.value is None or isinstance(node.value, bool | int | float | str)
    if isinstance(node, ast.Attribute):  # the parts of a key, nothing else
        return isinstance(node.value, ast.Name | ast.Attribute)
    return isinstance(node, NODES)


def _kind(value: object) -> str:
    kinds = {int: "a number", float: "a number", str: "a text", list: "a list", bool: "a yes or no"}
    return kinds.get(type(value), "null")


def _typed(value: Any) -> str:
    """As one would type it."""
    if isinstance(value, list):
        return f"[{', '.join(map(_typed, value))}]"
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else "null" if value is None else str(value)


def _hint(value: Any, name: str) -> str:
    """How to compare what has no order."""
    if isinstance(value, list):
        return f": it has no size to compare; use == or in, as in {name} in [392, 256]"
    if value is None:
        return f"; {name} != null and ... leaves such out"
    return "; only numbers, and texts, are smaller or larger than one another"


def _pointing(message: str, text: str, place: int) -> UserError:
    return UserError(f"{message}\n  {text}\n  {' ' * min(place, len(text))}^")

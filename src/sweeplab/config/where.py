"""Conditions on a config, as `model.hidden < 512 or not model.batch_norm`: evaluated safely, no
code is run.
"""

from __future__ import annotations

import ast
import operator
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from itertools import product
from typing import Any

from sweeplab.config.text import from_text, yaml_str
from sweeplab.errors import UserError, did_you_mean

LONGEST = 1000  # characters
LARGEST = 200  # syntax nodes

WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
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
    ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.Compare,
    ast.In, ast.NotIn, ast.BinOp, ast.Constant, ast.Name, ast.Attribute, ast.List, ast.Load,
    *EQUALITY, *ORDER, *ARITHMETIC,
)  # fmt: skip
OPERATORS = "and, or, not, ==, !=, <, <=, >, >=, in, + - * /"
GRAMMAR = f"{OPERATORS}, numbers, 'texts', true, false, null, [lists] and keys"
NUMBER, TEXT, YES_OR_NO = "a number", "a text", "a yes or no"
KINDS: dict[type, str] = {int: NUMBER, float: NUMBER, str: TEXT, list: "a list", bool: YES_OR_NO}


class Condition:
    """A condition that holds for a config or not; messages name the `key` that gives it."""

    def __init__(self, text: str, body: ast.expr, key: str) -> None:
        self._text = text
        self._body = body
        self._key = key

    @classmethod
    @lru_cache(maxsize=64)
    def read(cls, text: str, key: str = "where") -> Condition:
        """Parse a condition. Raises UserError that points to what is not allowed, or says that it
        is too long.
        """
        text = " ".join(text.splitlines()).strip()  # YAML's folded texts have line ends
        if len(text) > LONGEST:
            raise UserError(f"{key}: has {len(text)} characters; at most {LONGEST} are read")
        body = _parse(text, key)
        nodes = list(ast.walk(body))
        if len(nodes) > LARGEST:
            raise UserError(f"{key}: has {len(nodes)} parts; at most {LARGEST} are read")
        for parent in nodes:
            for node in (parent, *ast.iter_child_nodes(parent)):
                if not _is_allowed(node):
                    # Operators have no place of their own. The offset is in bytes.
                    offset = getattr(node, "col_offset", getattr(parent, "col_offset", 0))
                    column = len(text.encode()[:offset].decode())
                    raise _pointing(f"{key}: only these can be used here: {GRAMMAR}", text, column)
        return cls(text, body, key)

    @property
    def keys(self) -> list[str]:
        """The keys that the condition looks at."""
        return [ast.unparse(node) for node in _keys_in(self._body)]

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether the condition is true of `values`: dotted keys with plain values.

        `and` and `or` evaluate no more than they need. Raises UserError for a key that is missing,
        and for values that cannot be compared or computed with.
        """
        return self._truth(self._body, values)

    def _truth(self, node: ast.expr, values: Mapping[str, Any]) -> bool:
        value = self._value(node, values)
        if not isinstance(value, bool):
            reason = "not true or false; compare it with something"
            raise self._error(node, f"{_description(self._text, node, value)}, {reason}")
        return value

    def _value(self, node: ast.expr, values: Mapping[str, Any]) -> Any:
        """Evaluate an expression of the kinds in NODES."""
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name() | ast.Attribute():
                return self._lookup(node, values)
            case ast.List(elts=elements):
                return [self._value(element, values) for element in elements]
            case ast.BoolOp(op=ast.And(), values=operands):
                return all(self._truth(operand, values) for operand in operands)
            case ast.BoolOp(values=operands):
                return any(self._truth(operand, values) for operand in operands)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return not self._truth(operand, values)
            case ast.UnaryOp(operand=operand):
                return -self._number(operand, values)
            case ast.BinOp():
                return self._calculate(node, values)
            case ast.Compare():
                return self._comparison(node, values)
        raise AssertionError(f"{type(node)} was read")

    def _lookup(self, node: ast.expr, values: Mapping[str, Any]) -> Any:
        name = ast.unparse(node)
        if name in values:
            return values[name]
        if name in WORDS:
            return WORDS[name]
        advice = did_you_mean(name, values)
        if isinstance(node, ast.Name):
            advice += f"; a text needs quotes: '{name}'"
        raise self._error(node, f"no such key{advice}")

    def _number(self, node: ast.expr, values: Mapping[str, Any]) -> Any:
        value = self._value(node, values)
        if _kind(value) != NUMBER:
            raise self._error(node, f"{_description(self._text, node, value)}, not a number")
        return value

    def _calculate(self, node: ast.BinOp, values: Mapping[str, Any]) -> Any:
        name = ast.unparse(node).replace(" ", "")
        if name in values:  # a metric, valid/accuracy, which is read as a division
            return values[name]
        if isinstance(node.left, ast.Name) and node.left.id not in values:
            raise self._error(node, f"no such key{did_you_mean(name, values)}")
        left, right = self._number(node.left, values), self._number(node.right, values)
        try:
            return ARITHMETIC[type(node.op)](left, right)
        except ArithmeticError as error:
            raise self._error(node, str(error)) from None

    def _comparison(self, node: ast.Compare, values: Mapping[str, Any]) -> bool:
        """Evaluate a chain such as `0 < a < 1`, which holds if each of its links does."""
        left = node.left
        for sign, right in zip(node.ops, node.comparators, strict=True):
            if not self._link(node, left, sign, right, values):
                return False
            left = right
        return True

    def _link(
        self,
        chain: ast.Compare,
        left: ast.expr,
        sign: ast.cmpop,
        right: ast.expr,
        values: Mapping[str, Any],
    ) -> bool:
        """Compare two operands of a chain by the sign between them."""
        a, b = self._value(left, values), self._value(right, values)
        self._ensure_same_kind(chain, (left, a), (right, b))
        if type(sign) in EQUALITY:
            return EQUALITY[type(sign)](a, b)
        if isinstance(sign, ast.In | ast.NotIn):
            if not isinstance(b, list) and {_kind(a), _kind(b)} != {TEXT}:
                advice = "`in` looks into a list, or for a text in a text"
                raise self._error(chain, f"{_description(self._text, right, b)}; {advice}")
            return (a in b) == isinstance(sign, ast.In)
        kind = _kind(a)
        if kind == _kind(b) and kind in (NUMBER, TEXT):
            return ORDER[type(sign)](a, b)
        if kind == NUMBER:
            raise self._error(
                chain, _description(self._text, right, b) + _advice(b, ast.unparse(right))
            )
        raise self._error(chain, _description(self._text, left, a) + _advice(a, ast.unparse(left)))

    def _ensure_same_kind(self, chain: ast.Compare, *sides: tuple[ast.expr, Any]) -> None:
        """Raise UserError where quotes keep two values from being equal: `seed == "0"`."""
        if not _differ_in_quotes(*(value for _, value in sides)):
            return
        is_quoted = any(re.search("['\"]", _source(self._text, node)) for node, _ in sides)
        advice = "leave out the quotes" if is_quoted else "a text is given in quotes"
        described = ", and ".join(_description(self._text, *side) for side in sides)
        raise self._error(chain, f"{described}; {advice}")

    def _error(self, node: ast.expr, reason: str) -> UserError:
        return UserError(f"{self._key}: {_source(self._text, node)}: {reason}")


def _keys_in(node: ast.AST) -> Iterator[ast.expr]:
    """Yield the names in an expression, each with its dots."""
    if isinstance(node, ast.Name | ast.Attribute):
        yield node
        return
    for child in ast.iter_child_nodes(node):
        yield from _keys_in(child)


def _source(text: str, node: ast.expr) -> str:
    return ast.get_source_segment(text, node) or ast.unparse(node)


def _parse(text: str, key: str) -> ast.expr:
    try:
        with warnings.catch_warnings(action="ignore"):
            return ast.parse(text, mode="eval").body
    except SyntaxError as error:
        column = (error.offset or len(text) + 1) - 1
        is_single = text.startswith("=", column) and not text.startswith("==", column)
        reason = "two values are compared by ==" if is_single else error.msg
        raise _pointing(f"{key}: cannot be read: {reason}", text, column) from None
    except (ValueError, RecursionError, MemoryError):  # a null byte, too many brackets
        raise UserError(f"{key}: cannot be read; only these can be used here: {GRAMMAR}") from None


def _is_allowed(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return node.value is None or isinstance(node.value, bool | int | float | str)
    if isinstance(node, ast.Attribute):  # the parts of a key, nothing else
        return isinstance(node.value, ast.Name | ast.Attribute)
    return isinstance(node, NODES)


def _kind(value: object) -> str:
    return KINDS.get(type(value), "null")


def _description(text: str, node: ast.expr, value: Any) -> str:
    """Return `model.hidden is [392, 196], a list`."""
    kind = _kind(value)
    if isinstance(node, ast.Constant | ast.List) or value is None:
        return f"{_source(text, node)} is {kind}"
    return f"{_source(text, node)} is {yaml_str(value)}, {kind}"


def _differ_in_quotes(a: Any, b: Any) -> bool:
    """Whether two values, or items of lists, are a number, or a yes or no, and one in quotes."""
    items = a if isinstance(a, list) else [a]
    others = b if isinstance(b, list) else [b]
    return a not in others and any(_is_one_quoted(*pair) for pair in product(items, others))


def _is_one_quoted(a: Any, b: Any) -> bool:
    if {_kind(a), _kind(b)} not in ({NUMBER, TEXT}, {YES_OR_NO, TEXT}):
        return False
    text, value = (a, b) if isinstance(a, str) else (b, a)
    return _kind(from_text(text)) == _kind(value)


def _advice(value: Any, name: str) -> str:
    """Say how to compare a value that has no order."""
    if isinstance(value, list):
        return f": it has no size to compare; use == or in, as in {name} in [392, 256]"
    if value is None:
        return f"; {name} != null and ... leaves such out"
    return "; only numbers, and texts, are smaller or larger than one another"


def _pointing(message: str, text: str, column: int) -> UserError:
    """Return an error that shows the text with a caret below the column."""
    return UserError(f"{message}\n  {text}\n  {' ' * min(column, len(text))}^")

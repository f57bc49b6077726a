"""Small expressions: what they mean, and that nothing else is read."""

from __future__ import annotations

import pytest

from sweeplab.config.where import Condition
from sweeplab.errors import UserError

VALUES = {
    "model.hidden": [392, 196],
    "model.batch_norm": True,
    "model.dropout": None,
    "model.activation": "relu",
    "optimizer.lr": 0.001,
    "trainer.epochs": 20,
    "seed": 0,
    "data.version": "3",
}
MOST_PARTS = f"{' + '.join(['a'] * 25)} >= 1 and {' + '.join(['a'] * 24)} >= 1"  # 200 of them


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("trainer.epochs < 21", True),
        ("trainer.epochs <= 19", False),
        ("trainer.epochs > 19 and seed == 0", True),
        ("0 < optimizer.lr < 0.01 < trainer.epochs", True),
        ("0 < optimizer.lr < 0.0001 < trainer.epochs", False),
        ("not model.batch_norm or seed >= 1", False),
        ("model.hidden == [392, 196]", True),
        ("model.hidden == 392", False),
        ("model.hidden in [392, [392, 196]]", True),
        ("196 in model.hidden", True),
        ("model.activation not in ['tanh', 'gelu']", True),
        ("'el' in model.activation", True),
        ("model.activation < 'tanh'", True),
        ("model.dropout == null and model.dropout == None", True),
        ("model.dropout != null and model.dropout < 0.5", False),
        (
            "model.batch_norm == true and model.batch_norm == True and model.batch_norm != false",
            True,
        ),
        ("trainer.epochs * optimizer.lr - -1 + 2 / 4 == 1.52", True),
        ("1 - 2 - 3 == -4", True),
        ("trainer.epochs >\n  19\n", True),
        ("seed == 1 or true", True),
        ("seed == 0 or nothing.there", True),
        ("seed == 1 and nothing.there", False),
        ("seed == 'auto' or data.version == 'v2'", False),
        ("seed in ['1', 0]", True),
        ("data.version == '3'", True),
    ],
)
def test_it_says_what_it_means(text: str, holds: bool) -> None:
    assert Condition.read(text).holds(VALUES) is holds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model.hidden < 512", "where: model.hidden < 512: model.hidden is [392, 196], a list: it has no size to compare; use == or in, as in model.hidden in [392, 256]"),
        ("512 > model.hidden", "where: 512 > model.hidden: model.hidden is [392, 196], a list: it has no size to compare; use == or in, as in model.hidden in [392, 256]"),
        ("model.dropout < 0.5", "where: model.dropout < 0.5: model.dropout is null; model.dropout != null and ... leaves such out"),
        ("model.activation < 3", "where: model.activation < 3: model.activation is relu, a text; only numbers, and texts, are smaller or larger than one another"),
        ("model.batch_norm < 2", "where: model.batch_norm < 2: model.batch_norm is true, a yes or no; only numbers, and texts, are smaller or larger than one another"),
        ("model.hiden == 3", "where: model.hiden: no such key; did you mean 'model.hidden'?"),
        ("model.activation == relu", "where: relu: no such key; valid: data.version, model.activation, model.batch_norm, model.dropout, model.hidden, optimizer.lr, seed, trainer.epochs; a text needs quotes: 'relu'"),
        ("trainer.epochs", "where: trainer.epochs: trainer.epochs is 20, a number, not true or false; compare it with something"),
        ("not model.dropout", "where: model.dropout: model.dropout is null, not true or false; compare it with something"),
        ("model.activation * 2 == 3", "where: model.activation: model.activation is relu, a text, not a number"),
        ("-model.batch_norm == 3", "where: model.batch_norm: model.batch_norm is true, a yes or no, not a number"),
        ("1 / seed > 2", "where: 1 / seed: division by zero"),
        ('seed == "0"', 'where: seed == "0": seed is 0, a number, and "0" is a text; leave out the quotes'),
        ("seed != '1'", "where: seed != '1': seed is 0, a number, and '1' is a text; leave out the quotes"),
        ("seed < '1'", "where: seed < '1': seed is 0, a number, and '1' is a text; leave out the quotes"),
        ("seed in ['1', '2']", "where: seed in ['1', '2']: seed is 0, a number, and ['1', '2'] is a list; leave out the quotes"),
        ("'392' in model.hidden", "where: '392' in model.hidden: '392' is a text, and model.hidden is [392, 196], a list; leave out the quotes"),
        ("model.batch_norm == 'true'", "where: model.batch_norm == 'true': model.batch_norm is true, a yes or no, and 'true' is a text; leave out the quotes"),
        ("data.version == 3", "where: data.version == 3: data.version is 3, a text, and 3 is a number; a text is given in quotes"),
        ("3 in trainer.epochs", "where: 3 in trainer.epochs: trainer.epochs is 20, a number; `in` looks into a list, or for a text in a text"),
    ],
)  # fmt: skip
def test_values_that_do_not_go_together_are_named(text: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        Condition.read(text).holds(VALUES)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("f(seed)", 0),
        ("seed == 0 and __import__('os')", 14),
        ("'é' == 'é' or seed[0]", 14),
        ("seed is 0", 0),
        ("seed ** 9 == 1", 0),
        ("1 == seed % 2", 5),
        ("lambda: 1", 0),
        ("seed == (1 if 2 else 3)", 9),
        ("[x for x in seed]", 0),
        ("seed in {1}", 8),
        ("seed in (1, 2)", 8),
        ("seed == 1j", 8),
        ("b'x' == seed", 0),
        ("seed == ...", 8),
        ("'x'.real == 1", 0),
        ("(1 + 2).real == 3", 0),
        ("~seed == 1", 0),
        ("f'{seed}' == '0'", 0),
    ],
)
def test_nothing_else_is_read(text: str, place: int) -> None:
    with pytest.raises(UserError) as error:
        Condition.read(text, "sweep.where")
    first, shown, caret = str(error.value).splitlines()
    assert first.startswith("sweep.where: only these can be used here: and, or, not, ==")
    assert (shown, caret) == (f"  {text}", f"  {' ' * place}^")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed = 0", "where: cannot be read: two values are compared by ==\n  seed = 0\n       ^"),
        ("seed <", "where: cannot be read: invalid syntax\n  seed <\n        ^"),
        ("(seed", "where: cannot be read: '(' was never closed\n  (seed\n  ^"),
        ("", "where: cannot be read: invalid syntax\n  \n  ^"),
        ("a" * 1001, "where: has 1001 characters; at most 1000 are read"),
        (" + ".join(["seed"] * 101), "where: has 402 parts; at most 200 are read"),
        ("not " + MOST_PARTS, "where: has 202 parts; at most 200 are read"),
        ("\udcff == 1", "where: cannot be read; only these can be used here: and"),
    ],
)
def test_what_cannot_be_read_is_shown(text: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        Condition.read(text)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    "text",
    ["(" * 300, "-" * 900 + "1", "[" * 500 + "]" * 500, "not " * 249 + "true", "a" + ".a" * 499],
)
def test_deep_ones_are_refused_not_followed(text: str) -> None:
    with pytest.raises(UserError):
        Condition.read(text)


def test_as_many_parts_as_are_allowed_are_read() -> None:
    assert Condition.read(MOST_PARTS).holds({"a": 1}) is True


def test_it_is_quiet_about_what_python_warns_of() -> None:
    assert Condition.read(r"'\d' != '1' and seed<1or 0").holds({"seed": 0}) is True

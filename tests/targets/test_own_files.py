"""Files of one's own that cannot be used as they are: each is told in one line with the way out."""

from __future__ import annotations

import pytest
from conftest import Command, Write

NET = "from torch import nn\nclass Net(nn.Linear):\n    def __init__(self):\n        super().__init__(64, 10)\n"


@pytest.mark.parametrize(
    ("files", "option", "said"),
    [
        (
            {"ends.py": f"import sys\n{NET}sys.exit(3)\n"},
            "ends.Net",
            (
                "model=ends.Net: the module 'ends' ends the program when it is imported (exit code 3); "
                "put what it does on its own below if __name__ == '__main__':"
            ),
        ),
        (
            {"random.py": NET},
            "random.Net",
            (
                "model=random.Net: 'random' has no 'Net': it is Python's or a library's, and hides your "
                "random.py; rename that"
            ),
        ),
        (
            {"mine.py": NET},
            "mine",
            "model=mine: is a file; name a class in it, as in model=mine.Net",
        ),
        (
            {"mine.py": NET},
            "mine.py",
            "model=mine.py: is a file; name a class in it, as in model=mine.Net",
        ),
        (
            {"mine.py": NET},
            "mine.nn.Lin",
            "model=mine.nn.Lin: 'mine.nn' has no 'Lin'; did you mean 'mine.nn.Linear'?",
        ),
        ({}, "nn.Linear", "model=nn.Linear: no module 'nn'; did you mean 'torch.nn.Linear'?"),
        (
            {"my-net.py": NET},
            "my-net.Net",
            "model=my-net.Net: is a file; no module has a dash in its name: rename it my_net.py",
        ),
        (
            {"mine.py": f"{NET}\n\nnet = nn.Linear(64, 10)\n"},
            "mine.net",
            "model._target_=mine.net: is a Linear, not a class; name a function that makes it",
        ),
    ],
)
def test_it_is_told_in_one_line(
    train: Command, write: Write, files: dict[str, str], option: str, said: str
) -> None:
    write(files)
    ended = train("data=digits", f"model={option}")
    assert (ended.code, ended.err.strip()) == (2, said)


def test_a_class_in_the_place_of_the_chosen_ones_is_told_the_short_way(
    train: Command, write: Write
) -> None:
    write({"mine.py": NET})
    ended = train("data=digits", "model._target_=mine.Net")
    assert ended.code == 2
    assert ended.err.endswith("'dropout'; did you mean 'model=mine.Net'?\n")
    assert train("data=digits", "model=mine.Net", "trainer.epochs=1").code == 0

"""The values in a config are checked against annotations and defaults; nothing that is good is refused."""

from __future__ import annotations

import enum
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, NewType, Optional, TypedDict, Union

import pytest
from torch import Tensor, float32, nn

from sweeplab import targets
from sweeplab.config import compose
from sweeplab.errors import UserError
from sweeplab.runs.parts import problems

if TYPE_CHECKING:
    from nowhere import Absent  # type: ignore[import-not-found]

HERE = __name__
Width = NewType("Width", int)


class Norm(enum.Enum):
    """What an annotation may name that is no plain kind."""

    BATCH = "batch"


def takes(
    flag: bool = True,
    maybe: bool | None = None,
    implicit: bool = None,  # type: ignore[assignment]  # noqa: RUF013  # as much code still has it
    quoted: Optional[bool] = False,  # noqa: UP045
    absent: bool | Absent = False,
    tensor: bool | Tensor = False,
    speed: float | Tensor = 0.1,
    pair_of_speeds: tuple[float | Tensor, float | Tensor] = (0.9, 0.99),
    text_too: bool | str = False,
    path_too: bool | pathlib.Path = False,
    bare=False,  # type: ignore[no-untyped-def]  # noqa: ANN001
    anything: Any = False,
    count: int = 1,
    rate: float | None = None,
    name: str = "a",
    note: str | None = None,
    mode: Literal["fast", "slow"] = "fast",
    level: Literal[1, 2, None] = 1,
    sizes: Sequence[int] = (1,),
    either: Union[int, Sequence[int]] = 1,  # noqa: UP007
    pair: tuple[float, float] = (0.9, 0.999),
    names: list[str] | None = None,
    flags: list[bool] | None = None,
    table: Mapping[str, int] | None = None,
    switches: dict[str, bool] | None = None,
    triple: list[bool | None] = [],  # noqa: B006
    bare_flags=(True, False),  # type: ignore[no-untyped-def]  # noqa: ANN001
    bare_rates=(0.9, 0.999),  # type: ignore[no-untyped-def]  # noqa: ANN001
    record: Record | None = None,
    keys: Keys | None = None,
    width: Width = Width(1),
    noted: Annotated[int, "of layers"] = 1,
    layer: Callable[..., nn.Module] | None = None,
    norm: Norm = Norm.BATCH,
    wrong: int = 0.5,  # type: ignore[assignment]  # its own default contradicts it
    number=0.5,  # type: ignore[no-untyped-def]  # noqa: ANN001
    nothing=None,  # type: ignore[no-untyped-def]  # noqa: ANN001
    nested: Iterable[tuple[str, int]] = (),
    **more: Any,
) -> Width:
    """A function with an argument of each kind."""
    raise NotImplementedError


class Base(nn.Module):
    """A network whose subclass hands its arguments on."""

    def __init__(self, residual: bool = True, depth: int = 1) -> None:
        super().__init__()


class Derived(Base):
    """Hands on what it does not know."""

    def __init__(self, out_features: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)


def derived(**kwargs: Any) -> Derived:
    """A function as torchvision's, which says what it makes."""
    return Derived(3, **kwargs)


@dataclass
class Record:
    """A class whose constructor is made of its fields."""

    on: bool
    sizes: list[int]


class Keys(TypedDict, total=False):
    """A section of keys."""

    on: bool
    inside: Record


def refusals(target: str, **given: object) -> list[str]:
    return targets.check({"_target_": target, **given}, "k")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        *[("flag", word, "true or false") for word in ("off", "no", "n", "None", "banana", 1, 0.0, None, [True])],
        ("flag", "false", "true or false; leave the quotes out"),
        *[(name, "off", "true or false or null") for name in ("maybe", "implicit", "quoted")],
        ("absent", "banana", "true or false"),
        ("tensor", "off", "true or false or a Tensor"),
        *[("speed", word, "a number") for word in ("abc", "off", None, True)],
        ("pair_of_speeds", [0.9, "off"], "a list of 2 values"),
        ("text_too", "no", "true or false or a text"),
        ("path_too", "none", "true or false or a Path"),
        ("bare", "banana", "true or false"),
        ("anything", "off", "true or false"),
        ("count", True, "a whole number"),
        ("count", 3.0, "a whole number"),
        ("count", "3", "a whole number; leave the quotes out"),
        ("count", "many", "a whole number"),
        ("count", None, "a whole number"),
        ("count", {"a": 1}, "a whole number"),
        ("rate", "None", "a number or null"),
        ("rate", False, "a number or null"),
        ("name", False, "a text; YAML reads on, off, yes and no as booleans: quote such a text"),
        ("name", 3, "a text; quote it"),
        ("note", "None", "a text or null"),
        ("mode", "fsat", "one of fast, slow; did you mean 'fast'?"),
        ("mode", True, "one of fast, slow; YAML reads on, off, yes and no as booleans: quote such a text"),
        ("level", True, "one of 1, 2, null"),
        ("sizes", 3, "a list of whole numbers"),
        ("sizes", [1, 2.5], "a list of whole numbers"),
        ("sizes", "12", "a list of whole numbers; leave the quotes out"),
        ("either", "wide", "a whole number or a list of whole numbers"),
        ("either", [1, True], "a whole number or a list of whole numbers"),
        ("pair", [0.9], "a list of 2 numbers"),
        ("pair", 0.9, "a list of 2 numbers"),
        ("names", ["a", 1], "a list of texts or null"),
        ("flags", ["off"], "a list of booleans or null"),
        ("table", [1], "a section of keys with whole numbers or null"),
        ("table", {"a": "off"}, "a section of keys with whole numbers or null"),
        ("switches", {"a": True, "b": "off"}, "a section of keys with booleans or null"),
        ("triple", [True, "off", None], "a list of values, each true or false or null"),
        ("bare_flags", [True, "off"], "a list of booleans"),
        ("bare_rates", [0.9, "no"], "a list of numbers"),
        ("width", "wide", "a whole number"),
        ("noted", "many", "a whole number"),
        ("number", "off", "a number"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_meant_is_refused(name: str, value: object, says: str) -> None:
    (said,) = refusals(f"{HERE}.takes", **{name: value})
    assert said.startswith(f"k.{name}=")
    assert said.endswith(f": must be {says}")


@pytest.mark.parametrize(
    "given",
    [
        {
            "flag": False,
            "maybe": None,
            "implicit": None,
            "quoted": True,
            "absent": True,
            "tensor": 0.5,
        },
        {"text_too": "imagenet", "path_too": "weights.pt", "bare": True, "anything": "imagenet"},
        {"bare": None, "anything": 3, "rate": 1, "note": None, "note2": "off"},
        {
            "count": -3,
            "rate": 0.5,
            "name": "off",
            "mode": "slow",
            "level": None,
            "sizes": [],
            "either": [3, 4],
        },
        {
            "pair": [0, 1],
            "names": ["off"],
            "flags": [True, False],
            "table": {"a": 1},
            "width": 3,
            "noted": 2,
        },
        {
            "switches": {"a": True},
            "bare_flags": [False],
            "bare_rates": ["auto", 1],
            "record": {"on": True, "x": "off"},
        },
        {
            "layer": {"_target_": "torch.nn.ReLU"},
            "flag": {"_target_": "builtins.bool"},
            "norm": "batch",
        },
        {"speed": 1, "pair_of_speeds": [0.9, 0.99]},
        {
            "wrong": 0.25,
            "number": "random",
            "nothing": "off",
            "names": None,
            "nested": [["a", 1]],
            "sizes": [3],
        },
    ],
)
def test_what_is_good_is_let_through(given: dict[str, object]) -> None:
    assert refusals(f"{HERE}.takes", **given) == []


def test_null_is_no_text() -> None:
    assert refusals(f"{HERE}.takes", nothing="None") == ["k.nothing=None: is a text; null is none"]


@pytest.mark.parametrize("target", ["Derived", "derived"])
def test_what_is_handed_on_is_checked_where_it_arrives(target: str) -> None:
    assert refusals(f"{HERE}.{target}", out_features=3, residual=True, depth=2) == []
    assert refusals(f"{HERE}.{target}", out_features=3, residual="off", depth="two") == [
        "k.residual=off: must be true or false",
        "k.depth=two: must be a whole number",
    ]


def test_positional_arguments_and_fields_are_checked() -> None:
    assert refusals("torch.nn.Linear", _args_=[3, 4, "no"]) == [
        "k._args_[2]=no: must be true or false"
    ]
    assert refusals(f"{HERE}.Record", on="yes", sizes=[1, "b"]) == [
        "k.on=yes: must be true or false",
        'k.sizes=[1, "b"]: must be a list of whole numbers',
    ]


def test_a_section_of_keys_is_checked_by_the_fields_that_it_stands_for() -> None:
    assert refusals(
        f"{HERE}.takes", record={"on": "off"}, keys={"on": "no", "inside": {"on": "n"}}
    ) == [
        "k.record.on=off: must be true or false",
        "k.keys.on=no: must be true or false",
        "k.keys.inside.on=n: must be true or false",
    ]


@pytest.mark.parametrize(
    ("target", "given", "name"),
    [
        ("torch.nn.Linear", {"in_features": 3, "out_features": 2}, "bias"),
        ("torch.nn.Conv2d", {"in_channels": 3, "out_channels": 2, "kernel_size": 3}, "bias"),
        ("torch.nn.BatchNorm1d", {"num_features": 3}, "track_running_stats"),
        ("torch.nn.LSTM", {"input_size": 3, "hidden_size": 2}, "bidirectional"),
        ("torch.nn.MultiheadAttention", {"embed_dim": 4, "num_heads": 2}, "batch_first"),
        ("torch.nn.ReLU", {}, "inplace"),
        ("torch.optim.SGD", {"params": []}, "nesterov"),
        ("torch.optim.Adam", {"params": []}, "fused"),
        ("torch.optim.AdamW", {"params": []}, "amsgrad"),
        ("torchvision.transforms.Normalize", {"mean": 0, "std": 1}, "inplace"),
        ("torchvision.models.resnet18", {}, "zero_init_residual"),
        ("torchvision.datasets.MNIST", {"root": "x"}, "train"),
    ],
)
@pytest.mark.parametrize("word", ["off", "no", "n", "None"])
def test_no_word_counts_as_yes(target: str, given: dict[str, object], name: str, word: str) -> None:
    (said,) = refusals(target, **given, **{name: word})
    assert said.startswith(f"k.{name}={word}: must be true or false")


GOOD: list[dict[str, Any]] = [
    {"_target_": "torch.nn.Linear", "in_features": 3, "out_features": 2, "bias": False, "device": "cpu"},
    {"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 8, "kernel_size": [3, 5], "padding": "same"},
    {"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 8, "kernel_size": 3, "stride": [2, 2]},
    {"_target_": "torch.nn.MaxPool2d", "kernel_size": 2, "stride": None, "ceil_mode": True},
    {"_target_": "torch.nn.AdaptiveAvgPool2d", "output_size": [None, 7]},
    {"_target_": "torch.nn.BatchNorm2d", "num_features": 8, "momentum": None, "affine": False},
    {"_target_": "torch.nn.LayerNorm", "normalized_shape": [4, 4], "eps": 1},
    {"_target_": "torch.nn.Upsample", "scale_factor": 2, "mode": "bilinear", "align_corners": None},
    {"_target_": "torch.nn.Upsample", "size": [8, 8], "scale_factor": None},
    {"_target_": "torch.nn.LSTM", "input_size": 3, "hidden_size": 4, "num_layers": 2, "dropout": 0.1},
    {"_target_": "torch.nn.GRU", "_args_": [3, 4], "bidirectional": True},
    {"_target_": "torch.nn.TransformerEncoderLayer", "d_model": 8, "nhead": 2, "activation": "gelu"},
    {"_target_": "torch.nn.EmbeddingBag", "num_embeddings": 9, "embedding_dim": 3, "max_norm": 1, "sparse": True},
    {"_target_": "torch.nn.ConstantPad2d", "padding": [1, 2, 3, 4], "value": 0},
    {"_target_": "torch.nn.Sequential", "_args_": [{"_target_": "torch.nn.Flatten"}, {"_target_": "torch.nn.ReLU"}]},
    {"_target_": "torch.nn.CrossEntropyLoss", "reduction": "sum", "label_smoothing": 0, "weight": [1.0, 2.0]},
    {"_target_": "torch.nn.NLLLoss", "ignore_index": -1, "size_average": None},
    {"_target_": "torch.nn.HuberLoss", "delta": 1},
    {"_target_": "torch.optim.Adam", "params": [], "lr": 1, "betas": [0.9, 0.99], "fused": None},
    {"_target_": "torch.optim.SGD", "params": [], "lr": 0.1, "momentum": 0, "foreach": False, "nesterov": True},
    {"_target_": "torch.optim.LBFGS", "params": [], "max_eval": None, "line_search_fn": "strong_wolfe"},
    {"_target_": "torch.optim.Rprop", "params": [], "etas": [0.5, 1.2], "step_sizes": [1e-6, 50]},
    {"_target_": "torch.optim.Muon", "params": [], "ns_coefficients": [3.4, -4.7, 2.0], "adjust_lr_fn": None},
    {"_target_": "torch.optim.Adafactor", "params": [], "eps": [None, 0.001], "d": 1},
    {"_target_": "torch.optim.lr_scheduler.StepLR", "optimizer": None, "step_size": 3, "gamma": 0.5},
    {"_target_": "torch.optim.lr_scheduler.MultiStepLR", "optimizer": None, "milestones": [3, 5]},
    {"_target_": "torch.optim.lr_scheduler.OneCycleLR", "optimizer": None, "max_lr": [0.1, 0.2], "total_steps": 9},
    {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau", "optimizer": None, "mode": "max", "min_lr": [0.1]},
    {"_target_": "torch.optim.lr_scheduler.CyclicLR", "optimizer": None, "base_lr": 0, "max_lr": 1, "mode": "exp_range"},
    {"_target_": "torchvision.transforms.RandomErasing", "value": "random", "scale": [0.02, 0.33]},
    {"_target_": "torchvision.transforms.RandomErasing", "value": [0, 0, 0], "p": 1},
    {"_target_": "torchvision.transforms.RandomCrop", "size": [28, 28], "padding": 4, "padding_mode": "reflect"},
    {"_target_": "torchvision.transforms.Resize", "size": 32, "antialias": None, "interpolation": "bilinear"},
    {"_target_": "torchvision.transforms.ColorJitter", "brightness": [0.5, 1.5], "hue": 0},
    {"_target_": "torchvision.transforms.v2.RandomResizedCrop", "size": [8, 8], "scale": [0.1, 1]},
    {"_target_": "torchvision.transforms.v2.RandomAffine", "degrees": 10, "translate": [0.1, 0.1], "fill": 0},
    {"_target_": "torchvision.transforms.Compose", "transforms": [{"_target_": "torchvision.transforms.ToTensor"}]},
    {"_target_": "torchvision.datasets.MNIST", "root": "data", "train": True, "transform": None},
    {"_target_": "torchvision.datasets.FakeData", "size": 9, "image_size": [1, 8, 8], "num_classes": 3},
    {"_target_": "torchvision.datasets.EMNIST", "root": "data", "split": "letters"},
    {"_target_": "torchvision.models.resnet18", "num_classes": 10, "weights": "DEFAULT", "norm_layer": None},
    {"_target_": "torchvision.models.swin_t", "num_classes": 10, "dropout": 0.1, "window_size": [7, 7]},
    {"_target_": "torchvision.models.vgg11", "init_weights": False, "dropout": 0},
    {"_target_": "torchvision.ops.MLP", "in_channels": 3, "hidden_channels": [8, 2], "inplace": None, "bias": True},
    {"_target_": "sklearn.datasets.make_classification", "n_samples": 9, "weights": [0.5], "random_state": None},
    {"_target_": "sklearn.datasets.fetch_openml", "name": "x", "version": 1, "as_frame": "auto"},
]  # fmt: skip


@pytest.mark.parametrize("node", GOOD, ids=lambda node: node["_target_"])
def test_usual_values_of_real_signatures_are_let_through(node: dict[str, Any]) -> None:
    assert targets.check(node, "k") == []


@pytest.mark.usefixtures("root")
class TestOnTheCommandLineAndInAFile:
    """`off` is a text on Hydra's command line, and false in a YAML file; nowhere does it mean yes."""

    @pytest.mark.parametrize("word", ["off", "no", "n", "None"])
    def test_a_component(self, word: str) -> None:
        assert problems(compose(["data=digits", f"model.batch_norm={word}"])) == [
            f"model.batch_norm={word}: must be true or false"
        ]

    @pytest.mark.parametrize(
        "key", ["trainer.deterministic", "data.flatten", "sweep.fuse", "tracking.enabled"]
    )
    @pytest.mark.parametrize("word", ["off", "no", "n", "None"])
    def test_a_typed_section(self, key: str, word: str) -> None:
        with pytest.raises(UserError, match=f"{key}={word}: must be true or false"):
            compose(["data=digits", f"{key}={word}"])

    @pytest.mark.parametrize("key", ["data.version", "tracking.uri", "trainer.init_from"])
    def test_null_is_no_text(self, key: str) -> None:
        with pytest.raises(UserError, match=f"{key}=None: must be a text, or null"):
            compose(["data=digits", f"{key}=None"])

    @pytest.mark.parametrize("name", ["off", "n"])
    def test_a_text_may_be_any_word(self, name: str) -> None:
        assert compose(["data=digits", f"data.version={name}"]).data.version == name


@pytest.mark.usefixtures("root")
def test_every_group_of_the_projects_own_is_let_through() -> None:
    for group in ("model=linear,mlp,cnn", "loss=cross_entropy,nll", "optimizer=adam,adamw,sgd"):
        key, _, options = group.partition("=")
        for option in options.split(","):
            assert problems(compose(["data=digits", f"{key}={option}"])) == []
    for scheduler in ("constant", "cosine", "one_cycle", "plateau"):
        assert problems(compose([f"scheduler={scheduler}"])) == []


# --- Lists in the place of tensors ------------------------------------------------------------------------------------


def weighed(
    weight: Tensor, sizes: list[int], either: Tensor | list[int]
) -> tuple[object, object, object]:
    return weight, sizes, either


def test_a_list_of_numbers_is_a_tensor_where_nothing_else_is_taken() -> None:
    node = {"_target_": f"{HERE}.weighed", "weight": [1, 2.5], "sizes": [1], "either": [2]}
    weight, sizes, either = targets.instantiate(node)
    assert isinstance(weight, Tensor)
    assert (weight.dtype, weight.tolist()) == (float32, [1.0, 2.5])
    assert (sizes, either) == ([1], [2])


def test_a_number_that_is_none_is_refused_in_a_list_too(root: pathlib.Path) -> None:
    settings = compose(["data=digits", "+loss.weight=[1,nan]"])
    assert problems(settings) == ["loss.weight[1]=nan: must be a finite number"]


def test_classes_may_be_weighted_in_a_config() -> None:
    loss = targets.build(
        {"_target_": "torch.nn.CrossEntropyLoss", "weight": [1, 2, 5], "label_smoothing": 0.1},
        "loss",
    )
    assert loss.weight.tolist() == [1, 2, 5]
    inner = {"_target_": "torch.nn.Linear", "in_features": 1, "out_features": 1}
    nested = {"_target_": "torch.nn.Sequential", "_args_": [inner]}
    assert len(targets.instantiate(nested)) == 1


@pytest.mark.parametrize("weight", [["a"], [[1, 2], [3]]])
def test_a_list_that_is_no_tensor_is_refused_by_name(weight: list[object]) -> None:
    with pytest.raises(UserError, match=r"loss\.weight=") as refused:
        targets.build({"_target_": "torch.nn.CrossEntropyLoss", "weight": weight}, "loss")
    assert "torch.nn.CrossEntropyLoss" in str(refused.value)

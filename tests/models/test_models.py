"""The networks and losses: their layers, their sizes, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from sweeplab.models import CNN, MLP, MSELoss, NLLLoss
from sweeplab.models.layers import ACTIVATIONS
from sweeplab.speed import onednn


def kinds(model: nn.Sequential) -> list[str]:
    return [type(layer).__name__ for layer in model]


def size(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_the_default_mlp_layer_by_layer() -> None:
    model = MLP(784, 10, [392, 196])
    assert isinstance(model, nn.Sequential)
    assert kinds(model) == [
        "Linear",
        "BatchNorm1d",
        "ReLU",
        "Linear",
        "BatchNorm1d",
        "ReLU",
        "Linear",
    ]
    linear = [
        (layer.in_features, layer.out_features) for layer in model if isinstance(layer, nn.Linear)
    ]
    assert linear == [(784, 392), (392, 196), (196, 10)]
    assert [layer.num_features for layer in model if isinstance(layer, nn.BatchNorm1d)] == [
        392,
        196,
    ]


def test_parameters_counted_by_hand() -> None:
    # weights + biases of the three layers, and two numbers a feature of BatchNorm
    linear = (784 * 392 + 392) + (392 * 196 + 196) + (196 * 10 + 10)
    assert linear == 386_718
    assert size(MLP(784, 10, [392, 196], batch_norm=False)) == 386_718
    assert size(MLP(784, 10, [392, 196])) == 387_894
    assert size(nn.Linear(784, 10)) == 7_850


def test_one_width_is_a_list_of_one() -> None:
    torch.manual_seed(0)
    single = MLP(784, 10, 392)
    torch.manual_seed(0)
    listed = MLP(784, 10, [392])
    assert kinds(single) == kinds(listed) == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert all(
        torch.equal(a, b) for a, b in zip(single.parameters(), listed.parameters(), strict=True)
    )


def test_batch_norm_activation_and_dropout_are_chosen() -> None:
    model = MLP(4, 2, [3], batch_norm=False, activation="gelu", dropout=0.25)
    assert kinds(model) == ["Linear", "GELU", "Dropout", "Linear"]
    assert [layer.p for layer in model if isinstance(layer, nn.Dropout)] == [0.25]


@pytest.mark.parametrize("off", [None, 0, 0.0])
def test_no_dropout_has_no_layer(off: float | None) -> None:
    assert "Dropout" not in kinds(MLP(4, 2, 3, dropout=off))


@pytest.mark.parametrize(
    "name", ["relu", "leakyrelu", "tanh", "sigmoid", "silu", "elu", "prelu", "softplus"]
)
def test_activations_go_by_their_lower_case_names(name: str) -> None:
    assert kinds(MLP(4, 2, 3, batch_norm=False, activation=name))[1].lower() == name


def test_every_activation_needs_no_arguments() -> None:
    assert all(isinstance(kind(), nn.Module) for kind in ACTIVATIONS.values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden": 0}, "hidden must be a whole number >= 1 or a list of them, got 0"),
        ({"hidden": [3, -1]}, r"hidden must be .* got \[3, -1\]"),
        ({"hidden": []}, r"hidden must be .* got \[\]"),
        ({"hidden": "abc"}, "hidden must be .* got abc"),
        ({"hidden": 2.5}, "hidden must be .* got 2.5"),
        ({"hidden": None}, "hidden must be .* got None"),
        ({"hidden": True}, "hidden must be .* got True"),
        ({"hidden": [3, True]}, r"hidden must be .* got \[3, True\]"),
        ({"dropout": 1.0}, "dropout must be a number from 0 to below 1, or null, got 1.0"),
        ({"dropout": -0.1}, "dropout must be .* got -0.1"),
        ({"dropout": "half"}, "dropout must be .* got half"),
        ({"dropout": True}, "dropout must be .* got True"),
        ({"dropout": float("nan")}, "dropout must be .* got nan"),
        (
            {"activation": "rellu"},
            "activation must be one of torch.nn in lower case, got rellu; did you mean 'relu'",
        ),
        ({"activation": "ReLU"}, "activation must be .* got ReLU"),
    ],
)
def test_the_mlp_refuses_by_the_name_of_the_argument(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        MLP(4, 2, **{"hidden": 3, **arguments})


@pytest.mark.parametrize("name", [None, 3, True, ["relu", "tanh"]])
def test_an_activation_that_is_no_name_is_refused_like_an_unknown_one(name: Any) -> None:
    with pytest.raises(ValueError, match=r"^activation must be one of torch\.nn in lower case"):
        MLP(4, 2, 3, activation=name)


def test_the_cnn_layer_by_layer() -> None:
    model = CNN([1, 28, 28], 10, [32, 64])
    block = ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"]
    assert kinds(model) == ["Flatten", "Unflatten", *block, *block, "Flatten", "Linear"]
    # 3x3 convolutions with biases, BatchNorm, and a linear layer on 64 maps of 7x7
    assert (
        size(model)
        == (9 * 32 + 32) + 64 + (9 * 32 * 64 + 64) + 128 + (64 * 7 * 7 * 10 + 10)
        == 50_378
    )


def test_the_cnn_takes_images_and_flat_inputs_alike() -> None:
    torch.manual_seed(0)
    model = CNN([2, 9, 6], 5, 4).eval()
    images = torch.randn(3, 2, 9, 6)
    output = model(images)
    assert output.shape == (3, 5)
    assert torch.equal(output, model(images.flatten(1)))


def test_the_cnn_without_batch_norm_and_with_dropout() -> None:
    model = CNN([1, 4, 4], 2, 3, batch_norm=False, activation="tanh", dropout=0.5)
    assert kinds(model) == [
        "Flatten",
        "Unflatten",
        "Conv2d",
        "Tanh",
        "MaxPool2d",
        "Flatten",
        "Dropout",
        "Linear",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": []}, r"channels must be a whole number >= 1 or a list of them, got \[\]"),
        (
            {"shape": None},
            r"shape must be \[channels, height, width\], each side at least 4 .* got None",
        ),
        ({"shape": [8, 8]}, r"shape must be .* got \[8, 8\]"),
        ({"shape": [1, 8, 3]}, r"each side at least 4 for 2 poolings, got \[1, 8, 3\]"),
        ({"activation": "nope"}, "activation must be one of"),
        ({"dropout": 2}, "dropout must be a number from 0 to below 1, or null, got 2"),
    ],
)
def test_the_cnn_refuses_by_the_name_of_the_argument(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        CNN(**{"shape": [1, 8, 8], "out_features": 2, "channels": [2, 2], **arguments})


def test_nll_is_cross_entropy() -> None:
    torch.manual_seed(0)
    outputs, classes = torch.randn(16, 10) * 5, torch.randint(10, (16,))
    assert NLLLoss()(outputs, classes).item() == pytest.approx(
        cross_entropy(outputs, classes).item(), abs=1e-6
    )


def test_nll_of_equal_outputs_is_the_logarithm_of_the_classes() -> None:
    assert NLLLoss()(torch.zeros(2, 4), torch.tensor([0, 3])).item() == pytest.approx(
        1.3862944
    )  # ln 4


def test_nll_keeps_the_arguments_of_torch() -> None:
    loss = NLLLoss(weight=torch.tensor([1.0, 3.0]))
    outputs, classes = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0])
    weighted = cross_entropy(outputs, classes, weight=torch.tensor([1.0, 3.0]))
    assert loss(outputs, classes).item() == pytest.approx(weighted.item(), abs=1e-6)


def test_mse_on_classes_is_mse_against_one_hot_targets() -> None:
    outputs = torch.tensor([[0.5, 0.0, 1.0], [0.0, 1.0, 2.0]])
    one_hot = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    value = MSELoss()(outputs, torch.tensor([2, 1]))
    assert value.item() == pytest.approx(4.25 / 6)  # (0.5 ** 2 + 2 ** 2) / 6
    assert torch.equal(value, mse_loss(outputs, one_hot))


def test_mse_on_values_is_that_of_torch() -> None:
    assert MSELoss()(torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [0.0]])).item() == 2.5


def pair(small: int) -> tuple[nn.Linear, nn.Linear]:
    """A layer as torch has it and the same by oneDNN, if it has `small` weights or more."""
    plain, other = nn.Linear(small // 64, 64), nn.Linear(small // 64, 64)
    other.load_state_dict(plain.state_dict())
    onednn.use(other)
    return plain, other


needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="torch is built without oneDNN"
)


@needs_onednn
def test_onednn_computes_larger_layers_only_and_no_subclass() -> None:
    class Own(nn.Linear):
        pass

    network = nn.Sequential(nn.Linear(256, 64), nn.Linear(64, 10), Own(256, 64))
    onednn.use(network)
    assert [type(layer) for layer in network] == [onednn.Linear, nn.Linear, Own]


@needs_onednn
@pytest.mark.parametrize("create_graph", [False, True])
def test_onednn_differs_from_torch_by_rounding_only(create_graph: bool) -> None:
    plain, other = pair(onednn.SMALL)
    x = torch.randn(32, plain.in_features, requires_grad=True)
    slope = torch.randn(32, 64)
    both = [(y := layer(x), torch.autograd.grad(y, [x, *layer.parameters()], slope, create_graph=create_graph))
            for layer in (plain, other)]  # fmt: skip
    (expected, slopes), (output, found) = both
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)
    for ours, its in zip(found, slopes, strict=True):
        torch.testing.assert_close(ours, its, rtol=1e-5, atol=1e-4)
    if create_graph:
        second = [torch.autograd.grad(g[0].pow(2).sum(), layer.weight)[0] for layer, g in ((plain, slopes), (other, found))]  # fmt: skip
        torch.testing.assert_close(*second)


@needs_onednn
def test_onednn_leaves_other_inputs_to_torch() -> None:
    plain, other = pair(onednn.SMALL)
    x = torch.randn(2, 3, plain.in_features)
    assert torch.equal(other(x), plain(x)), "three dimensions"
    assert torch.equal(other.double()(x.double()), plain.double()(x.double())), "another precision"
    plain, other = pair(onednn.SMALL)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert other(x[0]).dtype == torch.bfloat16
        assert torch.equal(other(x[0]), plain(x[0])), "autocast"

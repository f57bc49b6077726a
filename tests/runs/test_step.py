"""A step of one's own: what it may return, what is refused before any work, and that every promise holds for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Command
from PIL import Image
from stored import facts, only
from torch import nn
from torch.optim import Adam

from sweeplab import data, load_model
from sweeplab.config import compose
from sweeplab.runs.weights import load_weights

SHORT = (
    "data=digits",
    "trainer.threads=1",
    "trainer.epochs=4",
    "trainer.patience=null",
    "scheduler=constant",
)
LINEAR = (*SHORT, "model=linear")
VAE = (
    *SHORT,
    "model=linear",
    "model._target_=steps.VAE",
    "~model.out_features",
    "step._target_=steps.vae",
)
DISTILLED = (*LINEAR, "step._target_=steps.Distilled")
MIXED = (
    *SHORT,
    "model.hidden=16",
    "model.batch_norm=false",
    "step._target_=steps.mixed",
    "trainer.monitor=valid/accuracy",
)
PARTS = "+optimizer={netD:{_target_:torch.optim.Adam,lr:0.002},netG:{_target_:torch.optim.Adam,lr:0.001}}"
GAN_MODEL = (*SHORT, "model=linear", "model._target_=steps.GAN", "~model.in_features", "~model.out_features",
             "step._target_=steps.gan", "loss=nll", "loss._target_=torch.nn.BCEWithLogitsLoss")  # fmt: skip
GAN = (*GAN_MODEL, "~optimizer", PARTS)
WORDS = (*SHORT, "data.task=any", "data.mean=null", "data.std=null", "data.shape=null", "data.dataset._target_=steps.Words",
         "data.collate._target_=steps.padded", "model=linear", "model._target_=steps.LSTM", "~model.in_features",
         "~model.out_features", "step._target_=steps.classified", "trainer.batch_size=32")  # fmt: skip
PROGRAMS = {"vae": VAE, "distilled": DISTILLED, "mixed": MIXED, "gan": GAN, "words": WORDS}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_resumed_run_with_a_step_has_the_bits_of_an_uninterrupted_one(
    train: Command, root: Path, die_at: Callable[[int], None], program: str
) -> None:
    assert train(*PROGRAMS[program], "store.root=whole").code == 0
    die_at(3)
    assert train(*PROGRAMS[program]).code == 130
    assert "goes on after epoch 2" in train(*PROGRAMS[program]).out
    assert facts(only(root)) == facts(only(root, "whole"))


def test_the_plain_step_written_as_a_function_gives_the_plain_numbers(
    train: Command, root: Path
) -> None:
    how = (*SHORT, "trainer.monitor=valid/accuracy")
    train(*how, "store.root=plain")
    train(*how, "step=supervised")
    plain, own = facts(only(root, "plain")), facts(only(root))
    assert own[:3] == plain[:3], "status, stop reason, and weights"
    for epoch, metrics in only(root).epochs().items():
        assert metrics == pytest.approx(only(root, "plain").epochs()[epoch], abs=1e-6)
    assert only(root).id != only(root, "plain").id


def test_a_step_that_is_null_changes_no_fingerprint(train: Command, root: Path) -> None:
    train(*LINEAR, "trainer.epochs=1")
    train(*LINEAR, "trainer.epochs=1", "step=null")
    train(*LINEAR, "trainer.epochs=1", "step._target_=null")
    train(*LINEAR, "trainer.epochs=1", "step._target_=null", "+step.beta=1")
    assert "step" not in only(root).start()["config"]
    train(*LINEAR, "trainer.epochs=1", "step._target_=steps.counted")
    train(*VAE, "trainer.epochs=1")
    train(*VAE, "trainer.epochs=1", "+step.beta=1")
    train(*VAE, "trainer.epochs=1", "+step.beta=2")
    assert len(list((root / "runs").glob("*/journal.jsonl"))) == 5


def bare_vae(epochs: int) -> tuple[dict[str, torch.Tensor], list[float]]:
    """Train steps.VAE in a plain loop with the same random streams."""
    import steps

    from sweeplab.data.batches import Batches
    from sweeplab.train.random_state import seed_stream

    torch.set_num_threads(1)
    settings = compose([*VAE])
    train = Batches(data.load(settings.data).train, 128, device="cpu", seed=0, drop_last=True)
    seed_stream(0, "initialisation")
    model = steps.VAE()
    optimizer = Adam(model.parameters(), lr=0.001, fused=True)
    seed_stream(0, "dropout")
    losses = []
    for epoch in range(1, epochs + 1):
        total = 0.0
        for batch in train.epoch(epoch):
            optimizer.zero_grad()
            loss = steps.vae(model, nn.Identity(), batch)["loss"]
            loss.backward()
            optimizer.step()
            total += loss.item()
        losses.append(total / len(train))
    return model.state_dict(), losses


def test_a_vae_has_the_weights_and_the_curve_of_a_bare_loop(train: Command, root: Path) -> None:
    assert train(*VAE).code == 0
    run = only(root)
    weights, losses = bare_vae(4)
    trained = load_weights(run.weights_file)
    assert run.result().metrics["best_epoch"] == 4  # type: ignore[union-attr]
    for name, value in weights.items():
        assert torch.allclose(trained[name], value, atol=1e-6), name
    assert [e["train/loss"] for e in run.epochs().values()] == pytest.approx(losses, rel=1e-6)
    assert set(run.epochs()[1]) == {"train/loss", "train/kl", "train/lr", "valid/loss", "valid/kl"}
    assert len(json.loads((run.folder / "metrics" / "test_pictures.json").read_text())) == 10
    with Image.open(run.folder / "metrics" / "test_pictures.png") as pictures:
        assert pictures.size == (8 * 10, 2 * 10), "two rows of eight, each with a frame"
        assert pictures.getpixel((79, 19))[:3] == (255, 255, 255)  # type: ignore[index]
    assert load_model(run.folder)(torch.zeros(1, 64))[0].shape == (1, 64)


def test_a_gan_has_the_weights_of_a_bare_loop(train: Command, root: Path) -> None:
    import steps

    from sweeplab.data.batches import Batches
    from sweeplab.train.random_state import seed_stream

    how = (*GAN, "trainer.monitor=train/loss_netD", "trainer.mode=min", "trainer.epochs=1")
    assert train(*how).code == 0
    torch.set_num_threads(1)
    examples = data.load(compose([*LINEAR]).data).train
    seed_stream(0, "initialisation")
    model, loss = steps.GAN(), nn.BCEWithLogitsLoss()
    update_d = Adam(model.netD.parameters(), lr=0.002)
    update_g = Adam(model.netG.parameters(), lr=0.001)
    seed_stream(0, "dropout")
    for real, _ in Batches(examples, 128, device="cpu", seed=0, drop_last=True).epoch(1):
        fake = model.netG(torch.randn(len(real), 8))
        ones, zeros = torch.ones(len(real), 1), torch.zeros(len(real), 1)
        update_d.zero_grad()
        (loss(model.netD(real), ones) + loss(model.netD(fake.detach()), zeros)).backward()
        update_d.step()
        update_g.zero_grad()
        loss(model.netD(fake), ones).backward()
        update_g.step()
    trained = load_weights(only(root).weights_file)
    for name, value in model.state_dict().items():
        assert torch.allclose(trained[name], value, atol=1e-6), name
    names = ("train/lr_netD", "train/lr_netG", "train/loss_netD", "valid/loss_netG", "train/loss")
    assert set(names) <= set(only(root).epochs()[1])


def test_a_step_may_do_without_a_loss(train: Command, replay: Command, root: Path) -> None:
    how = [*VAE, "trainer.epochs=1"]
    assert train(*how, "~loss").code == 0
    assert only(root).start()["config"]["loss"] == {"_target_": "sweeplab.models.NoLoss"}
    assert replay(only(root).id, "--trust", "steps").code == 0
    assert train(*LINEAR, "trainer.epochs=1", "~loss").err.startswith("loss: missing; only a")
    refused = train(*LINEAR, "~loss", "step=supervised")
    assert "ValueError: the step calls its loss, and the config has none" in refused.err


def test_counts_weigh_the_numbers(train: Command, root: Path) -> None:
    """The mean over digits below 5 is that of all of them, whatever the batches are."""
    how = (*LINEAR, "step._target_=steps.counted", "trainer.epochs=1")
    train(*how, "trainer.eval_batch_size=7")
    train(*how, "trainer.eval_batch_size=1000", "store.root=large")
    few, large = only(root).epochs()[1], only(root, "large").epochs()[1]
    assert few["valid/loss"] == pytest.approx(large["valid/loss"], rel=1e-6)


def test_a_step_accumulates_by_its_counts(train: Command, root: Path) -> None:
    how = (*LINEAR, "step._target_=steps.counted", "trainer.epochs=2")
    train(*how, "trainer.batch_size=16", "trainer.accumulate=4")
    train(*how, "trainer.batch_size=64", "store.root=large")
    small, large = (
        load_weights(only(root).weights_file),
        load_weights(only(root, "large").weights_file),
    )
    assert torch.allclose(small["weight"], large["weight"], atol=1e-6)


@pytest.mark.few(1)
@pytest.mark.parametrize("as_int", ["true", "false"])
def test_a_group_of_batches_in_which_nothing_counts_moves_nothing(
    train: Command, root: Path, as_int: str
) -> None:
    how = (*LINEAR, "step._target_=steps.of_threes", f"+step.as_int={as_int}", "trainer.epochs=1",
           "~optimizer", "+optimizer={_target_:torch.optim.SGD,lr:0.1}")  # fmt: skip
    brief = "trainer.limit_batches={}"
    pairs = ("trainer.batch_size=2", "trainer.accumulate=2", brief.format(120))
    assert train(*how, *pairs).code == 0
    assert train(*how, "trainer.batch_size=4", brief.format(60), "store.root=large").code == 0
    small, large = (
        load_weights(only(root).weights_file),
        load_weights(only(root, "large").weights_file),
    )
    assert torch.allclose(small["weight"], large["weight"], atol=1e-5)
    metrics = only(root).epochs()[1]
    assert (metrics["valid/third"], metrics["valid/one"]) == (pytest.approx(1 / 3), 1)


def test_runs_with_a_step_are_swept_compared_and_never_fused(train: Command, root: Path) -> None:
    swept = train("-m", *VAE, "trainer.epochs=1", "+step.beta=0.5,2", "seed=0,1")
    assert swept.code == 0
    assert "step.beta" in swept.out or "beta" in swept.out
    runs = sorted((root / "runs").glob("*/journal.jsonl"))
    assert len(runs) == 4
    starts = [json.loads(run.read_text().splitlines()[0]) for run in runs]
    assert all("fused" not in start["provenance"] for start in starts)
    weights = {only_weights(run.parent) for run in runs}
    assert len(weights) == 4


def only_weights(folder: Path) -> str:
    digest: str = json.loads((folder / "result.json").read_text())["weights_sha256"]
    return digest


def test_parameters_of_a_step_that_nothing_trains_are_told(train: Command) -> None:
    told = train(*DISTILLED, "trainer.epochs=1")
    assert "step: the parameters of its 'teacher' are in no optimizer: make it a part" in told.out
    assert "in no optimizer" not in train(*VAE, "trainer.epochs=1").out


def test_the_further_numbers_of_the_test_are_in_the_table(train: Command) -> None:
    assert "test kl" in train(*VAE, "trainer.epochs=1").out
    metric = "+metrics.share._target_=own.RememberingShare"
    assert "test share" in train(*LINEAR, "trainer.epochs=1", metric).out


def test_a_network_that_needs_values_when_it_is_built_may_have_a_step(train: Command) -> None:
    own = ("model._target_=steps.ByNumpy", "~model.in_features", "~model.out_features")
    assert train(*LINEAR, *own, "step=supervised", "trainer.epochs=1").code == 0


def test_metrics_see_what_the_step_gives(train: Command, root: Path) -> None:
    assert (
        train(*MIXED, "trainer.epochs=1", "+metrics.share._target_=own.RememberingShare").code == 0
    )
    assert {"valid/share", "valid/accuracy", "train/loss"} <= set(only(root).epochs()[1])
    assert "train/accuracy" not in only(root).epochs()[1], "mixed examples have no class"


BATCH = "a batch of 2 examples, ([2, 64], [2])"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["step._target_=steps.nothing"], f"step=steps.nothing: training fails on {BATCH}: TypeError: the step's return value must be the loss, a tensor of one number, not a NoneType"),
        (["step._target_=steps.vector"], f"step=steps.vector: training fails on {BATCH}: ValueError: the step's return value must be one number, not of shape [2]"),
        (["step._target_=steps.detached"], "step=steps.detached: ValueError: the loss does not depend on the network's parameters"),
        (["step._target_=steps.nameless"], f"step=steps.nameless: training fails on {BATCH}: ValueError: the step must return a mapping with 'loss', not of losses"),
        (["step._target_=steps.plain_yield"], f"step=steps.plain_yield: training fails on {BATCH}: ValueError: the step must yield (part, loss), not a Tensor"),
        (["step._target_=steps.silent"], f"step=steps.silent: training fails on {BATCH}: ValueError: the step is a generator and yielded no (part, loss)"),
        (["step._target_=steps.many"], f"step=steps.many: training fails on {BATCH}: TypeError: 'count' must be one number, how much the batch counts, not a tensor of shape [3]"),
        (["step._target_=steps.wordy"], f"step=steps.wordy: training fails on {BATCH}: TypeError: 'count' must be one number, how much the batch counts, not a str"),
        (["step._target_=steps.of_no_part"], f"step=steps.of_no_part: training fails on {BATCH}: ValueError: it yields the part '', but the optimizer is of the whole network; give each part one, as in ~optimizer +optimizer@optimizer.PART=adam"),
        (["step._target_=steps.two_scores"], "step=steps.two_scores: gives 'accuracy', which is computed of output and target, too; leave out one"),
        (["step._target_=steps.rate"], "step=steps.rate: 'lr' is the name of the learning rate; give another"),
        (["step._target_=steps.unfit"], "step=steps.unfit: output and target do not fit: "),
        (["step._target_=steps.failing"], f"step=steps.failing: training fails on {BATCH}: ZeroDivisionError: as it says (steps.py, line "),
        (["step._target_=steps.failing_when_evaluated"], f"step=steps.failing_when_evaluated: evaluation fails on {BATCH}: ZeroDivisionError: as it says (steps.py, line "),
        (["step._target_=steps.of_two"], "step._target_=steps.of_two: takes (model, batch), and is called with (model, loss, batch)"),
        (["step._target_=steps.NotCallable"], "step._target_=steps.NotCallable: an object of this class cannot be called: give it a method __call__"),
        (["step._target_=steps.vea"], "step._target_=steps.vea: 'steps' has no 'vea'; did you mean 'steps.vae'?"),
        (["step._target_=3"], "step._target_=3: must be the dotted name of a class"),
        (["step._target_=steps.of_bias", "trainer.freeze=[bias]"], "step=steps.of_bias: ValueError: the loss does not depend on the network's parameters"),
        (["~optimizer", "+optimizer={a:{_target_:torch.optim.SGD}}"], "optimizer.a: parts are updated by a step that yields them; give step._target_"),
        (["+optimizer.a._target_=torch.optim.SGD"], "optimizer.a: is for a part, but there is an optimizer of the whole network; ~optimizer leaves it out"),
        (["step=vae"], "step=vae: no such option"),
        (["step._target_=steps.counted", "+step.beta=1"], "step.beta=1: steps.counted has no argument 'beta'"),
        (["step._target_=steps.counted", "+step.batch=1"], "step.batch=1: sweeplab itself gives steps.counted its 'batch'"),
        (["step._target_=steps.counted", "trainer.monitor=valid/shar"], "trainer.monitor=valid/shar: no such metric; did you mean 'valid/share'?"),
        (["step._target_=steps.counted", "trainer.monitor=valid/share"], "trainer.mode=auto: nothing says which way valid/share is better; give max or min"),
        (["step._target_=steps.counted", "+metrics.share._target_=own.RememberingShare"], "step=steps.counted: gives 'share', and so does metrics.share; rename one"),
        (["step._target_=steps.counted", "+metrics.seen._target_=own.RememberingShare"], "metrics.seen: needs output and target of an evaluation, which the step does not give (step=steps.counted)"),
        (["step._target_=steps.counted", "~optimizer", PARTS], "step=steps.counted: must yield (part, loss) for the optimizers of netD, netG"),
        (["data.task=any", "data.mean=null", "data.std=null"], "data.task=any: needs a step"),
    ],
)  # fmt: skip
def test_a_step_that_cannot_be_is_refused_before_any_work(
    train: Command, root: Path, overrides: list[str], message: str
) -> None:
    refused = train(*LINEAR, *overrides)
    assert refused.code == 2
    assert refused.err.startswith(message)
    assert not list(root.glob("runs/*/journal.jsonl"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+optimizer.netX={_target_:torch.optim.SGD,lr:0.1}"], "optimizer.netX: the network has no part of this name with parameters; did you mean 'netG'?"),
        (["optimizer.netD.lr=-1"], "optimizer.netD.lr=-1: Invalid learning rate: -1 (torch.optim.Adam)"),
        (["+optimizer.netD.beta=1"], "optimizer.netD.beta=1: torch.optim.Adam has no argument 'beta'; did you mean 'betas'?"),
        (["~optimizer.netG"], f"step=steps.gan: training fails on {BATCH}: ValueError: it yields the part 'netG', but the optimizers are those of netD"),
        (["optimizer.netD=null"], "optimizer.netD=null: must be a node with a _target_"),
        (["trainer.freeze=[netD.*]"], "trainer.freeze=['netD.*']: freezes all of netD: leave out optimizer.netD, or freeze less"),
        (["trainer.accumulate=2"], "trainer.accumulate=2: is for one optimizer, and there are those of netD, netG"),
        (["optimizer.netD._target_=torch.optim.LBFGS"], "optimizer.netD=torch.optim.LBFGS: looks at a batch several times, and a step yields each loss once"),
        (["+optimizer.netG.groups={x:{lr:0}}"], "optimizer.netG.groups: no parameter matches x; valid: 0.bias, 0.weight"),
        (["~scheduler", "+scheduler={netD:{_target_:torch.optim.lr_scheduler.ConstantLR}}"], "scheduler.netG._target_: is missing"),
        (["~scheduler", "+scheduler={netD:{_target_:torch.optim.lr_scheduler.ConstantLR},netG:{_target_:torch.optim.lr_scheduler.ConstantLR},netX:{_target_:torch.optim.lr_scheduler.ConstantLR}}"], "scheduler.netX: there is no optimizer.netX; did you mean 'netG'?"),
    ],
)  # fmt: skip
def test_optimizers_of_parts_that_cannot_be_are_refused(
    train: Command, root: Path, overrides: list[str], message: str
) -> None:
    refused = train(*GAN, *overrides)
    assert refused.code == 2
    assert refused.err.startswith(message)


NESTED = (*LINEAR, "trainer.epochs=2", "model._target_=steps.Nested", "step._target_=steps.of_nested", "~optimizer")  # fmt: skip


def test_parts_of_a_part_are_named_on_the_command_line_or_in_a_section(
    train: Command, root: Path
) -> None:
    sgd, rate = "torch.optim.SGD", "lr=0.1"
    typed = [f"+optimizer.net.{part}._target_={sgd}" for part in ("head", "body")]
    typed += [f"+optimizer.net.{part}.{rate}" for part in ("head", "body")]
    ended = train(*NESTED, *typed)
    assert ended.code == 0, ended.err
    why = "the step yielded no loss for this part in the first epoch: it is not trained"
    assert ended.err == f"run {only(root).id}: optimizer.net.body: {why}\n"
    node = f"{{_target_:{sgd},lr:0.1}}"
    for section in (
        f"{{net.head:{node},net.body:{node}}}",
        f"{{net:{{body:{node},head:{node}}}}}",
    ):
        assert "reused" in train(*NESTED, f"+optimizer={section}").out
    only(root)
    fixed = "_target_=torch.optim.lr_scheduler.ConstantLR"
    own = [f"+scheduler.net.{part}.{fixed}" for part in ("head", "body")]
    assert train(*NESTED, *typed, "~scheduler", *own, "store.root=own").code == 0
    changed = ("optimizer.net.head.lr=-1", "+optimizer.net.heat._target_=torch.optim.SGD")
    for word, message in zip(
        changed,
        ("optimizer.net.head.lr=-1: Invalid learning rate", "optimizer.net.heat: the network has"),
        strict=True,
    ):
        refused = train(*NESTED, *typed, word)
        assert (refused.code, refused.err[: len(message)]) == (2, message)


def test_one_cycle_of_parts_needs_a_rate_of_its_own(train: Command, root: Path) -> None:
    refused = train(*GAN, "scheduler=one_cycle")
    assert refused.code == 2
    assert refused.err == (
        "scheduler.max_lr: refers to optimizer.lr, which is not there; give scheduler.max_lr a "
        "value of its own (optimizers of parts of the network have one each)\n"
    )
    assert train(*GAN, "scheduler=one_cycle", "scheduler.max_lr=0.01").code == 0
    assert max(values["train/lr_netD"] for values in only(root).epochs().values()) <= 0.01


def test_arguments_of_no_step_are_refused_unless_it_was_switched_off(
    train: Command, root: Path
) -> None:
    refused = train(*LINEAR, "+step.beta=1")
    advice = "there is no step; name it, as in step._target_=my_package.step"
    assert (refused.code, refused.err) == (2, f"step.beta=1: {advice}\n")
    swept = train("-m", *LINEAR, "+step.beta=1,2")
    assert (swept.code, swept.err.count(advice)) == (2, 2)


def test_a_count_that_is_no_weight_is_refused_before_any_work_or_ends_the_run(
    train: Command, root: Path
) -> None:
    how = (*LINEAR, "step._target_=steps.weighed", "trainer.epochs=1")
    why = "gives a 'count' that is not a finite number >= 0: how much the batch counts"
    for count in (-1, "nan", "inf"):
        refused = train(*how, f"+step.count={count}")
        assert refused.code == 2
        assert why in refused.err
    ended = train(*how, "+step.count=-1", "+step.late=true")
    assert ended.code == 1
    assert why.replace("gives", "gave") in ended.err


@pytest.mark.parametrize(
    ("interval", "factor", "rate"), [("epoch", "-0.5", "-0.25"), ("step", "null", "nan")]
)
def test_a_schedule_that_gives_no_learning_rate_ends_the_run(
    train: Command, root: Path, interval: str, factor: str, rate: str
) -> None:
    own = ("~scheduler", "+scheduler._target_=steps.sinking", f"+scheduler.factor={factor}")
    how = (*LINEAR, *own, f"trainer.scheduler_interval={interval}", "optimizer.lr=0.5")
    ended = train(*how, "trainer.epochs=2")
    assert ended.code == int(interval == "step"), "the third epoch's is not used by two"
    ended = train(*how)
    assert ended.code == 1
    assert f"scheduler: LambdaLR gives the learning rate {rate}; it must be a" in ended.err


def test_a_group_of_frozen_parameters_is_told(train: Command, root: Path) -> None:
    groups = "optimizer.groups={*.bias:{lr:0.01},0.*:{weight_decay:0.1}}"
    ended = train(*SHORT, "trainer.epochs=1", "trainer.freeze=[0.*]", groups)
    told = "optimizer.groups.0.*: has no effect: trainer.freeze freezes all that it matches"
    assert [line for line in ended.out.splitlines() if "has no effect" in line] == [told]


def test_each_part_may_have_its_schedule_and_groups(train: Command, root: Path) -> None:
    schedules = "+scheduler={netD:{_target_:torch.optim.lr_scheduler.ExponentialLR,gamma:0.5},netG:{_target_:torch.optim.lr_scheduler.CosineAnnealingLR,T_max:null}}"
    groups = "+optimizer.netG.groups={*.bias:{lr:0.01}}"
    assert train(*GAN, "~scheduler", schedules, groups).code == 0
    epochs = only(root).epochs()
    assert [epochs[e]["train/lr_netD"] for e in (1, 2, 3)] == [0.002, 0.001, 0.0005]
    assert epochs[3]["train/lr_netG_0"] == pytest.approx(0.0005)
    assert epochs[3]["train/lr_netG_1"] == pytest.approx(0.005)


def test_empty_groups_of_a_part_are_as_none(train: Command, root: Path) -> None:
    train(*GAN, "trainer.epochs=1")
    assert "reused" in train(*GAN, "trainer.epochs=1", "+optimizer.netG.groups={}").out
    only(root)


def test_a_run_with_a_step_replays(train: Command, replay: Command, root: Path) -> None:
    train(*VAE, "trainer.epochs=2")
    refused = replay(only(root).id)
    assert refused.code == 2
    assert "--trust steps" in refused.err
    assert replay(only(root).id, "--trust", "steps").code == 0


def test_a_run_with_the_plain_step_replays_without_trust(
    train: Command, replay: Command, root: Path
) -> None:
    train(*LINEAR, "trainer.epochs=1", "step=supervised")
    assert replay(only(root).id).code == 0


@pytest.mark.parametrize(("step", "precision"), [(VAE, "bf16"), (GAN, "fp16")])
def test_lower_precision_holds_for_a_step(
    train: Command, root: Path, step: tuple[str, ...], precision: str
) -> None:
    assert train(*step, f"trainer.precision={precision}", "trainer.epochs=1").code == 0
    assert only(root).epochs()[1]["train/loss"] > 0


@pytest.mark.full
def test_sequences_of_different_lengths_are_learned(train: Command, root: Path) -> None:
    assert train(*WORDS, "trainer.epochs=15", "optimizer.lr=0.01").code == 0
    epochs = only(root).epochs()
    assert epochs[15]["valid/right"] > 0.8 > epochs[1]["valid/right"]
    assert "valid/accuracy" not in epochs[1]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("step._target_=null", "data.task=any: needs a step"),
        ("step._target_=steps.counted", "step=steps.counted: training fails on a batch of 2 examples, {sequence: [2, "),
        ("trainer.monitor=valid/accuracy", "trainer.monitor=valid/accuracy: no such metric; valid: train/loss, train/right, valid/loss, valid/right"),
        ("data.collate._target_=steps.pad", "data.collate._target_=steps.pad: 'steps' has no 'pad'; did you mean 'steps.padded'?"),
    ],
)  # fmt: skip
def test_a_set_of_any_form_needs_a_step_that_fits(
    train: Command, root: Path, override: str, message: str
) -> None:
    refused = train(*WORDS, override)
    assert refused.code == 2
    assert refused.err.startswith(message)

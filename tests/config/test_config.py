"""The config: typed, canonical, with nothing secret in what is written down."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import PROJECT

from sweeplab.config import (
    SECTIONS,
    Config,
    Trainer,
    canonical,
    compose,
    explain,
    flatten,
    parse,
    redact,
    redact_override,
    redact_text,
    remember_secrets,
    reveal,
    to_dict,
)
from sweeplab.config import root as root_of
from sweeplab.config.text import from_text, to_text
from sweeplab.errors import UserError

CONF = PROJECT / "conf"


def problems(raw: dict[str, Any]) -> list[str]:
    with pytest.raises(UserError) as error:
        parse(raw)
    return str(error.value).splitlines()


@pytest.fixture
def plain(root: Path) -> dict[str, Any]:
    """The default config as plain data."""
    return to_dict(compose([]))


def test_the_defaults_are_the_network_of_the_readme(root: Path) -> None:
    config = compose([])
    assert config.model["hidden"] == [392, 196]
    assert (config.model["in_features"], config.model["out_features"]) == (784, 10)
    assert (config.data.name, config.loss["_target_"]) == ("mnist", "torch.nn.CrossEntropyLoss")
    assert (config.monitor, config.mode) == ("valid/accuracy", "max")
    assert config.store.root == str(root / "runs")
    assert config.data.root == str(root / "data")


def test_a_regression_is_monitored_by_its_error(root: Path) -> None:
    config = compose(["data=diabetes", "loss=mse"])
    assert (config.monitor, config.mode) == ("valid/mae", "min")
    assert (config.model["in_features"], config.model["out_features"]) == (10, 1)


def test_parse_of_to_dict_gives_the_same_config(root: Path) -> None:
    config = compose(["model=cnn", "seed=3"])
    assert parse(to_dict(config)) == config


def test_the_root_is_the_current_folder_or_the_one_of_the_environment(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert root_of() == root
    monkeypatch.setenv("SWEEPLAB_ROOT", str(root / "elsewhere"))
    assert compose(["store.root=kept"]).store.root == str(root / "elsewhere" / "kept")


@pytest.mark.parametrize(
    ("given", "recorded"),
    [("392", 392), ("[392]", 392), ("[392,196]", [392, 196]), ("[64,64,64]", [64, 64, 64])],
)
def test_hidden_is_one_width_or_a_list_of_several(root: Path, given: str, recorded: object) -> None:
    assert compose([f"model.hidden={given}"]).model["hidden"] == recorded


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("trainer", "epochs", 0, "trainer.epochs=0: must be a whole number >= 1"),
        ("trainer", "epochs", "many", "trainer.epochs=many: must be a whole number >= 1"),
        ("trainer", "epochs", 1.5, "trainer.epochs=1.5: must be a whole number >= 1"),
        ("trainer", "epochs", True, "trainer.epochs=true: must be a whole number >= 1"),
        ("trainer", "epochs", None, "trainer.epochs=null: must be a whole number >= 1"),
        ("trainer", "patience", 0, "trainer.patience=0: must be a whole number >= 1, or null; did you mean 'trainer.patience=null'?"),
        ("trainer", "clip_norm", -1, "trainer.clip_norm=-1: must be a number > 0, or null; did you mean 'trainer.clip_norm=null'?"),
        ("trainer", "time_limit", "1h", "trainer.time_limit=1h: must be a number > 0 (seconds), or null"),
        ("trainer", "compile", "maybe", "trainer.compile=maybe: must be true or false"),
        ("trainer", "target", "high", "trainer.target=high: must be a number, or null"),
        ("trainer", "precision", "fp12", "trainer.precision=fp12: must be one of fp32, bf16, fp16; did you mean 'fp32'?"),
        ("trainer", "epoch", 3, "trainer.epoch=3: no such key; did you mean 'epochs'?"),
        ("data", "shape", "big", "data.shape=big: must be a list of whole numbers >= 1, or null"),
        ("data", "shape", [0, 64], "data.shape=[0, 64]: must be a list of whole numbers >= 1, or null"),
        ("data", "shape", [], "data.shape=[]: must be a list of whole numbers >= 1, or null"),
        ("data", "split_seed", -1, "data.split_seed=-1: must be a whole number >= 0"),
        ("data", "split_seed", 2**70, "data.split_seed=1180591620717411303424: must be at most 9223372036854775807"),
        ("data", "workers", 10**9, "data.workers=1000000000: must be at most 1024"),
        ("data", "std", math.inf, "data.std=inf: must be finite, or null"),
        ("trainer", "threads", 1e308, "trainer.threads=1e+308: must be at most 1024, or null"),
        ("trainer", "threads", 100000, "trainer.threads=100000: must be at most 1024, or null"),
        ("trainer", "epochs", 1e308, "trainer.epochs=1e+308: must be at most 2147483647"),
        ("trainer", "batch_size", 10**30, f"trainer.batch_size={10**30}: must be at most 2147483647"),
        ("trainer", "eval_batch_size", 1e18, "trainer.eval_batch_size=1e+18: must be at most 2147483647"),
        ("trainer", "patience", math.inf, "trainer.patience=inf: must be a whole number >= 1, or null"),
        ("trainer", "time_limit", math.inf, "trainer.time_limit=inf: must be finite, or null"),
        ("trainer", "time_limit", math.nan, "trainer.time_limit=nan: must be a number > 0 (seconds), or null"),
        ("trainer", "time_limit", 1e300, "trainer.time_limit=1e+300: must be at most 1000000000, or null"),
        ("trainer", "clip_norm", math.inf, "trainer.clip_norm=inf: must be finite, or null"),
        ("trainer", "clip_norm", 10**310, f"trainer.clip_norm={10**310}: must be finite, or null"),
        ("trainer", "min_delta", math.inf, "trainer.min_delta=inf: must be finite"),
        ("trainer", "min_delta", math.nan, "trainer.min_delta=nan: must be a number >= 0"),
        ("trainer", "target", -math.inf, "trainer.target=-inf: must be finite, or null"),
        ("trainer", "shift", 28, "trainer.shift=28: must be less than 28, the smaller side of data.shape=[1, 28, 28]"),
        ("tracking", "wait", math.inf, "tracking.wait=inf: must be finite"),
        ("sweep", "workers", 10**9, "sweep.workers=1000000000: must be at most 100000"),
        ("sweep", "job_timeout", 1e12, "sweep.job_timeout=1000000000000.0: must be at most 1000000000, or null"),
        ("data", "task", "classify", "data.task=classify: must be one of classification, regression, any; did you mean 'classification'?"),
        ("tracking", "uri", [1], "tracking.uri=[1]: must be a text, or null"),
        ("store", "root", None, "store.root=null: must be the path of a folder"),
    ],
)  # fmt: skip
def test_a_wrong_value_names_key_value_and_what_is_allowed(
    plain: dict[str, Any], section: str, key: str, value: object, message: str
) -> None:
    plain[section][key] = value
    assert problems(plain) == [message]


def test_all_problems_are_listed_together(plain: dict[str, Any]) -> None:
    plain["trainer"] |= {"epochs": 0, "zz": 1}
    plain["sed"] = 1
    del plain["loss"]
    found = problems(plain)
    assert found[0] == "sed=1: no such key; did you mean 'seed=1'?"
    assert found[1].startswith("loss: missing; ")
    assert found[2].startswith("trainer.zz=1: no such key; valid: ")
    assert found[3] == "trainer.epochs=0: must be a whole number >= 1"


def test_sections_must_be_sections(plain: dict[str, Any]) -> None:
    trainer, model = problems(plain | {"trainer": 3, "model": "mlp"})
    assert trainer.startswith("trainer=3: a section of keys is expected; valid: accumulate, ")
    assert model == "model=mlp: a section of keys is expected"
    del plain["data"]["name"]
    assert problems(plain) == ["data.name: missing; give the data set a name, as in name: mine"]


def test_a_reference_that_leads_nowhere_is_named(plain: dict[str, Any]) -> None:
    plain["model"]["in_features"] = "${data.nothing}"
    own = "give model.in_features a value of its own"
    assert problems(plain) == [
        f"model.in_features: refers to data.nothing, which is not there; {own}"
    ]


def test_the_seed_is_a_whole_number_and_zero_is_one(plain: dict[str, Any]) -> None:
    assert parse(plain | {"seed": 0}).seed == 0
    assert parse(plain | {"seed": 2**63 - 1}).seed == 2**63 - 1
    assert problems(plain | {"seed": None}) == ["seed=null: must be a whole number >= 0"]
    for wrong in (-1, 1.5, "nan"):
        assert problems(plain | {"seed": wrong}) == [f"seed={wrong}: must be a whole number >= 0"]
    assert problems(plain | {"seed": 2**64}) == [
        "seed=18446744073709551616: must be at most 9223372036854775807"
    ]


def test_the_limits_themselves_are_allowed(plain: dict[str, Any]) -> None:
    plain["trainer"] |= {"threads": 1024, "epochs": 2**31 - 1, "time_limit": 1e9, "shift": 27}
    plain["data"]["shape"] = [1.0, 28, 28]
    config = parse(plain)
    assert (config.trainer.threads, config.trainer.time_limit, config.trainer.shift) == (
        1024,
        1e9,
        27,
    )
    assert str(config.data.shape) == "[1, 28, 28]"


def test_keys_that_a_file_of_a_users_own_lacks_have_their_defaults(root: Path) -> None:
    (root / "conf" / "trainer").mkdir(parents=True)
    (root / "conf" / "data").mkdir()
    (root / "conf" / "trainer" / "short.yaml").write_text("epochs: 3\n")
    (root / "conf" / "data" / "mine.yaml").write_text(
        "name: mine\nin_features: 5\nout_features: 2\n"
    )
    config = compose(
        ["trainer=short", "data=mine", "data.valid=100", "trainer.patience=null"], root / "conf"
    )
    assert config.trainer == Trainer(epochs=3, patience=None)
    assert (config.data.name, config.data.valid, config.data.memory) == ("mine", 100, 2048)
    assert config.model["in_features"] == 5
    with pytest.raises(UserError) as error:
        compose(["data=mine", "~data.name"], root / "conf")
    assert str(error.value) == "data.name: missing; give the data set a name, as in name: mine"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("tracking: off", "{'tracking': False}: YAML reads off, no, on and yes as true or false;"),
        ("trainer: 3", "{'trainer': 3}: must be the name of a file, or a group and the name of"),
        ("[mlp]", "['mlp']: must be the name of a file, or a group and the name of"),
        ("", "None: must be the name of a file, or a group and the name of"),
    ],
)
def test_an_entry_that_no_defaults_list_may_have_is_told_with_its_file(
    root: Path, entry: str, said: str
) -> None:
    (root / "mine.yaml").write_text(f"defaults:\n  - config\n  - {entry}\n")
    with pytest.raises(Exception, match="in defaults") as raised:
        compose(["seed=1"], root, "mine")
    assert str(explain(raised.value, ["seed=1"])).startswith(f"mine.yaml: defaults: {said}")


def test_a_group_that_stands_twice_in_a_defaults_list_is_told(root: Path) -> None:
    (root / "mine.yaml").write_text("defaults:\n  - config\n  - loss: mse\n  - loss: nll\n")
    with pytest.raises(Exception, match="Multiple values") as raised:
        compose(["seed=1"], root, "mine")
    said = "loss: stands twice in the defaults list of a file; keep one of the two"
    assert explain(raised.value, ["seed=1"]) == said


def test_a_number_that_is_a_text_is_told_to_be_one(plain: dict[str, Any]) -> None:
    plain["seed"], plain["trainer"]["progress"] = "4", "true"
    advice = "is a text here: no quotes, and ${oc.decode:${oc.env:NAME}} for a variable"
    assert problems(plain) == [
        f"trainer.progress=true: must be true or false; true {advice}",
        f"seed=4: must be a whole number >= 0; 4 {advice}",
    ]


def changed(*overrides: str) -> dict[str, Any]:
    """What differs between the canonical forms of the default config and of one with these overrides."""
    before, after = flatten(canonical(compose([]))), flatten(canonical(compose(list(overrides))))
    return {key: after.get(key) for key in before | after if before.get(key) != after.get(key)}


@pytest.mark.parametrize(
    "override",
    [
        "trainer.device=cpu",
        "trainer.threads=1",
        "trainer.deterministic=false",
        "trainer.progress=false",
        "store.root=other",
        "data.root=other",
        "data.workers=2",
        "tracking=off",
        "tracking.uri=http://127.0.0.1:5000",
        "sweep.id=abc",
        "trainer.monitor=valid/accuracy",
        "trainer.mode=max",
        "trainer.epochs=20.0",
        "optimizer.weight_decay=0",
    ],
)
def test_where_and_how_is_not_what(root: Path, override: str) -> None:
    assert changed(override) == {}


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("seed=1", "seed", 1),
        ("model.hidden=64", "model.hidden", 64),
        ("optimizer.lr=0.01", "optimizer.lr", 0.01),
        ("trainer.epochs=21", "trainer.epochs", 21),
        ("trainer.precision=bf16", "trainer.precision", "bf16"),
        ("trainer.compile=true", "trainer.compile", True),
        ("data.valid=100", "data.valid", 100),
        ("data.split_seed=1", "data.split_seed", 1),
        ("loss.label_smoothing=0.1", "loss.label_smoothing", 0.1),
        ("scheduler.factor=0.1", "scheduler.factor", 0.1),
    ],
)
def test_what_is_computed_is_all_in_the_canonical_form(
    root: Path, override: str, key: str, value: object
) -> None:
    assert changed(override) == {key: value}


def test_flat_names_are_those_of_the_command_line() -> None:
    nested = {"model": {"hidden": [3, 4], "x": {}}, "seed": 0}
    assert flatten(nested) == {"model.hidden": [3, 4], "model.x": {}, "seed": 0}


def test_secrets_are_hidden_by_whole_words_of_their_key() -> None:
    given = {
        "password": "a", "api_key": "b", "hf_token": "c", "apikey": "d", "secret": None,
        "max_tokens": 5, "tokenizer": "bpe", "uri": "postgresql://me:pw@host/db?sslpassword=x", "list": ["http://u:p@h"],
    }  # fmt: skip
    assert redact(given) == {
        "password": "*** (sha256 ca978112)", "api_key": "*** (sha256 3e23e816)", "hf_token": "*** (sha256 2e7d2c03)",
        "apikey": "*** (sha256 18ac3e73)", "secret": None, "max_tokens": 5, "tokenizer": "bpe",
        "uri": "postgresql://***@host/db?sslpassword=*** (sha256 aa3a968a)", "list": ["http://***@h (sha256 e7d7b479)"],
    }  # fmt: skip


KEYS_OF_ACCESS = """
    password db_password PASSWORD userPassword password2 password_hash passphrase pwd secret client_secret clientSecret
    token authToken auth_token hf_token HF_TOKEN access-token id_token sas_token token_value authtoken api_key apiKey
    X-Api-Key apikey private_key privateKey access_key aws_secret_access_key AWSSecretAccessKey AccountKey credential
    credentials cookie Set-Cookie dsn bearer Authorization auth connection_string jwt db_pass 비밀번호
    wandb_key WANDB_KEY kaggle.key openai_key passwort datenbank_kennwort
"""


@pytest.mark.parametrize("key", KEYS_OF_ACCESS.split())
def test_a_secret_of_this_key_is_hidden(key: str) -> None:
    assert redact({"model": {key: "hunter2"}}) == {"model": {key: "*** (sha256 f52fbd32)"}}
    assert redact({key: True, "x": {key: 3}, "y": {key: 0.5}, "z": {key: None}}) == {
        key: True, "x": {key: 3}, "y": {key: 0.5}, "z": {key: None}
    }  # fmt: skip


@pytest.mark.parametrize(("key", "value"), [
    ("class_token", "cls"), ("cls_token", "first"), ("mask_token", "[MASK]"), ("pad_token", "<pad>"), ("eos_token", "</s>"),
    ("token", "<|endoftext|>"), ("token", "mean"), ("tokens", ["a", "b"]), ("classToken", "learned"), ("num_tokens", 4),
    ("tokenizer", "bpe"), ("token_dim", "auto"), ("key", "label"), ("keys", ["image", "mask"]), ("author", "hunter2"),
    ("password_file", "there"), ("low_pass", "butter"), ("auth", "basic"), ("monkey", "hunter2"), ("secret_sharing", "x"),
    ("hf_token", "${oc.env:HF_TOKEN}"), ("signature", "x: int -> float"),
    ("pass", "forward"), ("password_strength_dataset", "rockyou"), ("passphrase_encoder", "lstm"),
    ("arch", "sk-resnext50-32x4d-cifar10"), ("arch", "rk_test_3"), ("url", "https://discord.com/api/docs"),
])  # fmt: skip
def test_a_setting_that_is_called_like_a_secret_is_none(key: str, value: object) -> None:
    assert redact({key: value}) == {key: value}


@pytest.mark.parametrize("secret", [
    "9f86d081884c7d659a2feaa0c55ad015", "q7Rt2LmX9vB4nK8sPz3W", "hf_AbCdEfGhIjKlMnOpQrStUv", "f47ac10b-58cc-4372-a567-0e02b2c3d479",
])  # fmt: skip
@pytest.mark.parametrize("key", ["class_token", "key", "tokens"])
def test_what_looks_random_is_a_secret_where_it_may_be_one(key: str, secret: str) -> None:
    assert redact({key: secret})[key].startswith("*** (sha256 ")


@pytest.mark.parametrize("secret", [
    "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc", "sk-proj-" + "q7Rt2LmX9vB4nK8sPz3W-x_1",
    "https://hooks.slack.com/services/" + "T00000000/B00000000/q7Rt2LmX9vB4nK8sPz3W",
    "https://discord.com/api/webhooks/" + "123456789/q7Rt2LmX9vB4-nK8sPz3W",
])  # fmt: skip
def test_a_secret_is_told_by_its_form_under_any_key(secret: str) -> None:
    assert "*** (sha256 " in redact({"x": secret})["x"]
    assert secret[-14:] not in redact({"x": secret})["x"]


def test_all_in_a_section_of_secrets_is_hidden_but_its_class() -> None:
    given = {
        "credentials": {"_target_": "my.Login", "user": "me", "ports": [1, 2], "all": ["a"]},
        "token": {"dim": "x"},
    }
    assert redact(given) == {
        "credentials": {
            "_target_": "my.Login", "user": "*** (sha256 2744ccd1)", "ports": [1, 2], "all": ["*** (sha256 ca978112)"]
        },
        "token": {"dim": "x"},
    }  # fmt: skip
    assert redact(redact(given)) == redact(given), "hidden once"


@pytest.mark.parametrize(("text", "said"), [
    ("model.password=hunter2: no such key", "model.password=*** (sha256 f52fbd32): no such key"),
    ("model.password: no such key", "model.password: no such key"),
    ("password=12345: must be a text", "password=12345: must be a text"),
    ("invalid choice: 'model.password=hunter2'", "invalid choice: 'model.password=*** (sha256 f52fbd32)'"),
    ("got {'password': 'hunter2', 'n': 3}", "got {'password': *** (sha256 f52fbd32), 'n': 3}"),
    ("x.where=model.password == 'hunter2'", "x.where=model.password == *** (sha256 f52fbd32)"),
    ("Authorization: Bearer hunter2hunter2", "Authorization: Bearer *** (sha256 76880d60)"),
    ("Server=h;Password=hunter2;Db=x", "Server=h;Password=*** (sha256 f52fbd32);Db=x"),
    ("https://h/a?sig=hunter2&v=1", "https://h/a?sig=***&v=1"),
    ("in f(token=token, key=self.key)", "in f(token=token, key=self.key)"),
    ("    token = tokens[i]", "    token = tokens[i]"),
    ("unexpected token: foo", "unexpected token: foo"),
    ("give http://USER:PASSWORD@HOST", "give http://USER:PASSWORD@HOST"),
    ("ghp_0123456789abcdefghijABCDEFGHIJ456789 is refused", "*** (sha256 cf588c7a) is refused"),
])  # fmt: skip
def test_secrets_in_a_text_are_hidden_by_their_form(root: Path, text: str, said: str) -> None:
    assert redact_text(text) == said
    assert redact_text(said) == said, "hidden once"


def test_a_text_that_repeats_a_known_secret_hides_it(root: Path) -> None:
    remember_secrets(
        [
            "model.password='a b/c'",
            "x.token=abc",
            "data.uri=http://me:se5ame@h",
            "my.passphrase=longer-than-8",
        ]
    )
    assert redact_text("a b/c, a%20b%2Fc, se5ame, xse5amex, abc, (longer-than-8)") == (
        "*** (sha256 539138d5), *** (sha256 539138d5), *** (sha256 bf9921b6), xse5amex, abc, (*** (sha256 da426a6d))"
    )


def test_nothing_is_built_of_a_hidden_value(root: Path) -> None:
    with pytest.raises(
        UserError, match=r"^model.activation, data.root: \*\*\* stands for a secret"
    ):
        parse(
            {
                "model": {"activation": "*** (sha256 f52fbd32)"},
                "data": {"root": "http://***@h (sha256 f52fbd32)"},
            }
        )
    with pytest.raises(UserError, match=r"^m.b=\*\*\*: its value is a secret, .*; give m.b$"):
        reveal({"a": 1, "b": "***"}, "m", {}, "give {key}")
    recorded = redact({"password": "hunter2", "uri": "http://u:p@h"})
    assert reveal(recorded, "m", {"m.password": "hunter2", "m.uri": "http://u:p@h"}, "") == {
        "password": "hunter2", "uri": "http://u:p@h"
    }  # fmt: skip
    with pytest.raises(
        UserError, match=r"^m.password: what is given is not the value of the record"
    ):
        reveal(recorded, "m", {"m.password": "hunter3", "m.uri": "http://u:p@h"}, "")


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("+data.dataset.token=abc", "+data.dataset.token=*** (sha256 ba7816bf)"),
        (
            "data.dataset={_target_:my.Set,password:abc}",
            "data.dataset={_target_:my.Set,password:*** (sha256 ba7816bf)}",
        ),
        (
            "tracking.uri=http://me:pw@127.0.0.1:5000",
            "tracking.uri=http://***@127.0.0.1:5000 (sha256 8caf5064)",
        ),
        (
            "tracking.uri=http://me:p@w@127.0.0.1:5000",
            "tracking.uri=http://***@127.0.0.1:5000 (sha256 ef6d5715)",
        ),
        (
            "tracking.uri=postgresql://me:p/w?@h/db",
            "tracking.uri=postgresql://***@h/db (sha256 293742b6)",
        ),
        (
            "tracking.uri=postgresql://h/db?user=me&password=pw&x=1",
            "tracking.uri=postgresql://h/db?user=me&password=***&x=1 (sha256 c28751f4)",
        ),
        ("data.dataset.url=http://host:5000/a@b", "data.dataset.url=http://host:5000/a@b"),
        ("model.hidden=[392,196]", "model.hidden=[392,196]"),
        ("~metrics", "~metrics"),
    ],
)
def test_secrets_of_overrides_are_hidden(given: str, written: str) -> None:
    assert redact_override(given) == written


def test_the_yaml_files_and_the_typed_sections_have_the_same_keys_and_defaults() -> None:
    trainer = yaml.safe_load((CONF / "trainer/default.yaml").read_text())
    default = Trainer()
    assert trainer == {f.name: getattr(default, f.name) for f in fields(Trainer)}
    for file in (CONF / "data").glob("*.yaml"):
        assert set(yaml.safe_load(file.read_text())) == {
            f.name for f in fields(SECTIONS["data"])
        }, file.name
    for name in ("mlflow", "off"):  # the others begin with one of these
        file = CONF / "tracking" / f"{name}.yaml"
        assert set(yaml.safe_load(file.read_text())) == {
            f.name for f in fields(SECTIONS["tracking"])
        }, file.name


def test_every_option_of_every_group_composes_and_parses(root: Path) -> None:
    for folder in sorted(p for p in CONF.iterdir() if p.is_dir()):
        for file in sorted(folder.glob("*.yaml")):
            fits = ["loss=mse"] if file.stem == "diabetes" else []
            assert isinstance(compose([f"{folder.name}={file.stem}", *fits]), Config), file


@pytest.mark.parametrize(
    ("typed", "shown"),
    [("1e30", "1e+30"), ("-1e300", "-1e+300"), ("inf", "inf"), ("nan", "nan"), ("1e15", "1000000000000000"),
     ("9223372036854775807", "9223372036854775807"), ("1" + "0" * 400, "1" + "0" * 400)],
)  # fmt: skip
def test_a_large_number_is_shown_as_it_may_be_typed(typed: str, shown: str) -> None:
    assert to_text(from_text(typed)) == shown
    assert to_text(from_text(shown)) == shown


def test_a_key_below_an_empty_one_is_added_by_a_plus(root: Path) -> None:
    with pytest.raises(Exception) as error:  # noqa: PT011  # Hydra's, which `explain` reads
        compose(["trainer.freeze.layer=1"])
    assert explain(error.value, ["trainer.freeze.layer=1"]) == (
        "trainer.freeze.layer=1: no such key; a key below an empty one is added by a plus: "
        "+trainer.freeze.layer=1"
    )

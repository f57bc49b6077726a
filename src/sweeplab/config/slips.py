"""Mend what was typed by mistake: the words that were meant, to be copied into the shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeplab.config.hydra_calls import conf_dir
from sweeplab.errors import did_you_mean, near_name

KEY = re.compile(r"(?:\+\+?|~)?[\w$-]+(?:[./][\w$-]+)*(?:@[\w.:-]*)?")
SETTING = re.compile(rf"{KEY.pattern}=")
_ENCLOSED = re.compile(r"\[[^\[\]]*\]|\{[^{}]*\}|\([^()]*\)|'[^']*'|\"[^\"]*\"")
TYPESET = str.maketrans("–—−", "---", "‘’“”")
"""Dashes and quotes that word processors and web pages put in the place of the keyboard's."""
MEANT = "; did you mean "
A_SWEEP = "several values are a sweep, which "
TAKES_M = f"{A_SWEEP}takes -m"
SECTIONS_FIRST = ("trainer", "optimizer", "model", "data")
"""Where a key without its section is looked for first."""
NEAR_ANYWHERE = 0.75  # how alike names of any section must be: there are a hundred

OTHER_NAMES = {
    "random_seed": "seed",
    "seeds": "seed",
    "opt": "optimizer",
    "optim": "optimizer",
    "criterion": "loss",
    "experiments": "experiment",
    "net": "model",
    "bn": "model.batch_norm",
    "batchnorm": "model.batch_norm",
    "learning_rate": "optimizer.lr",
    "early_stopping": "trainer.patience",
    "early_stop": "trainer.patience",
    "dataset": "data",
    "network": "model",
    "num_workers": "data.workers",
    "max_steps": "trainer.limit_batches",
    "wd": "optimizer.weight_decay",
    "bs": "trainer.batch_size",
    "b": "trainer.batch_size",
    "e": "trainer.epochs",
    "j": "data.workers",
    "s": "seed",
    "betas": "+optimizer.betas",
    "nesterov": "+optimizer.nesterov",
    "l2": "optimizer.weight_decay",
    "dropout_rate": "model.dropout",
    "hidden_size": "model.hidden",
    "hidden_units": "model.hidden",
    "accelerator": "trainer.device",
    "output_dir": "store.root",
    "log_dir": "store.root",
    "experiment_name": "tracking.experiment",
    "batch": "trainer.batch_size",
    "amp": "trainer.precision=bf16",
    "fp16": "trainer.precision=fp16",
    "bf16": "trainer.precision=bf16",
    "cuda": "trainer.device=cuda",
    "gpu": "trainer.device=cuda",
    "gpus": "trainer.device=cuda",
    "cpu": "trainer.device=cpu",
    "conf": "--config-name",
    "config": "--config-name",
    "mixed_precision": "trainer.precision=bf16",
    "debug": "debug=smoke",
    "dry_run": "debug=smoke",
    "fast_dev_run": "debug=smoke",
    "max_iter": "trainer.epochs",
    "num_train_epochs": "trainer.epochs",
    "per_device_train_batch_size": "trainer.batch_size",
    "gradient_clip_val": "trainer.clip_norm",
    "max_grad_norm": "trainer.clip_norm",
    "gradient_accumulation_steps": "trainer.accumulate",
    "n_iter_no_change": "trainer.patience",
    "verbose": "trainer.progress",
    "hidden_layer_sizes": "model.hidden",
    "solver": "optimizer",
    "checkpoint_dir": "store.root",
    "project": "tracking.experiment",
    "n_jobs": "sweep.workers",
    "n_trials": "hydra.sweeper.n_trials",
    "launcher": "hydra/launcher",
}
"""What other programs call a key; with a value where theirs would not fit."""

LAUNCHER = "hydra.launcher"
LAUNCHER_NAMES = {
    "timeout_min": "time",
    "mem": "memory",
    "mem_gb": "memory",
    "cpus_per_task": "cores",
    "gpus_per_node": "gpus",
    "gres": "gpus",
    "array_parallelism": "workers",
    "additional_parameters": "options",
    "num_cpus": "cpus_per_node",
}
"""What sbatch, and other launchers of Hydra's, call a key of a launcher."""

WITH_OPTIONS = ("optimizer", "model", "scheduler", "loss", "data")
COLUMN = "data.dataset.target"
"""The key that is meant by `target` and `data.target` where the value is not a number."""

_AGAIN = "; leave it out: the same command again goes on where the run was interrupted"
_BEST = "; leave it out: a run keeps the weights of its best epoch"
_SIZES = "; leave it out: the data tell it"
_SHARES = "; data.valid and data.test are numbers of examples, as in data.valid=5000"
WITHOUT = {
    "shuffle": "; leave it out: training examples come in another order in each epoch",
    "resume": _AGAIN,
    "resume_from_checkpoint": _AGAIN,
    "checkpoint": "; leave it out: each run keeps its checkpoints; sweeplab help trainer.checkpoint_every",
    "save_model": _BEST,
    "load_best_model_at_end": _BEST,
    "callbacks": "; leave it out: early stopping and checkpoints are on; trainer.patience says how long",
    "run_name": "; leave it out: a run is named by what was typed; tracking.experiment names a group",
    "log_interval": "; leave it out: each epoch is recorded",
    "devices": "; leave it out: each run of a sweep has a GPU of its own, if there is one",
    "num_classes": _SIZES,
    "input_size": _SIZES,
    "validation_split": _SHARES,
    "test_size": _SHARES,
}
"""Keys of other programs that have no counterpart here, each with the advice in its place."""


def meant(*words: str) -> str:
    """Return the end of a message: the words that were meant, quoted for the shell; of several
    values for a key, with the -m that they take.
    """
    if words[0] != "-m" and any(map(_is_swept, words)):
        words = ("-m", *words)
    return f"{MEANT}{' '.join(map(_quoted, words))}?"


def in_python(message: str) -> str:
    """Return a message about the words of a command line for who gave them to a function of
    Python: what was meant is a call of `sweeplab.sweep`, or texts.
    """
    about, is_meant, told = message.replace(TAKES_M, f"{A_SWEEP}sweeplab.sweep takes").partition(
        MEANT
    )
    typed, mark, rest = told.partition("?")
    if not is_meant or not mark or not typed.startswith(("'", "-m '")):
        return f"{about}{is_meant}{told}"
    words = shlex.split(typed)
    texts = ", ".join(repr(word) for word in words if word != "-m")
    if words[0] == "-m":
        texts = f"sweeplab.sweep({texts})"
    return f"{about}{is_meant}{texts}{mark}{rest}"


@dataclass(kw_only=True, slots=True)
class Mend:
    """Words of a command line that were typed by mistake, and those that `meant` has told."""

    typed: list[str]
    reason: str
    cure: list[str]

    @classmethod
    def of(cls, message: str, words: Sequence[str]) -> Mend | None:
        """Read a message about a command line; None if it tells no words, or is about others."""
        about, _, told = message.lstrip("+").partition(MEANT)
        cure: list[str] = []
        if told.startswith(("'", "-")):
            cure = shlex.split(re.split(r"\?(?:$|;)", told)[0])
        typed: list[str] = []
        for word in words:
            named = " ".join([*typed, word]).lstrip("+")
            if about.startswith((f"{named} ", f"{named}: ")):
                typed.append(word)
        reason = about.removeprefix(f"{' '.join(typed).lstrip('+')}: ")
        if not cure or reason == about or not all("=" in word or word == "-m" for word in cure):
            return None
        return cls(typed=typed, reason=reason, cure=cure)

    def applied(self, words: Sequence[str]) -> list[str]:
        """Return the command line with the cure in the place of what was typed."""
        keys = [word.partition("=")[0] for word in self.cure]
        line: list[str] = []
        for word in words:
            if word == self.typed[0]:
                line += self.cure
            elif word not in self.typed and word.partition("=")[0] not in keys:
                line.append(word)
        if "-m" in line:
            line = ["-m", *(word for word in line if word != "-m")]
        return line


def is_overruled(word: str, after: str) -> bool:
    """Whether the next word gives the same key another value; mappings would be merged."""
    key, equals, value = word.partition("=")
    next_key, _, next_value = after.partition("=")
    is_same = key.lstrip("+") == next_key.lstrip("+") and bool(equals)
    return is_same and value != next_value and "{" not in (value[:1], next_value[:1])


def _is_swept(word: str) -> bool:
    """Whether a setting lists several values, outside of brackets and quotes."""
    value = word.partition("=")[2]
    while value != (outside := _ENCLOSED.sub("", value)):
        value = outside
    return "," in value


def _quoted(word: str) -> str:
    if word.startswith("-"):
        return word
    return "'" + word.replace("'", "'\"'\"'") + "'"


def setting_meant(typed: str, keys: Iterable[str]) -> str:
    """Return the end of a message about a setting whose key there is not; '' if none is near."""
    key, _, value = typed.partition("=")
    name = key.lstrip("+~")
    section, _, last = name.rpartition(".")
    if advice := WITHOUT.get(last):
        return advice
    if section in WITH_OPTIONS and last in ("name", "type"):
        return meant(f"{section}={value}")
    if name in ("target", "data.target") and not re.match(r"[\d.]", value):
        name = COLUMN
    keys = list(keys)
    if option := _option_with(name, keys):
        return meant(option[0], f"{option[1]}={value}")
    found = key_meant(name, keys)
    is_switch = value.lower() in ("true", "false")
    if not found or (is_switch and found in keys and "." not in found):  # a group has names
        return ""
    if found.startswith("--"):
        return meant(found, value)
    if "=" not in found:
        return meant(f"{found}={_value_meant(found, value)}")
    if value.lower() == "false":
        found = found.replace("=cuda", "=cpu")
    return meant(found)


def _value_meant(key: str, value: str) -> str:
    """Return the value that a key takes in the place of one that other programs have."""
    if key == "trainer.device":
        return value.replace("gpu", "cuda")
    if key == "trainer.monitor" and value.startswith("val_"):
        name = value.removeprefix("val_")
        return f"valid/{near_name(name, ('loss', 'accuracy', 'mae'), cutoff=0.5) or name}"
    return value


def _option_with(typed: str, keys: Iterable[str]) -> tuple[str, str] | None:
    """Return the choice of an option that ships with sweeplab and has this key, and the whole key:
    optimizer=sgd, optimizer.momentum; None if none has it, or the keys of a config do.
    """
    import yaml

    section, _, name = typed.rpartition(".")
    known = {key.rpartition(".")[2] for key in keys} | set(OTHER_NAMES)
    if typed in keys or (name in known and typed != COLUMN):
        return None
    for group in WITH_OPTIONS:
        for file in sorted((conf_dir() / group).glob("*.yaml")):
            for key in dotted_keys(yaml.safe_load(file.read_text(encoding="utf-8")), group):
                if key.startswith(section) and key.rpartition(".")[2] == name:
                    return f"{group}={file.stem}", key
    return None


def dotted_keys(node: Mapping[Any, Any], section: str = "") -> list[str]:
    """Return the keys of a config at every depth, sections among them."""
    keys: list[str] = []
    for name, value in node.items():
        key = f"{section}.{name}" if section else str(name)
        keys.append(key)
        if isinstance(value, Mapping):
            keys += dotted_keys(value, key)
    return keys


def key_meant(typed: str, keys: Iterable[str]) -> str:
    """Return the key of a config that was meant: of this name in any section, else the nearest.

    `keys` are all dotted keys, sections among them. Returns '' if none is near.
    """
    section, _, name = typed.lstrip("+~").replace("/", ".").rpartition(".")
    if section.startswith("hydra") or typed == "name":  # data.name is no run's
        return ""
    name = name.replace("-", "_")
    ordered = sorted(keys, key=_rank)
    for key in ordered:
        if key.casefold() == f"{section}.{name}".strip(".").casefold():
            return key
    other = OTHER_NAMES.get(name.lower(), "")
    anywhere = {key.rpartition(".")[2]: key for key in reversed(ordered)}
    if other or name in anywhere:
        return other or anywhere[name]
    siblings = {key.rpartition(".")[2]: key for key in ordered if key.rpartition(".")[0] == section}
    near = near_name(name, siblings)
    if near:
        return siblings[near]
    if section:
        return ""
    anywhere = OTHER_NAMES | anywhere
    return anywhere.get(near_name(name, anywhere, cutoff=NEAR_ANYWHERE), "")


def launcher_key_meant(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about a key that the launcher does not have, which has these."""
    keys = [key for key in known if key != "_target_"]
    if not keys:
        return "; the launcher that is chosen has none; another may: hydra/launcher=slurm, say"
    near = LAUNCHER_NAMES.get(name, "")
    if near not in keys:
        near = near_name(name, keys)
    if near:
        return f"{MEANT}'{LAUNCHER}.{near}'?"
    more = f"; another option of sbatch stands in {LAUNCHER}.options" if "options" in keys else ""
    return did_you_mean(name, keys) + more


def other_key(typed: str, keys: Sequence[str]) -> str:
    """Return the end of a message about a key that there is not, given without a value."""
    near = key_meant(typed, keys).partition("=")[0]
    return f"{MEANT}'{near}'?" if near else did_you_mean(typed, keys)


def _rank(key: str) -> tuple[int, int]:
    """Put the shorter keys first, and among them those of the sections that people set most."""
    section = key.partition(".")[0]
    place = len(SECTIONS_FIRST)
    if section in SECTIONS_FIRST:
        place = SECTIONS_FIRST.index(section)
    return key.count("."), place


def joined(words: Sequence[str], *, has_names: bool = False) -> list[str]:
    """Put together the settings that blanks have broken apart: `model = cnn`, `hidden=[1, 2]`.

    `epochs:5` and `epochs==5` are epochs=5; `epochs 5` is, too, unless words without `=` are names;
    several values that follow a setting are a list, as are those in parentheses; a bracket that is
    left open is closed.
    """
    settings: list[str] = []
    for word in words:
        if settings and _goes_on(settings[-1], word):
            is_next_value = settings[-1][-1] not in "[{(,:=." and word[0] not in "]}),=:."
            settings[-1] += f",{word}" if is_next_value else word
        else:
            if settings and SETTING.match(word):
                settings[-1] = settings[-1].rstrip(",")
            settings.append(word)
    if has_names:
        return settings
    return [_with_equals(word) for word in _with_values(settings)]


def _with_values(words: Sequence[str]) -> list[str]:
    """Give words without `=` to the settings, or keys, that they are values of."""
    settings: list[str] = []
    for word in words:
        if settings and _is_value_of(settings[-1], word):
            key, _, values = settings[-1].partition("=")
            listed = [*values.strip("[]").split(","), word] if values else [word]
            settings[-1] = f"{key}={_list(key, listed)}"
        else:
            settings.append(word)
    return settings


def _goes_on(before: str, word: str) -> bool:
    """Whether a word belongs to the one before it: an open bracket, or a sign at its edge."""
    if before.endswith(".") and "=" not in before:
        return True
    if before.count("[") > before.count("]") or before.count("{") > before.count("}"):
        return True
    if SETTING.match(word):
        return False
    return before.endswith(("=", ",")) or word.startswith(("=", ",", "."))


def _is_value_of(before: str, word: str) -> bool:
    """Whether a word without `=` is a value of the setting, or of the key, before it."""
    if before.startswith("-") or word.startswith("--") or "=" in word:
        return False
    return bool(KEY.fullmatch(before)) or ("=" in before and ":" not in word)


def _list(key: str, values: Sequence[str]) -> str:
    """Join several values: those of a group of options, or of seed, are a sweep, others a list."""
    text = ",".join(values)
    is_sweep = key == "seed" or "." in text or ("." not in key and not text[0].isdigit())
    return text if is_sweep or len(values) == 1 else f"[{text}]"


def _with_equals(word: str) -> str:
    """Write one word as key=value: signs and brackets that were typed by mistake are mended."""
    key, equals, value = word.translate(TYPESET).partition("=")
    value = value.lstrip("=")
    if equals and value.startswith(("'", '"')):  # what is in quotes was meant so
        return f"{key}={value}"
    value = value.rstrip(",;").replace(";", ",") or value
    for opened, closed in ("[]", "()"):
        if value.count(opened) == value.count(closed) + 1:
            value += closed
    if re.fullmatch(r"\([^()]*\)", value):
        value = f"[{value[1:-1].rstrip(',')}]"
    if equals:
        if not KEY.fullmatch(key) and not re.search(r"\[\d", key):  # a list is given whole
            key = re.sub(r"[\[\]:\"']+", ".", key).strip(".")
        return f"{key}={value}"
    key, colon, value = word.partition(":")
    return f"{key}={value}" if colon and KEY.fullmatch(key) else word


def numbers_meant(key: str, value: object) -> str:
    """Return the end of a message about a text or a list where a number is expected: the sweep that
    was meant, by `1..5` or by several numbers; '' if it is none.
    """
    text = str(value).strip("[]")
    if ends := re.fullmatch(r"(\d+)(?:\.\.|-|:)(\d+)", text):
        return meant("-m", f"{key}=range({ends[1]},{int(ends[2]) + 1})")
    numbers = re.split(r"[\s,;]+", text)
    if len(numbers) > 1 and all(re.fullmatch(r"-?[\d.]+(e-?\d+)?", each) for each in numbers):
        return meant("-m", f"{key}={','.join(numbers)}")
    return ""


def class_meant(group: str, value: Mapping[str, Any]) -> str:
    """Return the end of a message about a section that was given as `model={_target_: ...}`."""
    others = [f"+{group}.{key}={item}" for key, item in value.items() if key != "_target_"]
    return meant(f"{group}={value['_target_']}", *others)


def target_meant(key: str, value: object) -> str:
    """Return the end of a message about a name that stands where a section is expected, as
    `data.collate=mine.pad`: a class or function is the `_target_` of one; '' for what is no name.
    """
    plus = "+" if key.startswith("metrics.") else ""  # a section that has no keys of its own
    if not isinstance(value, str) or not all(map(str.isidentifier, value.split("."))):
        return ""
    if "." in value:
        return meant(f"{plus}{key}._target_={value}")
    return f"; a class or a function is named after its module, as in {plus}{key}._target_=my_module.{value}"

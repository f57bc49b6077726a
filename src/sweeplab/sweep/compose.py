"""The jobs of a sweep, as lists of overrides and as configs: Hydra's grammar and Hydra's configs, many times faster."""

from __future__ import annotations

import itertools
import math
import pickle
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, RangeSweep, Sweep, ValueType
from omegaconf import DictConfig, OmegaConf, flag_override

from sweeplab.config import yaml_error
from sweeplab.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader

MOST_JOBS = 1_000_000  # each is composed and checked before the first one starts: this many take an hour
BASES = 256  # choices of config groups that are kept composed

_NUMBER = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_OF_HYDRA = re.compile(r"\$\{[^}]*(?:hydra|\$\{)")
"""An interpolation that may lead into Hydra's own section; a nested one may lead anywhere."""


def combinations(given: Sequence[Override], zipped: Sequence[str] = ()) -> list[list[str]]:
    """Each combination of the swept values as the overrides of a job, in the order of Hydra's BasicSweeper.

    The values of the `zipped` keys are paired: the first of each, the second of each, ... Raises UserError if a zipped
    key is not swept, if their numbers of values differ, and for an interval, which has no list of values.
    """
    _ensure_one_experiment(given)
    kept = _effective(given)
    keys = [override.get_key_element() for override in kept]
    values = [values_of(override) for override in kept]
    swept = {keys[n]: n for n, override in enumerate(kept) if override.is_sweep_override()}
    together = [swept[key] for key in _zipped(zipped, {key: len(values[n]) for key, n in swept.items()})]
    axes = [together if n in together else [n] for n in range(len(kept)) if n not in together[1:]]
    if (count := math.prod(len(values[axis[0]]) for axis in axes)) > MOST_JOBS:
        raise UserError(f"-m: {count} combinations are asked for; a sweep has at most {MOST_JOBS} jobs")
    picks = itertools.product(*(zip(*(values[n] for n in axis), strict=True) for axis in axes))
    order = [n for axis in axes for n in axis]
    jobs = (dict(zip(order, itertools.chain(*pick), strict=True)) for pick in picks)
    return [[f"{key}={job[n]}" for n, key in enumerate(keys)] for job in jobs]


def _effective(given: Sequence[Override]) -> list[Override]:
    """Of a key that is given again, the last; but sections of keys are merged, one after the other."""
    last = {override.get_key_element(): n for n, override in enumerate(given) if not _is_section(override)}
    return [o for n, o in enumerate(given) if _is_section(o) or last[o.get_key_element()] == n]


def _is_section(override: Override) -> bool:
    """Whether a value is a section of keys, as `model={hidden:8}`."""
    from hydra.core.override_parser.types import ChoiceSweep

    value: Any = override._value
    return any(isinstance(each, dict) for each in (value.list if isinstance(value, ChoiceSweep) else [value]))


def _ensure_one_experiment(given: Sequence[Override]) -> None:
    """Raise UserError where experiments are swept over: each is a sweep of its own, with an MLflow experiment."""
    for override in given:
        if override.key_or_group == "experiment" and override.is_sweep_override() and len(values_of(override)) > 1:
            raise UserError(
                f"{override.input_line}: an experiment is a sweep of its own; issue one command for each, as in "
                f"experiment={values_of(override)[0]}, and compare them with: sweeplab compare NAME NAME"
            )


def zipped_keys(given: Sequence[Override], master: DictConfig) -> list[str]:
    """What `sweep.zip` is before any job is composed: the last given, else that of the command's config."""
    asked = [override for override in given if override.key_or_group == "sweep.zip"]
    found: Any = asked[-1].value() if asked else OmegaConf.select(master, "sweep.zip", default=[])
    found = OmegaConf.to_container(found) if OmegaConf.is_config(found) else found
    if asked and asked[-1].is_sweep_override():
        found = str(asked[-1].input_line).partition("=")[2]
    if not isinstance(found, list) or not all(isinstance(key, str) for key in found):
        raise UserError(
            f"sweep.zip={found}: must be a list of swept keys, as in sweep.zip=[model.hidden,trainer.epochs]"
        )
    return found


def values_of(override: Override) -> list[str]:
    """The texts of a swept override, or of any other the one.

    Raises UserError where there are none, as of an interval, or more than a sweep may have jobs.
    """
    if not override.is_sweep_override():
        return [override.get_value_element_as_str()]
    if not override.is_discrete_sweep():
        raise UserError(f"{override.input_line}: has no list of values; give some, as in {override.key_or_group}=1,2")
    try:
        texts = list(itertools.islice(_texts(override), MOST_JOBS + 1))
    except (ArithmeticError, TypeError, ValueError) as error:  # as of a range with a step of 0
        raise UserError(f"{override.input_line}: has no list of values: {' '.join(str(error).split())}") from error
    if not texts:
        raise UserError(f"{override.input_line}: has no value; {_why_none(override)}")
    if len(texts) > MOST_JOBS:
        raise UserError(f"{override.input_line}: has too many values; a sweep has at most {MOST_JOBS} jobs")
    return texts


def _texts(override: Override) -> Iterator[str]:
    """The texts of a swept override; a list may hold ranges, as in `seed=range(5),7`."""
    value: Any = override._value
    listed = value.list if isinstance(value, ChoiceSweep) else []
    if any(isinstance(each, Sweep) for each in listed):
        for each in listed:
            kind = _type_of(each) if isinstance(each, Sweep) else ValueType.ELEMENT
            yield from _texts(replace(override, _value=each, value_type=kind))
    elif not override.is_sweep_override():
        yield override.get_value_element_as_str()
    elif isinstance(value, RangeSweep):
        texts = (_rounded(text, str(override.input_line)) for text in override.sweep_string_iterator())
        yield from (text for text in texts if _before_stop(float(text), value))
    else:
        yield from override.sweep_string_iterator()


def _before_stop(number: float, swept: RangeSweep) -> bool:
    """Whether a number of a range comes before its end, which rounding may hide: 0.1 four times is not 0.4."""
    stop, step = float(swept.stop or 0), float(swept.step or 1)
    return number < stop if step > 0 else number > stop


def _type_of(sweep: Sweep) -> ValueType:
    kinds = {ChoiceSweep: ValueType.CHOICE_SWEEP, RangeSweep: ValueType.RANGE_SWEEP, Glob: ValueType.GLOB_CHOICE_SWEEP}
    if type(sweep) not in kinds:
        raise TypeError("an interval has no list of values")
    return kinds[type(sweep)]


def _why_none(override: Override) -> str:
    """Why a range or a glob has no values, and what has some."""
    value: Any = override._value
    if override.is_range_sweep():
        down = (value.step or 1) < 0
        way = "down" if down else "up"
        return f"a range counts {way} from {value.start} and ends before {value.stop}, as range(3) has 0,1,2"
    if isinstance(value, Glob):
        return "no option has a name like that; a glob is for the options of a group, as in model=glob(*)"
    return f"give one or more, as in {override.key_or_group}=1,2"


def _rounded(text: str, typed: str) -> str:
    """Round a number of a range to as many decimals as were typed, as 0.30000000000000004 of `range(0.1,0.35,0.1)`."""
    if "." not in text and "e" not in text.lower():
        return text
    numbers = [
        Decimal(each) for each in re.findall(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", typed.partition("=")[2])
    ]
    decimals = max((-int(number.as_tuple().exponent) for number in numbers), default=0)
    return repr(round(float(text), max(decimals, 1)))


def _zipped(zipped: Sequence[str], swept: dict[str, int]) -> list[str]:
    """The keys, as overrides begin (`+model.x`), that are zipped, in the order of the overrides."""
    names = {key.lstrip("+~"): key for key in swept}
    for name in zipped:
        if name not in names:
            raise UserError(f"sweep.zip={name}: is not swept{did_you_mean(name, names)}")
    counts = {name: swept[names[name]] for name in zipped}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise UserError(f"sweep.zip: needs as many values of each key: {listed}")
    return [key for key in swept if key in {names[name] for name in zipped}]


class Composer:
    """Composes the jobs of a sweep. `master` is the config of the command, as Hydra hands it to a sweeper."""

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        self._loader: Any = loader
        self._master = master
        self._read = lru_cache(maxsize=4096)(self._parsed)
        self._base = lru_cache(maxsize=BASES)(self._composed)

    def __call__(self, overrides: Sequence[str]) -> DictConfig:
        """The config that Hydra composes of these overrides (its own section may be missing), or what it raises."""
        from hydra.errors import ConfigCompositionException

        try:
            found = self._quickly(overrides)
        except ConfigCompositionException:
            raise
        except Exception:  # an override that cannot be read, or another Hydra than we know: it speaks for itself
            found = None
        if isinstance(found, Exception):
            raise found.with_traceback(None)
        return self._by_hydra(overrides) if found is None else found

    def _by_hydra(self, overrides: Sequence[str]) -> DictConfig:
        composed = self._loader.load_sweep_config(self._master, list(overrides))
        assert isinstance(composed, DictConfig)
        return composed

    def _quickly(self, overrides: Sequence[str]) -> DictConfig | Exception | None:
        """What Hydra does, but once for each choice of config groups; None for what only Hydra itself can do.

        The one place that uses Hydra's private functions: they have been these since 1.1.
        """
        from hydra._internal.config_loader_impl import ConfigLoaderImpl

        read = [self._read(text) for text in overrides]
        if any(kind == "special" for kind, _ in read):
            return None
        base = self._base(tuple(text for text, (kind, _) in zip(overrides, read, strict=True) if kind == "group"))
        if not isinstance(base, bytes):
            return base
        config: DictConfig = pickle.loads(base)  # noqa: S301  # our own; five times as fast as copy.deepcopy
        ConfigLoaderImpl._apply_overrides_to_config([override for kind, override in read if kind == "value"], config)
        return config

    @cached_property
    def _groups(self) -> Any:
        """Hydra's repository of config groups, with the search path of the command."""
        hydra = self._master.hydra
        return self._loader._parse_overrides_and_create_caching_repo(
            hydra.job.config_name, OmegaConf.to_container(hydra.overrides.hydra)
        )[1]

    def _parsed(self, text: str) -> tuple[str, Override]:
        """`group`, `value` or `special`, and the override. As Hydra decides it: a dict is the value of a group, too."""
        from hydra.core.override_parser.overrides_parser import OverridesParser

        override = OverridesParser.create().parse_override(text)
        name = re.split(r"[./]", override.key_or_group)[0]
        if override.is_sweep_override() or name == "hydra" or _OF_HYDRA.search(text):
            return "special", override
        is_group = not isinstance(override.value(), dict) and self._groups.group_exists(override.key_or_group)
        return "group" if is_group else "value", override

    def _composed(self, groups: tuple[str, ...]) -> bytes | Exception | None:
        """Pickled, without Hydra's own section, whose copies would cost most; None if something refers to that."""
        try:
            config = self._by_hydra(groups)
        except Exception as error:
            return yaml_error(error) or error.with_traceback(None)  # whose frames would hold much
        with flag_override(config, ["struct", "readonly"], False):
            del config["hydra"]
        return None if _OF_HYDRA.search(str(OmegaConf.to_container(config, resolve=False))) else pickle.dumps(config)

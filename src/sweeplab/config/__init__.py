"""The typed config: sections, validation with did-you-mean, and the canonical form that a fingerprint is made of."""

from sweeplab.config.canon import HOW, canonical, flat, to_dict
from sweeplab.config.composing import compose, conf_dir, ensure_options, is_job, readable, task_overrides
from sweeplab.config.explanation import about_file, explain, unreadable
from sweeplab.config.reading import expanded, parse, place, resolved, root, typed
from sweeplab.config.redaction import (
    hidden_keys,
    is_hidden,
    know,
    redact,
    redact_override,
    redact_text,
    redact_uri,
    reveal,
)
from sweeplab.config.sections import COMPONENTS, SECTIONS, Config, Data, Node, Store, Sweep, Tracking, Trainer, defaults
from sweeplab.config.text import normal, parsed, same, show

__all__ = [
    "COMPONENTS",
    "HOW",
    "SECTIONS",
    "Config",
    "Data",
    "Node",
    "Store",
    "Sweep",
    "Tracking",
    "Trainer",
    "about_file",
    "canonical",
    "compose",
    "conf_dir",
    "defaults",
    "ensure_options",
    "expanded",
    "explain",
    "flat",
    "hidden_keys",
    "is_hidden",
    "is_job",
    "know",
    "normal",
    "parse",
    "parsed",
    "place",
    "readable",
    "redact",
    "redact_override",
    "redact_text",
    "redact_uri",
    "resolved",
    "reveal",
    "root",
    "same",
    "show",
    "task_overrides",
    "to_dict",
    "typed",
    "unreadable",
]

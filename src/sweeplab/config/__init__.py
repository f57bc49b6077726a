"""The typed config: sections, validation with did-you-mean, and the canonical form that a
fingerprint is made of.
"""

from sweeplab.config.canon import EXECUTION_KEYS, canonical, flatten, normalize, to_dict
from sweeplab.config.command import (
    command_noted,
    command_text,
    ensure_issuable,
    environment,
    issue_apart,
    issued_command,
    reissue,
)
from sweeplab.config.composing import (
    compose,
    ensure_options,
    ensure_readable,
    is_job,
    overrides_of_sweeps,
    overruled,
    quote_words,
    task_overrides,
)
from sweeplab.config.entry import Entry, entry, entry_of
from sweeplab.config.explanation import explain, unreadable, yaml_error
from sweeplab.config.hydra_calls import call, conf_dir
from sweeplab.config.mending import mending
from sweeplab.config.nodes import Node, as_plain, class_paths
from sweeplab.config.redaction import (
    hidden_keys,
    holds_secret,
    is_hidden,
    redact,
    redact_override,
    redact_text,
    redact_uri,
    remember_secrets,
    reveal,
)
from sweeplab.config.sections import (
    COMPONENTS,
    FOLD,
    LEAST_SEEDS,
    SECTIONS,
    Config,
    Data,
    Seeds,
    StoreSection,
    Sweep,
    Tracking,
    Trainer,
    defaults,
)
from sweeplab.config.slips import in_python, launcher_key_meant
from sweeplab.config.text import (
    brief,
    canonical_json,
    from_text,
    item_text,
    key_of,
    same_value,
    short_names,
    to_text,
    yaml_str,
)
from sweeplab.config.validation import (
    absolute,
    expand_home,
    parse,
    read_section,
    resolve,
    root,
    validate,
)

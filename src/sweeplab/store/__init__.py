"""The store: a folder of runs under their fingerprints, each with its journal and its result; and sweep manifests."""

from sweeplab.store.files import DamagedError, plain, read_json, remove_leftovers, write_atomic, write_json
from sweeplab.store.folder import FINGERPRINT_LENGTH, SCHEMA, SUMMARY, Store, fingerprint, read_manifest
from sweeplab.store.journal import Event, Journal, Line, differing, epochs_of, numbers, parsed
from sweeplab.store.run import (
    ASIDE,
    FED,
    ID_LENGTH,
    METRICS,
    MODEL,
    WEIGHTS,
    Result,
    Run,
    Status,
    is_early_end,
    locked,
)

__all__ = [
    "ASIDE",
    "FED",
    "FINGERPRINT_LENGTH",
    "ID_LENGTH",
    "METRICS",
    "MODEL",
    "SCHEMA",
    "SUMMARY",
    "WEIGHTS",
    "DamagedError",
    "Event",
    "Journal",
    "Line",
    "Result",
    "Run",
    "Status",
    "Store",
    "differing",
    "epochs_of",
    "fingerprint",
    "is_early_end",
    "locked",
    "numbers",
    "parsed",
    "plain",
    "read_json",
    "read_manifest",
    "remove_leftovers",
    "write_atomic",
    "write_json",
]

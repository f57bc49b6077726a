"""The store: a folder of runs by fingerprint, with journals and results; and sweep manifests."""

from sweeplab.store import code, repair, weights
from sweeplab.store.files import (
    DamagedError,
    locked,
    plain,
    read_json,
    remove_leftovers,
    write_atomic,
    write_json,
)
from sweeplab.store.folder import (
    FINGERPRINT_LENGTH,
    SCHEMA,
    Store,
    fingerprint,
    fits_question,
)
from sweeplab.store.history import History, Result
from sweeplab.store.journal import Event, Journal, Line, Status, differing, numbers
from sweeplab.store.requests import Presence, Request, Wish
from sweeplab.store.run import ASIDE, FED, ID_LENGTH, METRICS, MODEL, WEIGHTS, Run
from sweeplab.store.sweeps import SUMMARY, read_manifest

"""`sweeplab replay`: a recorded run, trained again and compared with its record, bit by bit.

A record may come from anyone (DESIGN 9): what it would call is judged before it is looked up, and nothing in it decides
where we read or write.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sweeplab import code, config, data, parts, record, runtime, screen, stopping, store, tracking

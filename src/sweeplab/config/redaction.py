"""What may be written down of a value: neither secrets nor the credentials in an address."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_WORDS = r"(?:password|passwd|token|secret|api_?key|credentials?)"
_SECRET = re.compile(rf"(?:^|[_-]){_WORDS}$", re.IGNORECASE)
_INLINE_SECRET = re.compile(rf"(\b(?:\w+[_-])?{_WORDS}['\"]?\s*[:=]\s*)[^,}}\s]+", re.IGNORECASE)
# Up to the last @ of the host's part, and beyond a / that stands in a password by mistake, but not beyond a port.
_URI_CREDENTIALS = re.compile(r"(?<=://)(?:[^/?#\s]*|[^/:@\s]*:(?!\d*/)\S*)@")
_QUERY_SECRET = re.compile(rf"([?&]\w*{_WORDS}=)[^&#\s]*", re.IGNORECASE)


def redact(value: Any, key: str = "") -> Any:
    """The value as it may be written down: secrets (by whole words of their key) and credentials in URIs hidden."""
    if _SECRET.search(key) and value is not None:
        return "***"
    if isinstance(value, Mapping):
        return {k: redact(v, str(k)) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [redact(v) for v in value]
    return _QUERY_SECRET.sub(r"\1***", _URI_CREDENTIALS.sub("***@", value)) if isinstance(value, str) else value


def redact_override(override: str) -> str:
    """`+data.dataset.token=abc` -> `+data.dataset.token=***`."""
    key, equals, value = override.partition("=")
    value = _INLINE_SECRET.sub(r"\1***", str(redact(value, key.rpartition(".")[2])))
    return f"{key}{equals}{value}"

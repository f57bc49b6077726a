"""Hide secrets in what is written down or said: in values by their key, in texts wherever they
stand.

What is hidden leaves the first digits of its SHA-256, so that configs with other secrets stay other
configs.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote

from sweeplab.config.secrecy import (
    ALWAYS,
    COMMON,
    KNOWN_FORMS,
    is_plain,
    is_secret,
    is_signature,
    looks_random,
    sureness,
)
from sweeplab.errors import UserError

STARS = "***"
_HIDDEN = re.compile(r"\A\*\*\*\Z|\*\*\*.*\(sha256 [0-9a-f]{8}\)|://\*\*\*@", re.DOTALL)
# ${oc.env:HF_TOKEN} says where a secret is, not what it is
_REFERENCE = re.compile(r"\$\{[\w.:]+\}")

# Up to the last @ of the host's part, and beyond a / that stands in a password by mistake, but not
# beyond a port.
_URI_CREDENTIALS = re.compile(r"(?<=://)((?:[^/?#\s]*|[^/:@\s]*:(?!\d*/)\S*))@")
_QUERY = re.compile(r"([?&])([\w.-]+)=([^&#\s'\"]*)")
_PAIR = re.compile(  # key=value, key='value', {key: value}, 'key': value
    r"(?P<open>[{,(]\s*|['\"])?(?P<key>[^\W\d][\w.-]*)(?P<close>['\"])?(?P<sep>\s*(?:==?|:)\s*)"
    r"(?P<value>\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[^\s,;&{}\[\]()'\"]++(?![(\[]))"
)
_HEADER = re.compile(
    r"\b((?:proxy-)?authorization|(?:set-)?cookie|x-api-key)"
    r"(['\"]?: ?['\"]?)([^'\"\n]+)",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(bearer )(?=\S*\d)([\w.~+/=-]{8,})", re.IGNORECASE)

SHORTEST = 4  # characters of a secret that is looked for in texts: shorter ones would garble them
WHOLE_WORD = 8  # shorter secrets are hidden only where they are a word of their own
_known: dict[str, str] = {}  # a secret, in a form in which a message may repeat it -> its mark


def mark(secret: str) -> str:
    """Return what is written in place of a secret; the same for the same secret."""
    digest = hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
    return f"{STARS} (sha256 {digest[:8]})"


PIECE, OVERLAP = 200, 5  # lines of a file that are looked at together, and again with the next


def redact(value: Any, key: str = "") -> Any:
    """Return a config, or the value of a key, as it may be written down. Only texts are ever
    hidden.
    """
    if isinstance(value, Mapping):
        return {name: redact(item, _deciding_key(key, str(name))) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact(item, key) for item in value]
    if isinstance(value, str):
        return _redact_value(value, key)
    return value


def _deciding_key(section: str, name: str) -> str:
    """Return the key that decides about a value: in a section `credentials` all is secret, except
    its `_target_`.
    """
    if sureness(section) == ALWAYS and not name.startswith("_"):
        return section
    return name


def _redact_value(text: str, key: str) -> str:
    if is_hidden(text) or _REFERENCE.fullmatch(text):
        return text
    if is_secret(key, text):
        return _hide(text)
    shown = _redact_forms(text)
    if shown == text or "(sha256 " in shown:
        return shown
    return shown + mark(text).removeprefix(STARS)


def redact_override(override: str) -> str:
    """Hide the secret in an override: `+data.dataset.token=abc` -> `+data.dataset.token=*** (sha256
    ba7816bf)`.
    """
    key, equals, value = override.partition("=")
    if not equals or is_plain(value):
        return override
    bare = _unquoted(value)
    shown = _redact_value(bare, key)
    return override if shown == bare else f"{key}={shown}"


def redact_text(text: str) -> str:
    """Hide the secrets in a message, a log line or a traceback, those of this command by their
    value.
    """
    text = _redact_forms(text)
    for secret, shown in sorted(_known.items(), key=lambda item: -len(item[0])):
        if secret not in text:
            continue
        pattern = re.escape(secret)
        if len(secret) < WHOLE_WORD:
            pattern = rf"(?<!\w){pattern}(?!\w)"
        text = re.sub(pattern, shown, text)
    return text


def holds_secret(text: str) -> bool:
    """Tell whether a file's text seems to hold a secret.

    It is looked at in pieces, a few lines of which are in two: of all at once, 1 MB takes a minute.
    """
    lines = text.splitlines(keepends=True)
    for first in range(0, len(lines), PIECE):
        piece = "".join(lines[max(0, first - OVERLAP) : first + PIECE])
        if redact_text(piece) != piece:
            return True
    return False


def redact_uri(uri: str) -> str:
    """Return an address without its credentials; always the same for the same address."""
    return _QUERY.sub(_hide_in_query, _URI_CREDENTIALS.sub(_hide_credentials, uri))


def remember_secrets(overrides: Iterable[str]) -> None:
    """Note the secrets that a user has typed, each of a list or a sweep, so that no message repeats
    them.
    """
    for override in overrides:
        key, _, value = override.partition("=")
        if redact_override(override) != override and is_secret(key, _unquoted(value)):
            for piece in re.split(r"[\s,\[\](){}'\"]+", value):
                _hide(piece)


def is_hidden(value: object) -> bool:
    """Whether this is what a record has in place of a secret, or of a text with one."""
    return isinstance(value, str) and _HIDDEN.search(value) is not None


def hidden_keys(nested: Any, key: str = "") -> Iterator[str]:
    """Yield the dotted keys of the values that a record hides: nothing can be built of them."""
    if is_hidden(nested):
        yield key
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(nested, Mapping):
        items = nested.items()
    elif isinstance(nested, list | tuple):
        items = enumerate(nested)
    for name, item in items:
        yield from hidden_keys(item, f"{key}.{name}" if key else str(name))


def reveal(recorded: Any, key: str, given: Mapping[str, Any], advice: str) -> Any:
    """Return a recorded node with its hidden values replaced by those `given` by their dotted keys.

    Raises UserError that names a hidden value that is not given (then `advice` says how), or that
    is not the same.
    """
    if isinstance(recorded, Mapping):
        return {k: reveal(item, f"{key}.{k}", given, advice) for k, item in recorded.items()}
    if isinstance(recorded, list):
        return [reveal(item, f"{key}.{i}", given, advice) for i, item in enumerate(recorded)]
    if not is_hidden(recorded):
        return recorded
    if key not in given:
        reason = "its value is a secret, which the record hides"
        raise UserError(f"{key}={recorded}: {reason}; {advice.format(key=key)}")
    value = given[key]
    if "(sha256 " in recorded and recorded not in (mark(str(value)), redact(value, key)):
        raise UserError(f"{key}: what is given is not the value of the record, which is {recorded}")
    return value


def _hide(secret: str) -> str:
    """Return the mark of a secret, and remember the secret."""
    shown = mark(secret)
    if len(secret) >= SHORTEST and secret.lower() not in COMMON:
        for form in (secret, repr(secret)[1:-1], quote(secret, safe=""), unquote(secret)):
            if len(form) >= SHORTEST:
                _known[form] = shown
    return shown


def _redact_forms(text: str) -> str:
    """Hide what shows by its form: credentials and queries of addresses, pairs of key and value,
    headers, keys.
    """
    if "://" in text or "?" in text:
        text = redact_uri(text)
    text = KNOWN_FORMS.sub(lambda match: _hide(match[0]), text)
    text = _BEARER.sub(lambda match: match[1] + _hide(match[2]), text)
    text = _HEADER.sub(_hide_in_header, text)
    if "=" in text or ":" in text:
        return _redact_pairs(text)
    return text


def _redact_pairs(text: str) -> str:
    """Hide the values of pairs; a value that is no secret may hold the next pair (`a=token=b`)."""
    done, start = "", 0
    while pair := _PAIR.search(text, start):
        shown = _hide_in_pair(pair)
        if shown == pair[0]:
            end = pair.start("value")
            done += text[start:end]
        else:
            end = pair.end()
            done += text[start : pair.start()] + shown
        start = end
    return done + text[start:]


def _hide_credentials(match: re.Match[str]) -> str:
    user, colon, password = match[1].partition(":")
    if (user, password) == ("USER", "PASSWORD"):  # of our own advice
        return match[0]
    if colon and password not in (STARS, user):
        _hide(password)
    elif looks_random(user):
        _hide(user)
    return f"{STARS}@"


def _hide_in_query(match: re.Match[str]) -> str:
    separator, key, value = match.groups()
    if value in ("", STARS) or not (is_signature(key) or is_secret(key, unquote(value))):
        return match[0]
    _hide(value)
    return f"{separator}{key}={STARS}"


def _hide_in_header(match: re.Match[str]) -> str:
    name, separator, value = match.groups()
    if STARS in value or _REFERENCE.fullmatch(value.strip()):
        return match[0]
    return f"{name}{separator}{_hide(value)}"


def _hide_in_pair(pair: re.Match[str]) -> str:
    """Hide the value of a pair whose key says so; prose (`model.password: no such key`) and code
    are left alone.
    """
    value, separator = pair["value"], pair["sep"]
    is_quoted = value[0] in "'\""
    if ":" in separator and not (pair["open"] or pair["close"] or is_quoted):
        return pair[0]  # prose
    if "=" in separator and separator != separator.strip() and not is_quoted:
        return pair[0]  # an assignment in the code of a traceback
    if is_quoted:
        bare, tail = _unquoted(value), ""
    else:
        bare = value.rstrip(":.")
        tail = value.removeprefix(bare)
    if bare.startswith(STARS) or _REFERENCE.fullmatch(bare) or _is_argument(pair["key"], bare):
        return pair[0]
    if (not is_quoted and is_plain(bare)) or not is_secret(pair["key"], bare):
        return pair[0]
    return f"{pair[0].removesuffix(value)}{_hide(bare)}{tail}"


def _is_argument(key: str, value: str) -> bool:
    """Whether this is an argument of a call in a traceback: `token=token`, `token=self.token`."""
    return value.rpartition(".")[2] == key.rpartition(".")[2] or value.startswith("self.")


def _unquoted(value: str) -> str:
    value = value.strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value

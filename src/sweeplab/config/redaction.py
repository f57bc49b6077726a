"""Hide secrets in what is written down or said: in values by their key, in texts wherever they stand.

What is hidden leaves the first digits of its SHA-256, so that configs with other secrets stay other configs.
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
_REFERENCE = re.compile(r"\$\{[\w.:]+\}")  # ${oc.env:HF_TOKEN} says where a secret is, not what it is

# Up to the last @ of the host's part, and beyond a / that stands in a password by mistake, but not beyond a port.
_URI_CREDENTIALS = re.compile(r"(?<=://)((?:[^/?#\s]*|[^/:@\s]*:(?!\d*/)\S*))@")
_QUERY = re.compile(r"([?&])([\w.-]+)=([^&#\s'\"]*)")
_PAIR = re.compile(  # key=value, key='value', {key: value}, 'key': value
    r"(?P<open>[{,(]\s*|['\"])?(?P<key>[^\W\d][\w.-]*)(?P<close>['\"])?(?P<sep>\s*(?:==?|:)\s*)"
    r"(?P<value>\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[^\s,;&{}\[\]()'\"]++(?![(\[]))"
)
_HEADER = re.compile(
    r"\b((?:proxy-)?authorization|(?:set-)?cookie|x-api-key)(['\"]?: ?['\"]?)([^'\"\n]+)", re.IGNORECASE
)
_BEARER = re.compile(r"\b(bearer )(?=\S*\d)([\w.~+/=-]{8,})", re.IGNORECASE)

SHORTEST = 4  # characters of a secret that is looked for in other texts: shorter ones would garble them
_ALONE = 8  # shorter ones are hidden only where they stand alone
_known: dict[str, str] = {}  # a secret, in a form in which it may be said -> its mark


def mark(text: str) -> str:
    """What is written in place of a secret; the same for the same secret."""
    return f"{STARS} (sha256 {hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:8]})"


def redact(value: Any, key: str = "") -> Any:
    """A config, or a value of this key, as it may be written down. Numbers, booleans and null are never hidden."""
    if isinstance(value, Mapping):
        return {name: redact(item, _below(key, str(name))) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact(item, key) for item in value]
    return _text_of(value, key) if isinstance(value, str) else value


def _below(key: str, name: str) -> str:
    """The key that decides about a value: all texts in a section `credentials` are secrets, but not its `_target_`."""
    return key if sureness(key) == ALWAYS and not name.startswith("_") else name


def _text_of(value: str, key: str) -> str:
    if is_hidden(value) or _REFERENCE.fullmatch(value):
        return value
    if is_secret(key, value):
        return _hidden(value)
    shown = _in_text(value)
    same = shown == value or "(sha256 " in shown
    return shown if same else f"{shown}{mark(value).removeprefix(STARS)}"


def redact_override(override: str) -> str:
    """`+data.dataset.token=abc` -> `+data.dataset.token=*** (sha256 ba7816bf)`."""
    key, equals, value = override.partition("=")
    bare = _unquoted(value)
    if not equals or is_plain(value):
        return override
    shown = _text_of(bare, key)
    return override if shown == bare else f"{key}={shown}"


def redact_text(text: str) -> str:
    """A message, a log line or a traceback as it may be said: the secrets of this command are known by their value."""
    text = _in_text(text)
    for secret, shown in sorted(_known.items(), key=lambda item: -len(item[0])):
        if secret in text:
            bounds = (r"(?<!\w)", r"(?!\w)") if len(secret) < _ALONE else ("", "")
            text = re.sub(re.escape(secret).join(bounds), shown, text)
    return text


def redact_uri(uri: str) -> str:
    """An address without its credentials; always the same for the same address."""
    return _QUERY.sub(_query, _URI_CREDENTIALS.sub(_credentials, uri))


def remember_secrets(overrides: Iterable[str]) -> None:
    """Note the secrets in what a user has typed, and each of a list or a sweep, so that no message repeats them."""
    for override in overrides:
        key, _, value = override.partition("=")
        if redact_override(override) != override and is_secret(key, _unquoted(value)):
            for piece in re.split(r"[\s,\[\](){}'\"]+", value):
                _hidden(piece)


def is_hidden(value: object) -> bool:
    """Whether this is what a record has in place of a secret, or of a text with one."""
    return isinstance(value, str) and (_HIDDEN.search(value) is not None)


def hidden_keys(nested: Any, key: str = "") -> Iterator[str]:
    """The dotted keys of the values that a record hides: nothing can be built of them."""
    if isinstance(nested, Mapping | list | tuple):
        items = nested.items() if isinstance(nested, Mapping) else enumerate(nested)
        for name, item in items:
            yield from hidden_keys(item, f"{key}.{name}" if key else str(name))
    elif is_hidden(nested):
        yield key


def reveal(recorded: Any, key: str, given: Mapping[str, Any], advice: str) -> Any:
    """A recorded node with the values that its record hides, which somebody has to give by their dotted keys.

    Raises UserError that names a hidden value that is not given (then `advice` says how), or that is not the same.
    """
    if isinstance(recorded, Mapping):
        return {name: reveal(item, f"{key}.{name}", given, advice) for name, item in recorded.items()}
    if isinstance(recorded, list):
        return [reveal(item, f"{key}.{index}", given, advice) for index, item in enumerate(recorded)]
    if not is_hidden(recorded):
        return recorded
    if key not in given:
        raise UserError(f"{key}={recorded}: its value is a secret, which the record hides; {advice.format(key=key)}")
    value = given[key]
    if "(sha256 " in recorded and recorded not in (mark(str(value)), redact(value, key)):
        raise UserError(f"{key}: what is given is not the value of the record, which is {recorded}")
    return value


def _hidden(secret: str) -> str:
    """The mark of a secret, which is known from now on."""
    shown = mark(secret)
    if len(secret) >= SHORTEST and secret.lower() not in COMMON:
        forms = {secret, repr(secret)[1:-1], quote(secret, safe=""), unquote(secret)}
        _known.update(dict.fromkeys((form for form in forms if len(form) >= SHORTEST), shown))
    return shown


def _in_text(text: str) -> str:
    """Hide what shows by its form: credentials and queries of addresses, pairs of key and value, headers, keys."""
    if "://" in text or "?" in text:
        text = redact_uri(text)
    text = KNOWN_FORMS.sub(lambda found: _hidden(found[0]), text)
    text = _BEARER.sub(lambda found: found[1] + _hidden(found[2]), text)
    text = _HEADER.sub(_header, text)
    return _in_pairs(text) if "=" in text or ":" in text else text


def _in_pairs(text: str) -> str:
    """Hide the values of pairs; where one is none of a secret, the next may begin in its value (`a=token=b`)."""
    done, start = "", 0
    while found := _PAIR.search(text, start):
        shown = _pair(found)
        end = found.start("value") if shown == found[0] else found.end()
        done += text[start:end] if shown == found[0] else text[start : found.start()] + shown
        start = end
    return done + text[start:]


def _credentials(found: re.Match[str]) -> str:
    user, colon, password = found[1].partition(":")
    if (user, password) == ("USER", "PASSWORD"):  # of our own advice
        return found[0]
    if colon and password not in (STARS, user):
        _hidden(password)
    elif looks_random(user):
        _hidden(user)
    return f"{STARS}@"


def _query(found: re.Match[str]) -> str:
    if found[3] in ("", STARS) or not (is_signature(found[2]) or is_secret(found[2], unquote(found[3]))):
        return found[0]
    _hidden(found[3])
    return f"{found[1]}{found[2]}={STARS}"


def _header(found: re.Match[str]) -> str:
    if STARS in found[3] or _REFERENCE.fullmatch(found[3].strip()):
        return found[0]
    return f"{found[1]}{found[2]}{_hidden(found[3])}"


def _pair(found: re.Match[str]) -> str:
    """Hide the value of a pair whose key says so; prose (`model.password: no such key`) and code are left alone."""
    value, separator = found["value"], found["sep"]
    quoted = value[0] in "'\""
    if ":" in separator and not (found["open"] or found["close"] or quoted):
        return found[0]
    if "=" in separator and separator != separator.strip() and not quoted:
        return found[0]  # an assignment in the code of a traceback
    tail = "" if quoted else value[len(value.rstrip(":.")) :]
    bare = _unquoted(value) if quoted else value.removesuffix(tail)
    if bare.startswith(STARS) or _REFERENCE.fullmatch(bare) or _is_code(found["key"], bare):
        return found[0]
    if (not quoted and is_plain(bare)) or not is_secret(found["key"], bare):
        return found[0]
    return f"{found[0].removesuffix(value)}{_hidden(bare)}{tail}"


def _is_code(key: str, value: str) -> bool:
    """Whether this is a call's argument in a traceback: `token=token`, `token=self.token`."""
    return value.rpartition(".")[2] == key.rpartition(".")[2] or value.startswith("self.")


def _unquoted(value: str) -> str:
    value = value.strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value

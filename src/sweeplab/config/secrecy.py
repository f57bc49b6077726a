"""Decide what is a secret: by the words of its key, and by the value itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

ALWAYS, MOSTLY, PERHAPS, NEVER = "always", "mostly", "perhaps", "never"
"""How surely a text below a key is a secret."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Splits camelCase, snake_case, kebab-case and dotted keys; `AWSSecretKey` is three words, a Korean
# word is one.
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")

_PASSWORDS = _words("password passwd passphrase passwort kennwort 비밀번호 암호 패스워드")
_NO_PASSWORD = _words(  # `password_file` is none
    "file path env var variable name field column length policy type prompt id dataset set "
    "strength encoder decoder embedding head loss model dim"
)
_SECRETS = _words(
    "password passwords passwd passphrase passcode pwd pw secret secrets credential credentials "
    "cred creds authorization cookie cookies dsn bearer jwt sas netrc"
)
_OWN_KEYS = _words(  # before `key`: `api_key`
    "api private secret access account encryption decryption signing auth ssh master license "
    "storage subscription deploy consumer wandb kaggle openai anthropic comet neptune hf "
    "huggingface aws azure gcp stripe"
)
_GLUED = ("password", "passwd", "passphrase", "apikey", "secretkey", "privatekey", "accesskey", "secret",
          "credential", "credentials", "pwd", "cookie", "connectionstring")  # fmt: skip
_AFTER = _words("value string str text hex base64 b64 old new plain raw header prod production dev")
"""Words after a secret's name that leave it one: `token_value`."""

_OF_ACCESS = _words(
    "auth access api refresh bearer session secret csrf oauth hf github gitlab wandb"
)
_OF_TEXT = _words(  # before `token`: a part of what a network reads
    "class cls mask masked pad padding eos bos sos sep unk unknown start end stop begin special "
    "image img audio video visual vision time query register reg dist distill distillation num n "
    "max min per prefix suffix prompt separator blank null dummy empty space word sub subword char "
    "byte patch latent memory mem global local learned learnable task domain language lang decoder "
    "encoder forced control cond condition conditional motion state action reward goal object "
    "point position positional speaker fill sink summary pool pooling pooled extra additional oov "
    "newline target source src tgt return think tool"
)
_OF_FILTERS = _words("low high band forward backward single multi first second one two per")
"""Words before `pass` that make a filter, or a way through a network, of it."""

_SETTINGS = _words(  # values of `token`, `auth` and `pass` that are ways, no secrets
    "none null true false yes no on off first last mean avg average max min sum cls class all any "
    "default auto learned random zero zeros forward backward basic digest bearer oauth oauth2 ldap "
    "kerberos ntlm token iam"
)
_BRACKETED = re.compile(r"\[[A-Z0-9_]+\]|<[^<>\s]+>")  # [MASK], <pad>, <|endoftext|>
_PLAIN = re.compile(
    r"[+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:e[+-]?\d+)?|true|false|null|none|~|[+-]?(?:inf|nan)",
    re.IGNORECASE,
)

COMMON = _words(
    "password passwd secret token admin root user test mlflow postgres sweeplab auto none null"
)
"""Values that are not looked for in other texts: no message could be read without these words."""

KNOWN_FORMS = re.compile(
    r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|hf_[A-Za-z0-9]{20,}"
    r"|sk-(?=[\w-]*[A-Za-z0-9]{18})[\w-]+"
    r"|[sr]k_(?:live|test)_[A-Za-z0-9]{16,}"
    r"|xox[abeprs]-[\w-]{10,}|(?:AKIA|ASIA)[0-9A-Z]{16}|AIza[\w-]{30,}|dapi[0-9a-f]{32}"
    r"|npm_[A-Za-z0-9]{30,}"
    r"|pypi-[\w-]{30,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)"
    r"|(?<=hooks\.slack\.com/services/)[\w/]{16,}|(?<=discord\.com/api/webhooks/)[\w/-]{16,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)
"""Secrets that their issuers made recognizable, and private keys."""


@lru_cache(maxsize=4096)
def sureness(key: str) -> str:
    """Return how surely a text below this key is a secret, by the words of the key; the last words
    decide.
    """
    words = [word.lower() for word in _WORD.findall(key)]
    if words[-2:] in (["connection", "string"], ["conn", "str"]):
        return ALWAYS
    while len(words) > 1 and (words[-1] in _AFTER or words[-1].isdigit()):
        words.pop()
    if not words:
        return NEVER
    before, last = words[:-1], words[-1]
    if not _PASSWORDS.isdisjoint(words) and last not in _NO_PASSWORD:
        return ALWAYS
    if last in _SECRETS or last.endswith(_GLUED):
        return ALWAYS
    previous = before[-1] if before else ""
    if last in ("key", "keys"):
        return ALWAYS if previous in _OWN_KEYS else PERHAPS
    if last.endswith(("token", "tokens")):
        return PERHAPS if _is_part_of_text(before, last) else MOSTLY
    if last in ("auth", "pass"):
        return PERHAPS if previous in _OF_FILTERS else MOSTLY
    if last in ("signature", "sig", "salt"):
        return PERHAPS
    return NEVER


def _is_part_of_text(before: Sequence[str], token: str) -> bool:
    """Tell a token of a text (`mask_token`) from one that gives access (`hf_token`); several are of
    a text.
    """
    words = {*before, token.removesuffix("s").removesuffix("token")}
    if not words.isdisjoint(_OF_ACCESS):
        return False
    return token.endswith("s") or not words.isdisjoint(_OF_TEXT)


def is_secret(key: str, text: str) -> bool:
    """Whether a text below this key is a secret, and not a setting such as `[MASK]` or `mean`."""
    sure = sureness(key)
    if not text.strip() or sure == NEVER:
        return False
    if sure == PERHAPS:
        return looks_random(text)
    if sure == MOSTLY:
        is_setting = text.lower() in _SETTINGS or _BRACKETED.fullmatch(text)
        return not is_setting and any(char.isalnum() for char in text)
    return True


def is_signature(name: str) -> bool:
    """Whether this key of an address's query is what a signed address is signed with."""
    return name.lower().rpartition("-")[2] in ("sig", "signature")


def is_plain(text: str) -> bool:
    """Whether a text of the command line stands for a number, true, false or null."""
    return _PLAIN.fullmatch(text.strip()) is not None


def looks_random(text: str) -> bool:
    """Whether a long piece of the text changes between letters, capitals and digits as words never
    do.
    """
    if _BRACKETED.fullmatch(text):
        return False
    pieces = re.findall(r"[A-Za-z0-9+/=]{16,}", text.replace("-", ""))
    return any(_share_of_changes(piece) > 0.35 for piece in pieces)


def _share_of_changes(piece: str) -> float:
    """Return how often the kind of a character differs from that of the next, per character."""
    kinds = [(char.isdigit(), char.isupper()) for char in piece]
    changes = sum(kind != following for kind, following in pairwise(kinds))
    return changes / len(piece)

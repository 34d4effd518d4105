"""Secrets in the text: what is learned from a document can be asked out of the model.

Only shapes that mean a secret are looked for: issued prefixes with their exact length,
key blocks, and assignments to names like `password` whose value is random enough. A
general entropy scan would flag every hash and id. No message ever repeats the secret.
Every pattern starts with fixed characters and is bounded, so the scan is linear.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

from dlm_engine.document.codes import report
from dlm_engine.document.model import Diagnostic, Span

_SHAPES: dict[str, tuple[str, str]] = {
    "aws": (r"(?:AKIA|ASIA)[A-Z2-7]{16}(?![A-Za-z0-9])", "an AWS access key id"),
    "github": (
        r"(?:gh[pousr]_[A-Za-z0-9]{36,251}|github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59})(?![A-Za-z0-9])",
        "a GitHub token",
    ),
    "gitlab": (r"glpat-[A-Za-z0-9_-]{20}(?![A-Za-z0-9])", "a GitLab token"),
    "slack": (r"xox[abeoprs]-[0-9A-Za-z-]{20,250}", "a Slack token"),
    "slackhook": (
        r"hooks\.slack\.com/services/T[A-Z0-9]{6,12}/B[A-Z0-9]{6,12}/[A-Za-z0-9]{20,40}",
        "a Slack webhook",
    ),
    "google": (r"AIza[0-9A-Za-z_-]{35}(?![0-9A-Za-z_-])", "a Google API key"),
    "googleoauth": (r"GOCSPX-[0-9A-Za-z_-]{28}(?![0-9A-Za-z_-])", "a Google client secret"),
    "anthropic": (r"sk-ant-[A-Za-z0-9]{2,10}-[A-Za-z0-9_-]{60,200}", "an Anthropic API key"),
    "openai": (
        r"sk-(?:(?:proj|svcacct|admin)-[A-Za-z0-9_-]{40,200}|[A-Za-z0-9]{48}(?![A-Za-z0-9]))",
        "an OpenAI API key",
    ),
    "huggingface": (r"hf_[A-Za-z]{34}(?![A-Za-z0-9])", "a Hugging Face token"),
    "stripe": (r"[sr]k_live_[0-9A-Za-z]{24,99}", "a Stripe key"),
    "npm": (r"npm_[A-Za-z0-9]{36}(?![A-Za-z0-9])", "an npm token"),
    "pypi": (r"pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,300}", "a PyPI token"),
    "pem": (
        r"-----BEGIN (?:(?:RSA|EC|DSA|OPENSSH|ENCRYPTED|PGP) )?PRIVATE KEY(?: BLOCK)?-----",
        "a private key",
    ),
    "jwt": (
        r"eyJ[A-Za-z0-9_-]{12,300}\.eyJ[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]{16,1000}",
        "a signed token (JWT)",
    ),
    "azure": (
        r"AccountKey=[A-Za-z0-9+/]{86}==",
        "an Azure storage key",
    ),
    "url": (
        r"(?:https?|ftp|ssh|postgres(?:ql)?|mysql|mongodb(?:\+srv)?|redis|amqps?)://"
        r"[A-Za-z0-9._%+-]{1,64}:(?P<password>[^\s:@/<>{}$*\"'`]{6,128})@[A-Za-z0-9.-]{1,253}",
        "a password in an address",
    ),
}
#: what each shape starts with: finding that is many times faster than trying the pattern
_PREFIXES: dict[str, tuple[str, ...]] = {
    "aws": ("AKIA", "ASIA"),
    "github": ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
    "gitlab": ("glpat-",),
    "slack": ("xox",),
    "slackhook": ("hooks.slack.com/",),
    "google": ("AIza",),
    "googleoauth": ("GOCSPX-",),
    "anthropic": ("sk-ant-",),
    "openai": ("sk-",),
    "huggingface": ("hf_",),
    "stripe": ("sk_live_", "rk_live_"),
    "npm": ("npm_",),
    "pypi": ("pypi-",),
    "pem": ("-----BEGIN ",),
    "jwt": ("eyJ",),
    "azure": ("AccountKey=",),
    "url": ("http", "ftp://", "ssh://", "postgres", "mysql://", "mongodb", "redis://", "amqp"),
}
_KNOWN = tuple(
    (prefix, re.compile(pattern), what)
    for kind, (pattern, what) in _SHAPES.items()
    for prefix in _PREFIXES[kind]
)
_NAMES = tuple(
    spelling
    for name in ("passw", "passphrase", "secret", "token", "key", "credential")
    for spelling in (name, name.capitalize(), name.upper())
)
_ASSIGNED = re.compile(
    r"(?:passw(?:or)?d|passphrase|secret|token|key|credentials?)"
    r"[\"']?[ \t]{0,4}(?:=|:)[ \t]{0,4}(?P<quote>[\"']?)"
    r"(?P<value>[^\s\"'`,;<>(){}\[\]$]{10,200}+)(?P=quote)(?![\w(\[.])",
    re.IGNORECASE,
)
#: a bare `key` is a word of every day; these are the ones that hold a secret
_KEY_BEFORE = re.compile(r"(?:api|access|private|secret|encryption|signing)[_-]?\Z", re.IGNORECASE)
_HEX = re.compile(r"[0-9a-f]+", re.IGNORECASE)
_WORDLIKE = re.compile(r"[A-Za-z]+(?:[-_./:][A-Za-z]+)*[.!?]?")
_PLACEHOLDER = re.compile(
    r"example|changeme|change_me|your[-_]|placeholder|dummy|xxxx|\.\.\.|\*\*\*|redacted", re.I
)


def find_secrets(text: str) -> list[Diagnostic]:
    """A warning for everything that looks like a secret; its span covers the secret."""
    found: list[Diagnostic] = []
    covered_to = 0
    for span, what in sorted(_spans(text)):
        if span.start < covered_to:
            continue
        covered_to = span.end
        message = f"this looks like {what}; a trained model can be made to repeat it"
        found.append(report("secret", span, message))
    return found


def _spans(text: str) -> Iterator[tuple[Span, str]]:
    for prefix, pattern, what in _KNOWN:
        for at in _places(text, prefix):
            match = pattern.match(text, at)
            if match is None or (at and (text[at - 1].isalnum() or text[at - 1] in "_-")):
                continue
            in_address = match.groupdict().get("password")
            value = in_address or match.group()
            if not _PLACEHOLDER.search(value) and not (in_address and _is_tame(in_address)):
                yield Span(at, match.end()), what
    for name in _NAMES:
        for at in _places(text, name):
            match = _ASSIGNED.match(text, at)
            if match is None or _is_tame(match.group("value")):
                continue
            if name.lower() == "key" and not _KEY_BEFORE.search(text[max(0, at - 12) : at]):
                continue
            yield Span(match.start("value"), match.end("value")), "a password or key"


def _places(text: str, word: str) -> Iterator[int]:
    at = text.find(word)
    while at >= 0:
        yield at
        at = text.find(word, at + len(word))


def _is_tame(value: str) -> bool:
    """Whether a value is more likely a word, a name or a placeholder than a secret."""
    if _PLACEHOLDER.search(value) or _WORDLIKE.fullmatch(value):
        return True
    kinds = (str.islower, str.isupper, str.isdigit)
    classes = sum(any(test(c) for c in value) for test in kinds)
    if _HEX.fullmatch(value) and len(value) in (32, 40, 64):
        return False
    if classes < 2:
        return True
    return entropy(value) < 2.8


def entropy(text: str) -> float:
    """Shannon entropy of the characters, in bits per character."""
    counts = Counter(text)
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values())

"""Names that are never learned, and names that are left out unless `.dlm/ignore` says otherwise.

A model can be made to repeat what it was trained on, so files whose name says that they hold
keys or passwords are denied without any way round it; what a text holds is looked at as
well (`expansion`). Everything is compared by component and without regard to case: a `.ssh` or
`node_modules` at any depth counts.
"""

from __future__ import annotations

import fnmatch
import re
from pathlib import PurePath


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_SECRET_FOLDERS = frozenset(
    _words(
        ".ssh .gnupg .aws .azure .kube .gcloud .docker .password-store .vault .terraform.d .secrets"
    )
)
_SECRET_FILES = _words(
    ".env .env.* *.env .envrc *.pem *.key *.p8 *.p12 *.pfx *.jks *.keystore *.kdbx *.ppk "
    "*.ovpn *.tfstate *.tfstate.* *.tfvars *.tfvars.json *.agekey "
    "id_rsa* id_dsa* id_ecdsa* id_ed25519* *_rsa *_ed25519 "
    ".netrc _netrc .npmrc .yarnrc .yarnrc.yml .pypirc .pgpass .my.cnf .htpasswd .s3cfg .boto "
    ".git-credentials .dockercfg .dockerconfigjson .vault-token .terraformrc .rediscli_auth "
    "credentials credentials.json credentials.yaml credentials.yml credentials.toml "
    "credentials.ini credentials.csv client_secret*.json client_secrets.json "
    "service-account*.json service_account*.json secring.* *.kwallet *.keychain "
    ".bash_history .zsh_history .psql_history .mysql_history .python_history "
    "kubeconfig wp-config.php master.key "
    "secrets secret secrets.yaml secrets.yml secrets.json secrets.toml secrets.ini secrets.env "
    "secrets.txt secrets.properties secrets.xml secret.yaml secret.yml secret.json secret.toml "
    "secret.txt passwords.txt passwords.csv"
)

_DEFAULT_FOLDERS = frozenset(
    _words(
        ".git .hg .svn __pycache__ .venv venv .tox .nox .mypy_cache .ruff_cache .pytest_cache "
        "node_modules target build dist __generated__ generated"
    )
)
_DEFAULT_FILES = frozenset(
    _words(
        "package-lock.json yarn.lock pnpm-lock.yaml cargo.lock uv.lock poetry.lock pipfile.lock "
        ".ds_store"
    )
)
_DEFAULT_ENDINGS = _words(
    ".pyc .pyo .min.js .min.css .map .rlib .class .jar .o .so .dylib .dll .ico .pdf .zip .tar "
    ".gz .xz .bz2 .7z .wasm .tmp .swp .bak"
)
_EXACT = frozenset(name for name in _SECRET_FILES if "*" not in name)
_PATTERNS = re.compile("|".join(fnmatch.translate(n) for n in _SECRET_FILES if "*" in n))


def is_secret(name: str, *, folder: bool) -> bool:
    """Whether a file or folder of this name may never be learned."""
    lower = name.lower()
    if folder:
        return lower in _SECRET_FOLDERS
    return lower in _EXACT or _PATTERNS.match(lower) is not None


def is_secret_path(path: PurePath, *, folder: bool) -> bool:
    """Whether `path`, which an author named, is secret or lies in a folder that is."""
    return (not folder and is_secret(path.name, folder=False)) or any(
        is_secret(part, folder=True) for part in path.parts
    )


def is_left_out_by_default(name: str, *, folder: bool) -> bool:
    """Whether a file or folder is made by tools and says nothing of its own."""
    lower = name.lower()
    if folder:
        return lower in _DEFAULT_FOLDERS
    return lower in _DEFAULT_FILES or lower.endswith(_DEFAULT_ENDINGS)

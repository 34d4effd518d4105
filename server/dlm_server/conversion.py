"""Plain JSON to the protocol's types and back, by the protocol library's converter.

The library is imported at the first use, which is after `initialize` has been answered.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from dlm_server import changes
from dlm_server.dispatch import INVALID_PARAMS, RequestFailed

if TYPE_CHECKING:
    from cattrs import Converter


#: what comes before the first diagnostics, which should not wait for the library: the
#: handlers read plain JSON themselves
_READ_PLAIN = frozenset({"initialized", "textDocument/didOpen"})


@lru_cache(maxsize=1)
def converter() -> Converter:
    from lsprotocol.converters import get_converter

    return get_converter()


def params_of(method: str, params: object) -> Any:
    """The parameters of `method` as their type; plain JSON for methods that are dlm's own.

    Raises:
        RequestFailed: invalid parameters, with what is wrong in them.
    """
    if method in _READ_PLAIN:
        return params
    if method == "textDocument/didChange":
        return changes.read(params)
    from lsprotocol import types as lsp

    known = lsp.METHOD_TO_TYPES.get(method)
    if known is None:
        return params
    wanted: Any = known[2]
    if wanted is None:
        return None
    if params is None:
        raise RequestFailed(INVALID_PARAMS, f"{method}: the parameters are missing")
    if not isinstance(params, dict):
        raise RequestFailed(INVALID_PARAMS, f"{method}: the parameters must be an object")
    try:
        return converter().structure(params, wanted)
    except Exception as error:
        # cattrs raises groups of whatever its hooks and the types' validators raise.
        raise RequestFailed(INVALID_PARAMS, f"{method}: {_explained(error)}") from error


def _explained(error: Exception) -> str:
    from cattrs import transform_error

    try:
        found = transform_error(error, path="params")
    except Exception:
        found = [str(error)]
    return "; ".join(found[:3]) or type(error).__name__


class Plain(dict[str, Any]):
    """An object that is plain JSON all through."""


class PlainList(list[dict[str, Any]]):
    """A list of such objects."""


def plain(value: object) -> Any:
    """A value of protocol types, or plain JSON, as plain JSON."""
    if value is None or isinstance(value, str | bool | Plain | PlainList):
        return value
    return converter().unstructure(value)

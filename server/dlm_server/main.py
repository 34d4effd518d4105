"""`dlm-server` and `dlm lsp`: the pipes are claimed first, then the rest is imported.

Nothing is imported at the top of this module that could print, and little that takes time:
how long the server takes to answer for the first time is what an editor's start feels like.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

LEVELS = ("debug", "info", "warning", "error")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve one client. Exit code: 0 when it shut the server down, 1 when it just left."""
    options = _parser().parse_args(sys.argv[1:] if arguments is None else list(arguments))
    if options.version:
        from dlm_engine import __version__

        print(f"dlm-server {__version__}")
        return 0
    if os.isatty(0):
        print(
            "dlm-server speaks the language server protocol over its standard input and output; "
            "an editor starts it (docs/editors.md)",
            file=sys.stderr,
        )
    return _serve(options.log_level, options.log_file)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dlm-server", description="The language server for .dlm files.", allow_abbrev=False
    )
    parser.add_argument("--version", action="store_true", help="print the version and stop")
    parser.add_argument(
        "--stdio", action="store_true", help="speak over standard input and output (always so)"
    )
    parser.add_argument(
        "--tcp", nargs="?", const="", metavar="ADDRESS", action=_Refused, help=argparse.SUPPRESS
    )
    parser.add_argument("--clientProcessId", type=int, help=argparse.SUPPRESS)
    parser.add_argument(
        "--log-level", choices=LEVELS, default="warning", help="how much to log [warning]"
    )
    parser.add_argument("--log-file", metavar="PATH", help="log there rather than to stderr")
    return parser


class _Refused(argparse.Action):
    """An option that other servers have and this one does not."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        parser.error(f"{option_string} is not offered: this server speaks over stdio only")


def _serve(level: str, log_file: str | None) -> int:
    import gc

    from dlm_server import transport

    incoming, outgoing = transport.claim()
    # Looking for plug-ins reads the metadata of every installed package: 30 ms.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # The libraries make some 100,000 objects that live as long as the server: looking
    # for garbage among them costs a quarter of the time to start.
    gc.disable()
    from dlm_server.serving import serve

    try:
        return serve(incoming, outgoing, level, log_file)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    raise SystemExit(main())

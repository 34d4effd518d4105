"""The picture of Neovim in the docs: `python -m tests.editors.nvim.picture docs/images`.

A real Neovim in tmux learns a document on the real base and answers a question in it. What tmux
has on its screen, with the colours, is drawn as a page in Chromium.
"""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.editors.nvim.neovim import BIN, NVIM, PLUGIN
from tests.editors.vscode.test_vscode import FERRIES

ROOT: Final = Path(__file__).resolve().parents[3]
COLUMNS, ROWS = 110, 40
PATIENCE = 200.0
INIT = """
vim.o.termguicolors, vim.o.number, vim.o.showmode = true, true, false
vim.o.statusline = ' %f %m%=%{v:lua.require("dlm").status()} '
vim.diagnostic.config({ virtual_text = true })
"""
PAGE = """<meta charset="utf-8"><style>
html, body { margin: 0; background: #14161b; }
pre { margin: 0; padding: 10px; color: #e0e2ea; background: #14161b; width: max-content;
  font: 13px/17px "DejaVu Sans Mono", monospace; }
</style><pre>%s</pre>"""
_SGR: Final = re.compile(r"\x1b\[([0-9;:]*)m")
#: the sixteen colours of a terminal
_NAMED: Final = (
    *("#14161b", "#d16d6a", "#8fb573", "#d8b36a", "#6f9fd8", "#b48ead", "#7fbfbf", "#e0e2ea"),
    *("#4f5258", "#ffc0b9", "#b3f6c0", "#fce094", "#a6dbff", "#ffcaff", "#8cf8f7", "#ffffff"),
)


def drawn(screen: str) -> str:
    """A screen with its escape sequences as HTML."""
    out: list[str] = []
    style: dict[str, str] = {}
    for at, piece in enumerate(_SGR.split(screen)):
        if at % 2 == 0:
            css = "".join(f"{name}:{value};" for name, value in _shown(style).items())
            out.append(f'<span style="{css}">{html.escape(piece)}</span>')
        else:
            _apply(style, [int(n or 0) for n in piece.replace(":", ";").split(";")])
    return "".join(out)


def _apply(style: dict[str, str], codes: list[int]) -> None:
    rest = iter(codes)
    for code in rest:
        if code == 0:
            style.clear()
        elif code in (1, 3, 4, 7):
            style[{1: "bold", 3: "italic", 4: "under", 7: "turned"}[code]] = "yes"
        elif code in (22, 23, 24, 27):
            style.pop({22: "bold", 23: "italic", 24: "under", 27: "turned"}[code], None)
        elif code in (38, 48):
            side = "color" if code == 38 else "background"
            if next(rest) == 2:
                style[side] = f"rgb({next(rest)},{next(rest)},{next(rest)})"
            else:
                style[side] = _indexed(next(rest))
        elif code in (39, 49):
            style.pop("color" if code == 39 else "background", None)
        else:
            side = "color" if code // 10 in (3, 9) else "background"
            style[side] = _NAMED[code % 10 + (8 if code >= 90 else 0)]


def _indexed(number: int) -> str:
    if number < 16:
        return _NAMED[number]
    if number >= 232:
        grey = 8 + 10 * (number - 232)
        return f"rgb({grey},{grey},{grey})"
    steps = (0, 95, 135, 175, 215, 255)
    number -= 16
    return f"rgb({steps[number // 36]},{steps[number // 6 % 6]},{steps[number % 6]})"


def _shown(style: dict[str, str]) -> dict[str, str]:
    colours = {"color": style.get("color", "#e0e2ea"), "background": style.get("background", "")}
    if "turned" in style:
        back = colours["background"] or "#14161b"
        colours = {"color": back, "background": colours["color"]}
    more = {"bold": "font-weight", "italic": "font-style", "under": "text-decoration"}
    said = {"bold": "bold", "italic": "italic", "under": "underline"}
    looks = {more[name]: said[name] for name in more if name in style}
    return {name: value for name, value in {**colours, **looks}.items() if value}


class Terminal:
    """A Neovim in a tmux of its own, in `folder`."""

    def __init__(self, folder: Path, file: str) -> None:
        site = folder / "data" / "nvim" / "site" / "pack" / "dlm" / "start"
        site.mkdir(parents=True)
        (site / "dlm").symlink_to(PLUGIN)
        (folder / "init.lua").write_text(INIT)
        self.tmux = ("tmux", "-L", f"dlm-picture-{os.getpid()}")
        self.socket = folder / "nvim.sock"
        names = ("config", "data", "state", "cache")
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "NVIM", "TMUX"))},
            **{f"XDG_{name.upper()}_HOME": str(folder / name) for name in names},
            "DLM_HOME": str(folder / "home"),
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "TERM": "xterm-256color",
        }
        nvim = f"{NVIM} -n -i NONE -u {folder}/init.lua --listen {self.socket} {file}"
        size = ("-x", str(COLUMNS), "-y", str(ROWS))
        self._run("-f", "/dev/null", "new-session", "-d", *size, "-c", str(folder / "notes"), nvim)
        self._run("set", "-g", "status", "off")

    def _run(self, *arguments: str) -> str:
        command = (*self.tmux, *arguments)
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    def keys(self, *keys: str) -> None:
        self._run("send-keys", *keys)

    def screen(self, *how: str) -> str:
        return self._run("capture-pane", "-p", *how)

    def shows(self, pattern: str) -> None:
        end = time.monotonic() + PATIENCE
        while not re.search(pattern, self.screen()):
            assert time.monotonic() < end, f"never shown: {pattern}\n{self.screen()}"
            time.sleep(0.2)

    def close(self) -> None:
        self._run("kill-server")


def main(target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="dlm-picture-") as name:
        folder = Path(name)
        (folder / "notes").mkdir()
        (folder / "notes" / "tidewater.dlm").write_text(FERRIES)
        terminal = Terminal(folder, "tidewater.dlm")
        try:
            terminal.shows("dlm *\n")
            terminal.keys(":DlmTrain", "Enter")
            terminal.shows("passed · version 1")
            terminal.keys("/Who founded", "Enter", ":nohlsearch | DlmAsk", "Enter")
            terminal.shows("answered · version 1")
            terminal.keys("gg", ":echo", "Enter")
            terminal.shows(r"(?s)dlm_version.*tidewater.dlm +dlm *\n")
            screen = terminal.screen("-e")
        finally:
            terminal.close()
        page = folder / "screen.html"
        page.write_text(PAGE % drawn(screen), encoding="utf-8")
        size = f"--window-size={COLUMNS * 8 + 8},{ROWS * 17 + 20}"
        shot = f"--screenshot={(target / 'nvim-answers.png').resolve()}"
        quiet = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
        subprocess.run(["chromium", *quiet, size, shot, page.as_uri()], check=True, timeout=60)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Record sessions of real editors anew: `python -m tests.server.record [neovim] [vscode]`.

Each session does what people do: open, mend, complete, hover, rename, format, save, close. It
needs what the editors' own tests need. What names this machine is replaced by `{folder}`;
`tests/server/test_recordings.py` plays the client's half to the server and compares.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.server.recording import FOLDER, RECORDINGS

ROOT = Path(__file__).resolve().parents[2]
RECORDER = Path(__file__).with_name("recorder.py")
NOTES = """\
---
dlm_id: 01HZ4X7TGZM3J1A2B3C4D5E6F7
dlm_version: 13
base_model: smollm2-135m
trainig:
  adapters:
    fast: {}
---

::prose#fast::
The lamp of Norby\u2028is lit \U0001f600 at nine.

::instrction::


### Q
Who keeps the lamp?
### A
Ana keeps it.

### Q
Where is the pier?
"""
OLD = """\
---
dlm_id: 01HZ4X7TGZM3J1A2B3C4D5E6F8
dlm_version: 13
base_model: smollm2-135m
---

The pier is in Norby.
"""


def main(names: list[str]) -> int:
    unknown = set(names) - SESSIONS.keys()
    if unknown:
        print(f"no such editor: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    for name in names or SESSIONS:
        with tempfile.TemporaryDirectory(prefix="dlm-record-") as made:
            folder = Path(made).resolve()
            # Nothing of this machine's dlm may be in what is said.
            for variable, part in (("DLM_HOME", "home"), ("DLM_CACHE_DIR", "cache")):
                os.environ[variable] = str(folder / part)
            notes = folder / "notes" / "notes.dlm"
            notes.parent.mkdir()
            notes.write_text(NOTES, encoding="utf-8")
            SESSIONS[name](folder, notes)
            lines = _normalised(_first(folder).read_text(encoding="utf-8"), folder)
        out = RECORDINGS / f"{name}.jsonl"
        out.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        print(f"{out.relative_to(ROOT)}: {len(lines)} messages")
    return 0


def _server(folder: Path) -> Path:
    """A program that an editor takes for the server; each start of it has a file in `said`."""
    (folder / "said").mkdir()
    program = folder / "dlm-server"
    program.write_text(
        "#!/bin/sh\n"
        f'PYTHONPATH={ROOT} exec {sys.executable} {RECORDER} "{folder}/said/$(date +%s%N)" '
        f'{sys.executable} -m dlm_server "$@"\n'
    )
    program.chmod(0o755)
    return program


def _normalised(text: str, folder: Path) -> list[str]:
    lines = []
    for line in text.replace(str(folder), FOLDER).splitlines():
        entry = json.loads(line)
        message = entry["message"]
        if message.get("method") == "initialize":
            message["params"]["processId"] = None
        lines.append(json.dumps(entry, separators=(",", ":")))
    if message.get("method") != "exit":
        raise SystemExit("the recording ends before the session did; record it once more")
    kept = "\n".join(lines)
    for name in (
        str(ROOT),
        str(Path.home()),
        sys.prefix,
        tempfile.gettempdir(),
        os.uname().nodename,
    ):
        if name in kept:
            raise SystemExit(f"the recording names this machine: {name}")
    return lines


# --- sessions ----------------------------------------------------------------------------


def _neovim(folder: Path, notes: Path) -> None:
    from tests.editors.nvim.neovim import Neovim

    init = f"vim.g.dlm = {{ cmd = {{ '{_server(folder)}' }} }}"
    codes = "vim.iter(vim.diagnostic.get(0)):any(function(d) return d.code == '%s' end)"
    apply = (
        "vim.lsp.buf.code_action({ apply = true, filter = function(a) "
        "return a.title:find('%s', 1, true) ~= nil end })"
    )
    with Neovim(notes, init=init) as nvim:
        nvim.attached()
        nvim.until(codes % "version-old")
        nvim.lua(
            "vim.o.completeopt = 'menuone,noselect'; "
            "vim.lsp.completion.enable(true, vim.lsp.get_clients({ name = 'dlm' })[1].id, 0)"
        )
        # Mend what is marked: a key, a fence.
        for wrong, right in (("trainig", "training"), ("instrction", "instruction")):
            nvim.command(f"normal! gg/{wrong}\r")
            nvim.until(f"vim.fn.getline('.'):find('{wrong}') ~= nil")
            nvim.lua(apply % right)
            nvim.until(f"vim.fn.search('{right}', 'cnw') > 0")
        nvim.until("not " + codes % "fence-unknown")
        # Read and complete.
        nvim.command("normal! gg/base_model\r")
        nvim.lua("vim.lsp.buf.hover()")
        nvim.until("#vim.api.nvim_list_wins() > 1")
        nvim.hit("<Esc>oexpo<C-x><C-o>")
        nvim.until("vim.fn.pumvisible() == 1")
        nvim.hit("<C-n><C-y>")
        nvim.until("vim.fn.search('^export:', 'cnw') > 0")
        nvim.hit("default_quant: Q8_0<Esc>")
        nvim.until("vim.fn.search('default_quant: Q8_0', 'cnw') > 0")
        # Rename, write an answer, migrate, make it tidy, save.
        nvim.command("normal! gg/^::prose\r")
        nvim.command("normal! f#l")
        nvim.lua("vim.lsp.buf.rename('slow')")
        nvim.until("vim.fn.search('::prose#slow::', 'cnw') > 0")
        nvim.hit("Go### A<CR>In Norby \U0001f600.<Esc>")
        nvim.until("vim.fn.search('In Norby', 'cnw') > 0")
        nvim.lua(
            "vim.lsp.buf.code_action({ apply = true, "
            "context = { only = { 'source.migrate.dlm' }, diagnostics = {} } })"
        )
        nvim.until("vim.fn.search('dlm_version: 15', 'cnw') > 0")
        nvim.lua("vim.lsp.buf.format()")
        nvim.until("#vim.diagnostic.get(0, { severity = vim.diagnostic.severity.ERROR }) == 0")
        nvim.command("write")
        nvim.command("bdelete")
        nvim.until("#vim.lsp.get_clients({ name = 'dlm' }) == 1")


def _vscode(folder: Path, notes: Path) -> None:
    from tests.editors.vscode import conftest as vscode

    code = vscode.prepared()
    if code is None:
        raise SystemExit("run scripts/setup_vscode.py first")
    settings = {"dlm.server.path": str(_server(folder)), "dlm.trace.server": "off"}
    # The text has one on purpose; asked about it, nobody goes on.
    settings["editor.unusualLineTerminators"] = "off"
    # The old document is another one: here only what fits the whole text is offered at a place.
    old = notes.with_name("old.dlm")
    old.write_text(OLD, encoding="utf-8")
    text = NOTES.replace("dlm_version: 13", "dlm_version: 15")
    notes.write_text(text, encoding="utf-8")
    numbers = {line: i for i, line in enumerate(text.split("\n"), 1)}
    with vscode.started(code, vscode.packaged(folder), folder, settings, {}) as editor:
        editor.drive(
            "language",
            patience=60,
            file=notes.name,
            old=old.name,
            said=str(folder / "said"),
            lines={
                "version": 1 + OLD.split("\n").index("dlm_version: 13"),
                "base": numbers["base_model: smollm2-135m"],
                "key": numbers["trainig:"],
                "fence": numbers["::instrction::"],
                # By then the completion has added two lines.
                "prose": numbers["::prose#fast::"] + 2,
            },
        )


def _first(folder: Path) -> Path:
    """What the first server was told; the names of the files are the times of their starts."""
    return min((folder / "said").iterdir(), key=lambda p: p.name)


SESSIONS: dict[str, Callable[[Path, Path], Any]] = {"neovim": _neovim, "vscode": _vscode}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

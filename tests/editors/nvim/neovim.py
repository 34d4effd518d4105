"""A real Neovim without a screen, with a home of its own, driven over its socket.

The plugin is installed as its help says: a link on the package path. Every wait is for a
condition inside the editor, with a deadline.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[3]
PLUGIN = ROOT / "clients" / "nvim"
HARNESS = Path(__file__).with_name("harness.lua")
BIN = Path(sys.executable).parent
NVIM = BIN / "nvim"
#: no screen, no swap file, no history
QUIET = ("--headless", "-n", "-i", "NONE")
PATIENCE = 30.0

#: takes what contains the word, of whatever is offered
TAKE = """
DlmTest.offered = {}
vim.ui.select = function(items, options, done)
  local taken, at
  for i, item in ipairs(items) do
    local shown = (options.format_item or tostring)(item)
    table.insert(DlmTest.offered, shown)
    if not taken and shown:find('%s', 1, true) then
      taken, at = item, i
    end
  end
  done(taken, at)
end
"""


class Neovim:
    """One editor; use it as a context. `init` is the user's init.lua."""

    def __init__(self, *files: Path, init: str = "", parser: Path | None = None) -> None:
        # Sockets have short names: no folder of pytest's.
        self.home = Path(tempfile.mkdtemp(prefix="dlm-nvim-"))
        data = self.home / "data" / "nvim"
        start = data / "site" / "pack" / "dlm" / "start"
        start.mkdir(parents=True)
        (start / "dlm").symlink_to(PLUGIN)
        config = self.home / "config" / "nvim"
        config.mkdir(parents=True)
        (config / "init.lua").write_text(init)
        if parser is not None:
            (data / "site" / "parser").mkdir()
            shutil.copy(parser, data / "site" / "parser" / "dlm.so")
        self.data = data
        self._socket = self.home / "nvim.sock"
        ready, said = os.pipe()
        self.process = subprocess.Popen(
            [NVIM, *QUIET, "--cmd", f"luafile {HARNESS}", "--listen", self._socket, "--", *files],
            env=self._environment() | {"DLM_TEST_READY": str(said)},
            cwd=self.home,
            pass_fds=[said],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        os.close(said)
        try:
            readable, _, _ = select.select([ready], [], [], PATIENCE)
            assert readable, "Neovim did not start"
            assert os.read(ready, 1) == b"x", self._stderr()
        finally:
            os.close(ready)

    def _environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "NVIM"))}
        for name in ("VIRTUAL_ENV", "CONDA_PREFIX", "VIM", "VIMRUNTIME"):
            kept.pop(name, None)
        own = {f"XDG_{n.upper()}_HOME": str(self.home / n) for n in ("config", "data", "state")}
        path = f"{BIN}{os.pathsep}{kept.get('PATH', '')}"
        return kept | own | {"XDG_CACHE_HOME": str(self.home / "cache"), "PATH": path}

    def _stderr(self) -> str:
        assert self.process.stderr is not None
        self.process.kill()
        return self.process.stderr.read().decode(errors="replace")

    def lua(self, chunk: str) -> Any:
        """What a Lua chunk returns, as JSON has it."""
        asked = self._ask(chunk)
        assert asked.returncode == 0, asked.stderr + asked.stdout
        answer = json.loads(asked.stdout or asked.stderr)
        assert "trouble" not in answer, answer["trouble"]
        return answer["value"]

    def _ask(self, chunk: str) -> subprocess.CompletedProcess[str]:
        encoded = base64.b64encode(chunk.encode()).decode()
        asked = f"luaeval('DlmTest.run(_A)', '{encoded}')"
        return subprocess.run(
            [NVIM, "--server", self._socket, "--remote-expr", asked],
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def command(self, text: str) -> None:
        """An Ex command."""
        self.lua(f"vim.cmd({json.dumps(text, ensure_ascii=False)})")

    def hit(self, keys: str) -> None:
        """Keys as a person hits them, `<CR>` and the like included."""
        self.lua(f"vim.api.nvim_input({json.dumps(keys, ensure_ascii=False)})")

    def until(self, expression: str, seconds: float = PATIENCE) -> Any:
        """The value of a Lua expression as soon as it is neither nil nor false."""
        # Between two looks the editor does what was typed and what the server said.
        look = f"local v; vim.wait(100, function() v = {expression}; return v end, 5); return v"
        deadline = time.monotonic() + seconds
        while True:
            value = self.lua(look)
            if value not in (None, False):
                return value
            assert time.monotonic() < deadline, (
                f"never came: {expression}; said {self.notified()}; "
                f"log {self._log()}; text {self.text()[:2000]!r}"
            )

    def attached(self) -> None:
        """Wait until the server has the current buffer."""
        self.until("vim.lsp.get_clients({ name = 'dlm', bufnr = 0 })[1]~=nil")

    def text(self) -> str:
        lines = self.lua("return vim.api.nvim_buf_get_lines(0, 0, -1, false)")
        return "".join(f"{line}\n" for line in lines)

    def notified(self) -> list[str]:
        """What the user was told so far."""
        return [message for message, _ in self.lua("return DlmTest.notified")]

    def told(self, part: str) -> str:
        """The first message that contains `part`, once it was shown."""
        self.until(
            "vim.iter(DlmTest.notified):any(function(n) "
            f"return n[1]:find({json.dumps(part, ensure_ascii=False)}, 1, true) end)"
        )
        return next(m for m in self.notified() if part in m)

    def virtual_lines(self) -> list[tuple[int, str]]:
        """(line it stands below, text) of every virtual line, in order."""
        marks = self.lua(
            "return vim.api.nvim_buf_get_extmarks(0, require('dlm.results').namespace, 0, -1, "
            "{ details = true })"
        )
        return [
            (mark[1], "".join(piece[0] for piece in line))
            for mark in marks
            for line in mark[3]["virt_lines"]
        ]

    def _log(self) -> str:
        path = self.home / "state" / "nvim" / "lsp.log"
        return path.read_text()[-2000:] if path.exists() else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            if error is None:
                messages = self.lua("return vim.fn.execute('messages')")
                assert "Error executing" not in messages, messages
                # It may be gone before it answers.
                self._ask("vim.schedule(function() vim.cmd('qall!') end)")
            else:
                self.process.kill()
        try:
            self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            assert self.process.stderr is not None
            self.process.stderr.close()
            shutil.rmtree(self.home, ignore_errors=True)

"""The scanner needs no function that a parser in WebAssembly cannot have.

Zed and web pages run parsers there, where the host has these functions of C and no others; a
parser that wants another one does not load at all.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

#: lib/src/wasm/stdlib-symbols.txt of tree-sitter
PROVIDED = """
calloc free iswalnum iswalpha iswblank iswdigit iswlower iswspace iswupper iswxdigit malloc memchr
memcmp memcpy memmove memset realloc strcmp strlen strncat strncmp strncpy towlower towupper
"""


@pytest.mark.skipif(
    sys.platform != "linux" or not (shutil.which("cc") and shutil.which("nm")),
    reason="reads the symbols of an object file as Linux names them",
)
def test_the_scanner_uses_only_what_every_host_has(grammar: Path, tmp_path: Path) -> None:
    source, made = grammar / "src" / "scanner.c", tmp_path / "scanner.o"
    flags = ["-Os", "-fPIC", "-fno-stack-protector", "-U_FORTIFY_SOURCE"]
    subprocess.run(["cc", *flags, "-c", source, "-o", made], check=True)
    listed = subprocess.run(["nm", "-u", made], check=True, capture_output=True, text=True).stdout
    wanted = {line.split()[-1] for line in listed.splitlines()}
    assert wanted - set(PROVIDED.split()) <= {"_GLOBAL_OFFSET_TABLE_"}
    assert "calloc" in wanted

"""Who may import whom (docs/architecture.md), proved from the source and from a running process.

The source is read with `ast`, so imports inside functions count as well; a heavy library
may be imported inside a function, but never by the rooms that must stay light.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ENGINE = ROOT / "engine" / "dlm_engine"
SERVER = ROOT / "server" / "dlm_server"

#: room -> the rooms it may import, besides itself and `errors`
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "document": set(),
    "store": {"document"},
    "bases": {"document"},
    "hardware": {"document"},
    "checks": {"document", "store", "bases", "data"},
    "case": {"document", "store", "bases"},
    "data": {"document", "store", "bases", "hardware"},
    "inference": {"document", "store", "bases", "hardware", "case", "data"},
    "training": {"document", "store", "bases", "hardware", "case", "data", "inference"},
    "export": {"document", "store", "bases", "hardware", "case", "data"},
    "jobs": {
        "case",
        "document",
        "store",
        "bases",
        "hardware",
        "data",
        "inference",
        "training",
        "export",
    },
    # The engine as a process: the jobs, and what they need to say what they did.
    "worker": {
        "document",
        "store",
        "bases",
        "hardware",
        "case",
        "data",
        "inference",
        "training",
        "export",
        "jobs",
    },
    # The command line talks to the jobs; of `export` it names the words for its options.
    "cli": {"document", "store", "bases", "hardware", "checks", "case", "data", "export", "jobs"},
}

#: what of the engine the server may see: nothing that trains, asks or exports
SERVER_MAY_IMPORT = {"document", "store", "bases", "hardware", "checks", "errors", "__version__"}

#: of the worker the shapes of its messages, of `export` the words for what it is asked, of
#: `training` the arithmetic of its plan
SERVER_MAY_IMPORT_OF = {
    "worker": {"messages", "wire", "words"},
    "export": {"model"},
    "training": {"planning"},
}

HEAVY = {"torch", "transformers", "peft", "trl", "accelerate", "datasets", "bitsandbytes"}
#: rooms and modules that never import a heavy library, not even inside a function
LIGHT: tuple[str, ...] = (
    "errors.py",
    "document/",
    "store/",
    "cli/",
    "bases/registry.py",
    "bases/spec.py",
)
LIGHT += ("checks.py", "bases/resolve.py", "bases/licences.py", "data/rows.py", "data/split.py")
LIGHT += ("data/sources/", "data/token_cache.py", "data/encoding.py")
LIGHT += ("training/model.py", "training/planning.py")


def modules() -> list[Path]:
    return sorted(p for p in ENGINE.rglob("*.py") if p.parent != ENGINE or p.name != "__main__.py")


def room_of(path: Path) -> str:
    first = path.relative_to(ENGINE).parts[0]
    return first.removesuffix(".py")


def imported(path: Path, package_root: Path = ENGINE) -> list[tuple[int, str, bool]]:
    """(line, absolute dotted name, whether at module level) of every import in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    inner = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
    }
    # What stands under `if TYPE_CHECKING:` is never executed; for layering it still counts.
    checked_only = {
        id(node)
        for test in ast.walk(tree)
        if isinstance(test, ast.If) and "TYPE_CHECKING" in ast.unparse(test.test)
        for statement in test.body
        for node in ast.walk(statement)
    }
    package = [package_root.name, *path.relative_to(package_root).parent.parts]
    found: list[tuple[int, str, bool]] = []
    for node in ast.walk(tree):
        executed_at_import = id(node) not in inner and id(node) not in checked_only
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name, executed_at_import) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            prefix = ".".join([*base, *([node.module] if node.module else [])])
            found += [(node.lineno, f"{prefix}.{a.name}", executed_at_import) for a in node.names]
    return found


def test_every_room_is_in_the_table() -> None:
    rooms = {room_of(p) for p in modules()} - {"__init__"}
    assert rooms <= set(MAY_IMPORT), rooms - set(MAY_IMPORT)


def test_rooms_import_only_what_stands_below_them() -> None:
    wrong = [
        f"{path.relative_to(ENGINE)}:{line} imports {name}"
        for path in modules()
        for line, name, _ in imported(path)
        if name.startswith("dlm_engine.")
        and (target := name.split(".")[1]) in MAY_IMPORT
        and target not in MAY_IMPORT[room_of(path)] | {room_of(path), "errors"}
        and room_of(path) != "__init__"
    ]
    assert wrong == []


def test_heavy_libraries_are_never_imported_at_module_level() -> None:
    """`dlm_engine.training.loop` and its like are imported by jobs only inside functions;
    still nothing below `training` and `inference` may cost a second to import."""
    wrong = [
        f"{path.relative_to(ENGINE)}:{line} imports {name}"
        for path in modules()
        for line, name, at_import in imported(path)
        if at_import
        and name.split(".")[0] in HEAVY
        and room_of(path) not in ("training", "inference", "export", "data")
    ]
    assert wrong == []


def test_light_rooms_never_import_heavy_libraries_at_all() -> None:
    wrong = [
        f"{path.relative_to(ENGINE)}:{line} imports {name}"
        for path in modules()
        if path.relative_to(ENGINE).as_posix().startswith(LIGHT)
        for line, name, _ in imported(path)
        if name.split(".")[0] in HEAVY
    ]
    assert wrong == []


def test_only_the_command_line_starts_the_server() -> None:
    wrong = [
        f"{path.relative_to(ENGINE)}:{line} imports {name}"
        for path in modules()
        for line, name, _ in imported(path)
        if name.split(".")[0] == "dlm_server"
        and path.relative_to(ENGINE).as_posix() != "cli/commands/lsp.py"
    ]
    assert wrong == []


def test_the_server_sees_only_the_light_rooms_and_its_features_no_protocol() -> None:
    wrong = []
    for path in sorted(SERVER.rglob("*.py")):
        place = path.relative_to(SERVER)
        for line, name, _ in imported(path, SERVER):
            room = name.split(".")[1] if name.startswith("dlm_engine.") else None
            if name.split(".")[2:3] and name.split(".")[2] in SERVER_MAY_IMPORT_OF.get(
                room or "", ()
            ):
                continue
            if (
                name.split(".")[0] in HEAVY | {"numpy"}
                or (room is not None and room not in SERVER_MAY_IMPORT)
                or (place.parts[0] == "features" and name.split(".")[0] in ("lsprotocol", "pygls"))
            ):
                wrong.append(f"{place}:{line} imports {name}")
    assert wrong == []


LIGHT_MODULES = [
    "dlm_engine",
    "dlm_engine.document",
    "dlm_engine.store",
    "dlm_engine.bases",
    "dlm_engine.hardware",
    "dlm_engine.data.sources",
    "dlm_engine.data.token_cache",
    "dlm_engine.jobs",
    "dlm_engine.training.planning",
    "dlm_engine.cli.app",
    "dlm_engine.cli.commands.check",
    "dlm_server.main",
    "dlm_server.serving",
]


@pytest.mark.parametrize("module", LIGHT_MODULES)
def test_importing_a_light_module_loads_no_heavy_library(module: str) -> None:
    code = f"import sys, {module}; print(*sorted(set(sys.modules) & {HEAVY!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == ""


def test_a_server_with_every_handler_loaded_has_no_heavy_library() -> None:
    code = (
        "import sys; from importlib import import_module; "
        "from dlm_server import notifications, requests; "
        "[import_module(m) for m in (*notifications.MODULES, *requests.MODULES.values())]; "
        f"print(*sorted(set(sys.modules) & {HEAVY | {'numpy'}!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == ""

"""The two things `pyproject.toml` cannot say: the compiled grammar and its queries.

The parser is C, built against Python's limited API so that one wheel serves every
Python from 3.11. Its queries live where editors look for them, outside the Python
package, and are copied into it when a wheel is built.
"""

import shutil
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_py import build_py

GRAMMAR = Path("grammar/tree-sitter-dlm")
PACKAGE = GRAMMAR / "bindings/python/tree_sitter_dlm"


class BuildWithQueries(build_py):
    """`build_py` that also copies the grammar's queries into the built package."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "tree_sitter_dlm" / "queries"
        target.mkdir(parents=True, exist_ok=True)
        for query in sorted((GRAMMAR / "queries").glob("*.scm")):
            shutil.copyfile(query, target / query.name)


setup(
    package_dir={"tree_sitter_dlm": PACKAGE.as_posix()},
    ext_modules=[
        Extension(
            name="tree_sitter_dlm._binding",
            sources=[
                (PACKAGE / "binding.c").as_posix(),
                (GRAMMAR / "src/parser.c").as_posix(),
                (GRAMMAR / "src/scanner.c").as_posix(),
            ],
            depends=[path.as_posix() for path in sorted(GRAMMAR.glob("src/**/*.h"))],
            include_dirs=[(GRAMMAR / "src").as_posix()],
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            extra_compile_args=["/std:c11", "/utf-8"] if sys.platform == "win32" else ["-std=c11"],
            py_limited_api=True,
        )
    ],
    cmdclass={"build_py": BuildWithQueries},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)

"""A run's figures on a dashboard: TensorBoard's event files, or Weights & Biases.

Asked for by flag or environment variable, for every front alike. The invariant: a package
that is not installed, or a place that cannot be written, is refused before anything starts;
what fails later is told once and costs the dashboard, never the run. Both are handed the
rows that `metrics.sqlite` gets, under the same names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Protocol

from dlm_engine.errors import UsageError
from dlm_engine.store import EvaluationRow, StepRow, ensure_space, make_folders

TENSORBOARD: Final = "DLM_TENSORBOARD"
WANDB: Final = "DLM_WANDB"

_STEP = ("loss", "lr", "grad_norm", "divergence", "learned", "tokens_per_sec")
_EVALUATION = ("val_loss", "learned", "divergence", "margin", "accuracy", "kept")


class Sink(Protocol):
    """One dashboard, ready to take figures."""

    def write(self, figures: Mapping[str, float], step: int) -> None: ...

    def close(self, *, failed: bool) -> None: ...


@dataclass(frozen=True, slots=True)
class Dashboards:
    """Where figures should go; None for not there."""

    tensorboard: Path | None = None
    wandb: str | None = None

    def or_from(self, environment: Mapping[str, str]) -> Dashboards:
        """What was not said is taken from the environment."""
        folder, project = environment.get(TENSORBOARD, ""), environment.get(WANDB, "")
        return Dashboards(
            self.tensorboard or (Path(folder) if folder.strip() else None),
            self.wandb or (project.strip() or None),
        )


NOWHERE: Final = Dashboards()


class Sinks:
    """The dashboards of one run; none is a good number of them."""

    def __init__(self, wish: Dashboards) -> None:
        """Raises `UsageError` for what cannot be had."""
        self._wish = wish
        self._open: list[Sink] = []
        self._troubled: Callable[[str], None] = lambda message: None
        if wish.tensorboard is not None:
            _require("tensorboard", "--tensorboard")
            folder = wish.tensorboard.expanduser()
            if folder.exists() and not folder.is_dir():
                raise UsageError("--tensorboard", f"{folder} is not a folder", "name another")
            ensure_space(folder, 2**20)
        if wish.wandb is not None:
            _require("wandb", "--wandb")

    def open(self, root: Path, run_id: int, troubled: Callable[[str], None]) -> None:
        """Begin run number `run_id` of the store at `root`."""
        self._troubled = troubled
        name = f"{root.name}-{run_id:06d}"
        wish = self._wish
        if wish.tensorboard is not None:
            folder = wish.tensorboard.expanduser() / name
            self._begin(lambda: _TensorBoard(folder))
        if wish.wandb is not None:
            project = wish.wandb
            self._begin(lambda: _Wandb(project, name, root / "logs"))

    def step(self, row: StepRow) -> None:
        self._write(f"{row.phase}/", row, _STEP)

    def evaluation(self, row: EvaluationRow) -> None:
        # Each phase counts its own steps.
        self._write(f"eval/{row.phase}/", row, _EVALUATION)

    def close(self, *, failed: bool) -> None:
        for sink in self._open:
            try:
                sink.close(failed=failed)
            except Exception as error:
                self._troubled(f"the dashboard may lack its last figures: {error}")
        self._open = []

    def _begin(self, make: Callable[[], Sink]) -> None:
        try:
            self._open.append(make())
        except Exception as error:
            self._troubled(f"a dashboard could not be opened, the run goes on without it: {error}")

    def _write(self, prefix: str, row: StepRow | EvaluationRow, names: tuple[str, ...]) -> None:
        found = {name: getattr(row, name) for name in names}
        figures = {prefix + name: value for name, value in found.items() if value is not None}
        for sink in [*self._open]:
            try:
                sink.write(figures, row.step)
            except Exception as error:
                self._open.remove(sink)
                self._troubled(f"a dashboard failed, the run goes on without it: {error}")


def sinks_of(wish: Dashboards) -> Sinks:
    """The dashboards asked for here or in the environment.

    Raises:
        UsageError: one of them is not installed, or its folder is none.
    """
    return Sinks(wish.or_from(os.environ))


def _require(package: str, flag: str) -> None:
    if find_spec(package) is None:
        raise UsageError(
            flag, f"{package} is not installed", f"pip install {package} (or 'dlm[observability]')"
        )


class _TensorBoard:
    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        make_folders(folder)
        self._writer: Any = SummaryWriter(str(folder), flush_secs=5)

    def write(self, figures: Mapping[str, float], step: int) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def close(self, *, failed: bool) -> None:
        self._writer.close()


class _Wandb:
    """Offline, anonymous or elsewhere by W&B's own variables (`WANDB_MODE` and others)."""

    def __init__(self, project: str, name: str, folder: Path) -> None:
        import wandb

        make_folders(folder)
        self._run: Any = wandb.init(
            project=project,
            name=name,
            dir=os.environ.get("WANDB_DIR") or str(folder),
            # Figures are what was asked for: no source, no repository, no terminal text.
            settings=wandb.Settings(
                console="off", disable_git=True, save_code=False, silent=True, init_timeout=20
            ),
        )

        # Its own count of steps may never go back; a phase that begins again at 1 would.
        self._run.define_metric("*", step_metric="step")

    def write(self, figures: Mapping[str, float], step: int) -> None:
        self._run.log({**figures, "step": step})

    def close(self, *, failed: bool) -> None:
        self._run.finish(exit_code=1 if failed else 0)

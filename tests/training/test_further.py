"""Going on from a version: what is new is learned, what was there stays bit for bit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.training.parts import SETTINGS, WIRING, bytes_of, lay, rows, trainee

from dlm_engine.data.packs import Pack, packs_of
from dlm_engine.data.rows import ChatRow, Row, TextRow
from dlm_engine.data.tokens import Encoded
from dlm_engine.training.aim import aim, aim_further, survey
from dlm_engine.training.checkpoint import StateFacts
from dlm_engine.training.further import Addition, FurtherRun, addition, nearest, settle_further
from dlm_engine.training.network import Trainee
from dlm_engine.training.sft import Laid

# --- what is new ---------------------------------------------------------------------------


def encoded(row: Row, *ids: int) -> Encoded:
    kind = "chat" if isinstance(row, ChatRow) else "text"
    return Encoded(row.key, row.section_id, kind, (1, 2, *ids, 3), 2)  # type: ignore[arg-type]


LEARNED: list[Row] = [ChatRow("s", f"Who keeps lamp {n}?", f"Ana {n}.") for n in range(10)]
NEW = ChatRow("s", "Where is the pier?", "In Norby.")


def facts(*trained: Row, unknown: tuple[Row, ...] = ()) -> StateFacts:
    return StateFacts(
        step=9,
        fingerprint="",
        finished=True,
        known={r.key: r not in unknown for r in trained if isinstance(r, ChatRow)},
        rows={r.key: r.question if isinstance(r, ChatRow) else "" for r in trained},
        sha256="",
    )


def judge(present: list[Row], known: StateFacts, rank: int = 16, alpha: int = 32) -> Addition | str:
    questions = {r.key: r.question if isinstance(r, ChatRow) else "" for r in present}
    return addition([encoded(row) for row in present], questions, known, rank, alpha, 16)


def test_a_row_that_was_not_trained_is_new() -> None:
    found = judge([*LEARNED, NEW], facts(*LEARNED))
    assert isinstance(found, Addition)
    assert [row.key for row in found.new] == [NEW.key]
    assert {row.key for row in found.kept} == {row.key for row in LEARNED}
    assert (found.grown_rank, found.grown_alpha) == (24, 48)


def test_a_row_that_was_trained_and_not_learned_is_new_again() -> None:
    found = judge(LEARNED, facts(*LEARNED, unknown=(LEARNED[3],)))
    assert isinstance(found, Addition)
    assert [row.key for row in found.new] == [LEARNED[3].key]


@pytest.mark.parametrize(
    ("present", "known", "why"),
    [
        (LEARNED, facts(*LEARNED), "nothing was added"),
        ([*LEARNED[1:], NEW], facts(*LEARNED), "only a whole run forgets"),
        ([*LEARNED, NEW], facts(*LEARNED, TextRow("s", "Once.")), "only a whole run forgets"),
        (LEARNED, facts(*LEARNED[:4]), "6 of 10 rows are new"),
    ],
)
def test_some_changes_take_a_whole_run(present: list[Row], known: StateFacts, why: str) -> None:
    found = judge(present, known)
    assert isinstance(found, str)
    assert why in found


def test_an_adapter_does_not_grow_for_ever() -> None:
    found = judge([*LEARNED, NEW], facts(*LEARNED), rank=96, alpha=192)
    assert found == "the adapter has grown to rank 96"


@pytest.mark.parametrize("question", ["Who keeps lamp 4?", "Who keeps the lamp 4?"])
def test_an_edited_fact_replaces_the_old_one(question: str) -> None:
    edited = ChatRow("s", question, "Bo 4.")
    found = judge([*LEARNED[:4], edited, *LEARNED[5:]], facts(*LEARNED))
    assert isinstance(found, Addition)
    assert [row.key for row in found.new] == [edited.key]


@pytest.mark.parametrize("rank", [1, 3, 7, 16, 24])
@pytest.mark.parametrize("alpha", [1, 10, 16, 33])
def test_growing_keeps_the_scale_of_every_product(rank: int, alpha: int) -> None:
    found = judge([*LEARNED, NEW], facts(*LEARNED), rank, alpha)
    assert isinstance(found, Addition)
    assert found.grown_alpha * rank == alpha * found.grown_rank


def test_the_rows_trained_along_are_those_most_like_the_new_one() -> None:
    new = encoded(NEW, 10, 11, 12)
    like = [encoded(row, 10, 11, 50 + n) for n, row in enumerate(LEARNED[:4])]
    unlike = [encoded(row, 80 + n) for n, row in enumerate(LEARNED[4:])]
    chosen = nearest([new], [*unlike, *like, encoded(TextRow("s", "Prose."), 10, 11, 12)])
    assert {row.key for row in chosen} == {row.key for row in like}


# --- the run -------------------------------------------------------------------------------

OLD, FRESH = rows(6), rows(1, first=60)
EVERYDAY = packs_of(rows(8, first=100), 40)


def grown(
    new: list[Encoded], steps: int = 30, optimizer: str = "adamw_torch"
) -> tuple[FurtherRun, dict[str, torch.Tensor]]:
    """A run further by `new` on an adapter with some random knowledge; with its tensors."""
    first = trainee()
    aim(first, lay(first, packs_of(OLD, 40)), survey(first, lay(first, EVERYDAY)))
    earlier: dict[str, torch.Tensor] = {}
    generator = torch.Generator().manual_seed(3)
    for name, module in first.adapted().items():
        b = module.lora_B["default"].weight
        earlier[f"{name}.lora_A.weight"] = module.lora_A["default"].weight.detach().clone()
        earlier[f"{name}.lora_B.weight"] = torch.randn(b.shape, generator=generator) * 0.01
    added = Addition(tuple(new), tuple(OLD), WIRING.rank, WIRING.alpha, 4)
    settings = replace(
        settle_further(SETTINGS, added), cap=steps, stop_when_learned=True, optimizer=optimizer
    )
    second = trainee(replace(WIRING, rank=added.grown_rank, alpha=added.grown_alpha))
    second.take_over(earlier)
    new_laid, old_laid = lay(second, packs_of(new, 40)), lay(second, packs_of(OLD, 40))
    aim_further(second, new_laid, old_laid, survey(second, lay(second, EVERYDAY)), added.rank)

    def laid(packs: object) -> list[Laid]:
        return [Laid(*each) for each in lay(second, list(packs))]  # type: ignore[call-overload]

    every = [Laid(*each) for each in (*new_laid, *old_laid)]
    return FurtherRun(second, settings, every, added, laid), earlier


@pytest.mark.parametrize("optimizer", ["adamw_torch", "galore_adamw", "galore_adamw_8bit"])
def test_what_was_there_does_not_change_by_a_bit(optimizer: str) -> None:
    run, earlier = grown(FRESH, steps=5, optimizer=optimizer)
    assert len(list(run.steps())) == 5
    for name, module in run.trainee.adapted().items():
        a, b = module.lora_A["default"].weight, module.lora_B["default"].weight
        assert torch.equal(a[: WIRING.rank], earlier[f"{name}.lora_A.weight"])
        assert torch.equal(b[:, : WIRING.rank], earlier[f"{name}.lora_B.weight"])
        assert not torch.equal(b[:, WIRING.rank :], torch.zeros_like(b[:, WIRING.rank :]))


def test_before_the_first_step_a_grown_adapter_computes_what_it_did() -> None:
    run, earlier = grown(FRESH)
    before = trainee()
    before.take_over(earlier)
    (packed,) = packs_of(OLD[:2], 40)
    for model in (before, run.trainee):
        model.model.eval()
    with torch.no_grad():
        torch.testing.assert_close(
            run.trainee.hidden(packed, run.trainee.trunk(packed)),
            before.hidden(packed, before.trunk(packed)),
        )


def test_the_new_rows_of_a_hear_the_new_text_above_all_other() -> None:
    run, _ = grown(FRESH)

    def loudness(packs: list[Encoded]) -> float:
        module = run.trainee.adapted()["base_model.model.model.layers.5.self_attn.q_proj"]
        heard: list[torch.Tensor] = []
        hook = module.register_forward_pre_hook(lambda _, given: heard.append(given[0][0]))
        for packed in packs_of(packs, 40):
            with torch.no_grad(), run.trainee.model.disable_adapter():
                run.trainee.hidden(packed, run.trainee.trunk(packed))
            heard[-1] = heard[-1][packed.prefix :]
        hook.remove()
        rows_of_a = module.lora_A["default"].weight[WIRING.rank :]
        return float((torch.cat(heard) @ rows_of_a.t()).square().mean().detach())

    assert loudness(FRESH) > 3 * loudness(OLD)
    assert loudness(FRESH) > 3 * loudness(rows(8, first=100))


def test_it_ends_when_the_new_row_is_known_and_no_other_was_harmed() -> None:
    run, _ = grown(FRESH, steps=300)
    run.knowledge.watched = frozenset(row.key for row in FRESH)
    reports = list(run.steps())
    assert run.finished
    assert len(reports) < 300
    assert run.look().known == {row.key: True for row in FRESH}


def test_it_takes_no_step_after_the_one_that_taught_all() -> None:
    run, _ = grown(FRESH, steps=300)
    steps = len(list(run.steps()))
    assert run.finished
    short, _ = grown(FRESH, steps=steps - 1)
    assert len(list(short.steps())) == steps - 1
    assert not all(short.look().known.values())


def test_looking_ahead_is_the_pass_of_the_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs one pass in the end, and the adapter is as if nobody had looked."""
    run, _ = grown(FRESH, steps=5)
    passes: list[bool] = []
    hidden = Trainee.hidden

    def counted(trainee: Trainee, pack: Pack, trunk: torch.Tensor | None) -> torch.Tensor:
        passes.append(torch.is_grad_enabled())
        return hidden(trainee, pack, trunk)

    monkeypatch.setattr(Trainee, "hidden", counted)
    list(run.steps())
    assert passes == [True] * 6
    blind, _ = grown(FRESH, steps=5)
    monkeypatch.setattr(blind, "_look_ahead", lambda: None)
    list(blind.steps())
    assert bytes_of(blind) == bytes_of(run)


def test_memory_that_runs_out_while_looking_ahead_is_no_step_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, _ = grown(FRESH, steps=5)
    rows_at_once: list[int] = []
    hidden = Trainee.hidden

    def scarce(trainee: Trainee, pack: Pack, trunk: torch.Tensor | None) -> torch.Tensor:
        if rows_at_once and len(pack.rows) > 2:
            raise torch.OutOfMemoryError
        rows_at_once.append(len(pack.rows))
        return hidden(trainee, pack, trunk)

    monkeypatch.setattr(Trainee, "hidden", scarce)
    assert len(list(run.steps())) == 5
    assert rows_at_once[0] > 2 >= max(rows_at_once[1:])


def test_a_row_that_was_harmed_is_trained_along(monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = grown(FRESH, steps=300)
    monkeypatch.setattr(run, "_look_ahead", lambda: None)
    outside = [row.key for row in OLD if row.key not in run._focus]
    assert outside
    for key in run._focus:
        run.knowledge.known[key] = True
    run.look()
    run.knowledge.known |= dict.fromkeys(run._focus, True) | {outside[0]: False}
    assert not run._knows_everything()
    assert outside[0] in run._focus
    assert any(row.key == outside[0] for laid in run._batch(0) for row in laid.pack.rows)

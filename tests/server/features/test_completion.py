"""Completion: what is offered where, and what the text is after taking it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.server.features.cursor import HEAD, at_cursor, declared

from dlm_engine.document import Severity, apply_edits, parse
from dlm_server.features.completion import Completion, Surroundings, complete
from dlm_server.features.schema_docs import Shape, table

ID = "---\ndlm_id: 01HZ4X7TGZM3J1A2B3C4D5E6F7\n"
ROOM = ["dlm_version", "base_model", "training", "export", "system_prompt"]
HYPER = ["beta", "alpha", "learning_rate", "num_epochs"]
SOURCE = ["path", "include", "exclude", "max_bytes_per_file", "max_files"]
FENCES = ["::instruction::", "::preference::", "::prose::", "::image::", "::audio::"]
QUESTIONS = ["### Q", "### Q !probe"]
PAIR = "::instruction::\n### Q\na\n### A\nb\n"


def offers(marked: str, folder: Path | None = None) -> list[Completion]:
    live, offset = at_cursor(marked)
    found = complete(live, offset, Surroundings(folder))
    ordered = sorted(found.items, key=lambda item: item.sort or item.label)
    for item in ordered:
        start, end = item.edit.span
        assert start <= offset <= end, "an editor refuses a range without the cursor"
        assert live.line_of(start) == live.line_of(end)
    return ordered


def labels(marked: str) -> list[str]:
    return [item.label for item in offers(marked)]


def taken(marked: str, label: str, folder: Path | None = None) -> str:
    live, _ = at_cursor(marked)
    item = next(item for item in offers(marked, folder) if item.label == label)
    return apply_edits(live.text, [item.edit])


@pytest.mark.parametrize(
    ("marked", "expected"),
    [
        # what stands there already is not offered again, required keys come first
        ("---\n‸\n---\n", ["dlm_id", "base_model", *ROOM[:1], *ROOM[2:]]),
        (ID + "‸\n---\n", ["base_model", "dlm_version", "training", "export", "system_prompt"]),
        (ID + "‸\nbase_model: x\n---\n", ["dlm_version", "training", "export", "system_prompt"]),
        (ID + "base_‸\ntraining:\n  seed: 1\n---\n", ["base_model", ROOM[0], *ROOM[3:]]),
        # each level of indent
        (ID + "training:\n  preference:\n    hyperparams:\n      ‸\n---\n", HYPER),
        (
            ID + "training:\n  preference:\n    hyperparams:\n      beta: 1\n      ‸\n---\n",
            HYPER[1:],
        ),
        (ID + "training:\n  cpt:\n    ‸\n  seed: 3\n---\n", ["schedule", "embed_warmup_steps"]),
        (ID + "training:\n  audio:\n    au‸\n---\n", ["auto_resample"]),
        (
            ID + "export:\n  default_quant: Q8_0\n  ‸\n---\n",
            ["default_temperature", "default_top_p"],
        ),
        # lists of mappings
        (ID + "training:\n  sources:\n    - ‸\n---\n", SOURCE),
        (ID + "training:\n  sources:\n  - ‸\n---\n", SOURCE),
        (ID + "training:\n  sources:\n    - path: x\n      ‸\n---\n", SOURCE[1:]),
        (
            ID + "training:\n  sources:\n    - path: x\n    - in‸\n      exclude: []\n---\n",
            [SOURCE[0], SOURCE[1], *SOURCE[3:]],
        ),
        (ID + "training:\n  sources:\n    ‸\n---\n", SOURCE),
        # flow mappings
        (ID + "export: {default_quant: Q8_0, ‸}\n---\n", ["default_temperature", "default_top_p"]),
        (ID + "export: {\n  default_quant: Q8_0,\n  ‸", ["default_temperature", "default_top_p"]),
        # an earlier line that nothing closes
        (
            ID + "export: {default_quant: Q8_0\n‸\n---\n",
            ["base_model", "dlm_version", "training", "system_prompt"],
        ),
        (
            ID + "export: {default_quant: Q8_0\ntr‸\n---\n",
            ["base_model", "dlm_version", "training", "system_prompt"],
        ),
        (ID + "export: {‸, default_top_p: 0.5}\n---\n", ["default_quant", "default_temperature"]),
        (ID + "training:\n  sources: [{path: x, ‸}]\n---\n", SOURCE[1:]),
        # named adapters
        (
            declared("tone").replace("      lora_r: 8\n", "      lora_r: 8\n      ‸\n"),
            ["adapter", "lora_alpha", "lora_dropout", "target_modules", "learning_rate"],
        ),
        (ID + "training:\n  adapters:\n    ‸\n---\n::prose#tone::\nx\n", ["tone"]),
        # YAML that is broken
        (ID + "training:\n  seed: [1\n  cpt:\n    ‸\n---\n", ["schedule", "embed_warmup_steps"]),
        (
            ID + 'base_model: "x\nexport:\n  default_q‸\n---\n',
            ["default_quant", "default_temperature", "default_top_p"],
        ),
        (
            ID + "export: {default_quant: Q8_0\ntraining:\n  cpt:\n    ‸\n---\n",
            ["schedule", "embed_warmup_steps"],
        ),
        (ID + "base_model: x\n‸", ["dlm_version", "training", "export", "system_prompt"]),
        # no place for a key
        (ID + "system_prompt: |\n  tr‸\n---\n", []),
        (ID + "# tr‸\n---\n", []),
        (ID + "base_model: x # tr‸\n---\n", []),
        ("--‸-\ndlm_version: 15\n---\n", []),
        (ID + "export: tr ‸ning\n---\n", []),
    ],
)
def test_keys(marked: str, expected: list[str]) -> None:
    assert labels(marked) == expected


@pytest.mark.parametrize(
    ("marked", "label", "expected"),
    [
        (ID + "ba‸\n---\n", "base_model", ID + "base_model: \n---\n"),
        (ID + "ba‸se: x\n---\n", "base_model", ID + "base_model: x\n---\n"),
        (ID + "‸\n---\n", "training", ID + "training:\n---\n"),
        # the indent of the document
        (
            ID + "training:\n    seed: 1\n  ‸\n---\n",
            "adapter",
            ID + "training:\n    seed: 1\n    adapter: \n---\n",
        ),
        (
            ID + "training:\n‸\n    seed: 1\n---\n",
            "adapter",
            ID + "training:\n    adapter: \n    seed: 1\n---\n",
        ),
        (
            ID + "training:\n  seed: 1\n      lo‸\n---\n",
            "lora_r",
            ID + "training:\n  seed: 1\n  lora_r: \n---\n",
        ),
        (ID + "training:\n    ‸\n---\n", "seed", ID + "training:\n    seed: \n---\n"),
        # lists and flow
        (
            ID + "training:\n  sources:\n    ‸\n---\n",
            "path",
            ID + "training:\n  sources:\n    - path: \n---\n",
        ),
        (
            ID + "training:\n  sources:\n    -‸\n---\n",
            "path",
            ID + "training:\n  sources:\n    - path: \n---\n",
        ),
        (
            ID + "export: {default_quant: Q8_0,‸}\n---\n",
            "default_top_p",
            ID + "export: {default_quant: Q8_0, default_top_p: }\n---\n",
        ),
        (
            ID + "training:\n  adapters:\n    ‸\n---\n::prose#tone::\nx\n",
            "tone",
            ID + "training:\n  adapters:\n    tone:\n---\n::prose#tone::\nx\n",
        ),
    ],
)
def test_a_key_takes_the_place_of_the_word_with_the_right_indent(
    marked: str, label: str, expected: str
) -> None:
    assert taken(marked, label) == expected


@pytest.mark.parametrize(
    ("marked", "label", "snippet"),
    [
        (ID + "‸\n---\n", "training", "training:\n  $0"),
        (ID + "training:\n    ‸\n    seed: 1\n---\n", "cpt", "cpt:\n    $0"),
        (ID + "training:\n  ‸\n    seed: 1\n---\n", "cpt", None),
        (ID + "training:\n  ‸\n---\n", "sources", "sources:\n  - path: $0"),
        (ID + "training:\n  ‸\n---\n", "adapters", "adapters:\n  ${1:name}:\n    $0"),
        (ID + "training:\n  ‸\n---\n", "adapter", "adapter: ${1|lora,qlora,dora|}"),
        (ID + "‸\n---\n", "system_prompt", "system_prompt: |\n  $0"),
        (ID + "training: {‸}\n---\n", "cpt", "cpt: {$0}"),
        (HEAD + "::‸\n", "::instruction::", "::instruction::\n### Q\n$1\n\n### A\n$0"),
    ],
)
def test_snippets_begin_the_value(marked: str, label: str, snippet: str | None) -> None:
    assert next(i.snippet for i in offers(marked) if i.label == label) == snippet


@pytest.mark.parametrize(
    ("marked", "expected"),
    [
        (ID + "training:\n  adapter: ‸\n---\n", ["lora", "qlora", "dora"]),
        (ID + "training:\n  adapter:‸\n---\n", ["lora", "qlora", "dora"]),
        (ID + 'training:\n  adapter: "lo‸"\n---\n', ["lora", "qlora", "dora"]),
        (ID + "training: {adapter: ‸}\n---\n", ["lora", "qlora", "dora"]),
        (ID + "training: {adapter: ‸\nexport:\n---\n", ["lora", "qlora", "dora"]),
        (ID + "export:\n  default_quant: ‸\n---\n", ["Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0"]),
        (ID + "training:\n  gate:\n    enabled: ‸\n---\n", ["true", "false"]),
        (ID + "training:\n  precision: ‸\n---\n", ["bf16", "fp16", "fp32", "null"]),
        (ID + "training:\n  grad_accum: ‸\n---\n", ["auto"]),
        (ID + "training:\n  seed: ‸\n---\n", ["42"]),
        ("---\ndlm_version: ‸\n---\n", ["15"]),
        (
            HEAD[:-4]
            + "training:\n  target_modules: [q_proj, o_proj, gate_proj, up_proj, ‸]\n---\n",
            ["k_proj", "v_proj", "down_proj"],
        ),
        (
            HEAD[:-4] + "training:\n  target_modules:\n    - ‸\n---\n",
            ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        ),
        (ID + "system_prompt: ‸\n---\n", ["null"]),
        (ID + "system_prompt: you ‸ are\n---\n", ["null"]),
        (ID + "training: ‸\n---\n", []),
        (ID + "nonsense: ‸\n---\n", []),
    ],
)
def test_values(marked: str, expected: list[str]) -> None:
    assert labels(marked) == expected


@pytest.mark.parametrize(
    ("marked", "label", "expected"),
    [
        (
            ID + "base_model: qwen2.5-0.‸\n---\n",
            "qwen2.5-0.5b",
            ID + "base_model: qwen2.5-0.5b\n---\n",
        ),
        (
            ID + "base_model: smol‸lm2-135m # small\n---\n",
            "smollm2-360m",
            ID + "base_model: smollm2-360m # small\n---\n",
        ),
        (ID + "base_model:‸\n---\n", "smollm2-135m", ID + "base_model: smollm2-135m\n---\n"),
        (ID + "base_model: 'x‸'\n---\n", "smollm2-135m", ID + "base_model: 'smollm2-135m'\n---\n"),
        (ID + "base_model: h‸\n---\n", "hf:", ID + "base_model: hf:\n---\n"),
        (
            ID + "base_model: hf:Qw‸\n---\n",
            "hf:Qwen/Qwen3-4B",
            ID + "base_model: hf:Qwen/Qwen3-4B\n---\n",
        ),
        (
            ID + "training: {seed: ‸, cpt: {}}\n---\n",
            "42",
            ID + "training: {seed: 42, cpt: {}}\n---\n",
        ),
    ],
)
def test_a_value_takes_the_place_of_exactly_the_old_one(
    marked: str, label: str, expected: str
) -> None:
    assert taken(marked, label) == expected


def test_a_base_is_offered_with_its_size_context_and_licence() -> None:
    item = next(i for i in offers(ID + "base_model: ‸\n---\n") if i.label == "llama-3.2-1b")
    assert item.detail == "1.0 B · 2.5 GiB · 131072 tokens · LicenseRef-Llama-3.2, accept first"
    assert "meta-llama/Llama-3.2-1B-Instruct" in item.documentation


def test_a_new_id_is_a_ulid() -> None:
    (item,) = offers("---\ndlm_id: ‸\n---\n")
    assert re.fullmatch(r"[0-9A-HJ-KM-NP-TV-Z]{26}", item.label)


def test_an_empty_file_is_offered_a_whole_frontmatter() -> None:
    text = taken("‸", "---")
    assert [p for p in parse(text)[1] if p.severity is Severity.ERROR] == []
    assert labels("prose‸") == []


def _written(path: tuple[str | int, ...], last: str) -> str:
    """Frontmatter with blocks down to `path`, and `last` as its innermost line."""
    lines, column, dash = [], 0, ""
    for step in path[:-1]:
        if step == "*" and path[1] == "sources":
            dash, column = "- ", column
        else:
            lines.append(" " * column + f"{'tone' if step == '*' else step}:")
            column += 2
    return "---\n" + "\n".join([*lines, " " * column + dash + last]) + "\n---\n"


@pytest.mark.parametrize("path", table(), ids=lambda p: ".".join(p))
def test_every_key_of_the_schema_is_offered_with_its_words(path: tuple[str, ...]) -> None:
    item = next(i for i in offers(_written(path, "‸")) if i.label == path[-1])
    doc = table()[path]
    assert item.documentation == doc.description != ""
    assert item.detail


@pytest.mark.parametrize(
    "path", [p for p, d in table().items() if d.shape is Shape.SCALAR], ids=lambda p: ".".join(p)
)
def test_every_setting_is_offered_a_value_that_is_valid_there(path: tuple[str, ...]) -> None:
    marked = _written(path, f"{path[-1]}: ‸")
    if path[:2] != ("training", "sources"):
        marked = marked.replace("---\n", HEAD[:-4].replace("dlm_version: 15\n", ""), 1)
    for item in offers(marked):
        problems = parse(taken(marked, item.label))[1]
        wrong = {"value-type", "value-range", "value-choice"}
        assert not [p for p in problems if p.code in wrong], item.label


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("::‸", FENCES),
        ("text\n:‸", FENCES),
        ("text\n::ins‸\n", FENCES),
        ("::‸::\n", FENCES),
        ("‸", FENCES),
        ("text\n\n‸", FENCES),
        ("::preference#to‸\n", ["tone", "voice"]),
        ("::image ‸::\n", ["path", "alt"]),
        ('::image path="x" ‸::\n', ["alt"]),
        ('::audio path="x" tr‸', ["transcript"]),
        ('::audio path="x" transcript="a ‸"::\n', []),
        # headers in legal order
        ("::instruction::\n‸", QUESTIONS),
        ("::instruction::\n#‸\n", QUESTIONS),
        ("::instruction::\n### Q\na\n‸", ["### A"]),
        ("::instruction::\n### Q\na\n### ‸\n", ["### A"]),
        ("::instruction::\n### Q\na\n##‸\n### A\nb\n", []),
        ("::instruction::\n‸\n### Q\na\n### A\nb\n", QUESTIONS),
        (PAIR + "##‸\n", QUESTIONS),
        ("::preference::\n#‸", ["### Prompt"]),
        ("::preference::\n### Prompt\na\n### C‸\n", ["### Chosen"]),
        ("::preference::\n### Prompt\na\n### Chosen\nb\n‸\n", ["### Rejected"]),
        ("::preference::\n### Prompt\na\n### Chosen\nb\n### Rejected\nc\n#‸\n", ["### Prompt"]),
        ("::instruction::\n### Q ‸\na\n### A\nb\n", ["!probe"]),
        ("::instruction::\n### Q !‸\na\n### A\nb\n", ["!probe"]),
        ("::instruction::\n### A ‸\n", []),
        # nothing in prose and code
        ("some wo‸rds\n", []),
        ("# ‸\n", []),
        ("::prose::\n### ‸\n", []),
        ("a :‸\n", []),
        (":‸) x\n", []),
        ("```\n::‸\n```\n", []),
        ("```\n‸", []),
        ("```\n‸\n```\n", []),
        ("```\nx\n```\n::‸", FENCES),
        ("::instruction::\n### Q\n```\n#‸\n```\n### A\nb\n", []),
    ],
)
def test_body(body: str, expected: list[str]) -> None:
    found = labels(declared("tone", "voice") + body)
    assert [label for label in found if "#tone" not in label and "#voice" not in label] == expected


@pytest.mark.parametrize(
    ("body", "label", "expected"),
    [
        ("::‸", "::instruction::", "::instruction::"),
        ("x\n::ins‸\ny\n", "::instruction::", "x\n::instruction::\ny\n"),
        ("::‸::\n", "::prose::", "::prose::\n"),
        ("::pro‸se::\n", "::preference::", "::preference::\n"),
        ("::‸", "::prose#tone::", "::prose#tone::"),
        ("::prose#‸", "tone", "::prose#tone::"),
        ("::prose#‸::\n", "tone", "::prose#tone::\n"),
        ("::prose#vo‸:\n", "tone", "::prose#tone::\n"),
        ("::image ‸::\n", "path", '::image path=""::\n'),
        ("::instruction::\n# ‸\n", "### Q", "::instruction::\n### Q\n"),
        ("::instruction::\n### Q !pr‸\n", "!probe", "::instruction::\n### Q !probe\n"),
        (
            "::instruction::\r\n### Q\r\na\r\n‸\r\n",
            "### A",
            "::instruction::\r\n### Q\r\na\r\n### A\r\n",
        ),
    ],
)
def test_what_is_typed_is_replaced_and_nothing_else(body: str, label: str, expected: str) -> None:
    head = declared("tone")
    assert taken(head + body, label) == head + expected


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.md").write_text("x")
    for name in ("b.png", "c.wav", "d e.md", "#f.md", ".hidden", 'q"q.png'):
        (tmp_path / name).write_text("x")
    return tmp_path


@pytest.mark.parametrize(
    ("marked", "expected"),
    [
        (HEAD + '::image path="‸"::\n', ["b.png", "notes/"]),
        (HEAD + '::audio path="c‸', ["c.wav"]),
        (HEAD + '::image path="notes/‸"::\n', []),
        (
            ID + "training:\n  sources:\n    - path: ‸\n---\n",
            ["b.png", "c.wav", "d e.md", "notes/"],
        ),
        (ID + "training:\n  sources:\n    - path: 'n‸'\n---\n", ["notes/"]),
        (ID + "training:\n  sources:\n    - path: ./notes/‸\n---\n", ["a.md"]),
        (ID + "training:\n  sources: [{path: b‸}]\n---\n", ["b.png"]),
        (ID + "base_model: ./‸\n---\n", ["notes/"]),
    ],
)
def test_paths_are_offered_from_beside_the_document(
    marked: str, expected: list[str], folder: Path
) -> None:
    assert [item.label for item in offers(marked, folder)] == expected
    assert offers(marked) == []


def test_only_the_last_part_of_a_path_is_replaced(folder: Path) -> None:
    marked = HEAD + '::image path="no‸tes/x.png" alt="y"::\n'
    assert taken(marked, "notes/", folder) == marked.replace("‸", "")
    marked = ID + "training:\n  sources:\n    - path: notes/‸b.md # x\n---\n"
    assert taken(marked, "a.md", folder) == marked.replace("‸b.md", "a.md")


def test_a_large_folder_is_cut_at_two_hundred(tmp_path: Path) -> None:
    for number in range(230):
        (tmp_path / f"{number:03}.png").touch()
    live, offset = at_cursor(HEAD + '::image path="‸"::\n')
    found = complete(live, offset, Surroundings(tmp_path))
    assert (len(found.items), found.complete) == (200, False)
    live, offset = at_cursor(HEAD + '::image path="22‸"::\n')
    found = complete(live, offset, Surroundings(tmp_path))
    assert (len(found.items), found.complete) == (10, True)

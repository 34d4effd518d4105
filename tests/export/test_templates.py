"""The Go template says, byte for byte, what the base's Jinja template says.

The Jinja texts are short ones of our own in the shape of each family's; the real one of
SmolLM2 is tested with the real base.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment

from dlm_engine.errors import ExportError
from dlm_engine.export.dialects import (
    DIALECTS,
    Render,
    go_template,
    read_turns,
    stop_texts,
)
from dlm_engine.export.gotemplate import TemplateError, execute, literal, quote, render_ollama
from dlm_engine.export.model import Message
from dlm_engine.export.reference import conversations

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
DEFAULT = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are a \"test\" {{ '{{' }}."
    "<|im_end|>\n{% endif %}"
)
JINJA: dict[str, str] = {
    "chatml": CHATML,
    "chatml with a default system message": DEFAULT + CHATML,
    "qwen3thinking": CHATML,
    "llama3": (
        "<|start_header_id|>system<|end_header_id|>\n\nToday Date: 26 Jul 2024\n\n"
        "{% if messages[0].role == 'system' %}{{ messages[0].content }}"
        "{% set messages = messages[1:] %}{% endif %}<|eot_id|>"
        "{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
        "{{ m.content }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
    ),
    "gemma2": (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        "{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
        "{{ m.content }}<end_of_turn>\n{% endfor %}"
        "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
    ),
    "smollm3": (
        "<|im_start|>system\n## Metadata\n\nReasoning Mode: /think\n\n## Custom Instructions\n\n"
        "{% if messages[0].role == 'system' %}{{ messages[0].content }}"
        "{% set messages = messages[1:] %}{% else %}You are helpful.{% endif %}\n\n<|im_end|>\n"
        + CHATML
    ),
    "olmo2": (
        "<|endoftext|>{% for m in messages %}{% if m.role == 'assistant' %}<|assistant|>\n"
        "{{ m.content }}<|endoftext|>{% if not loop.last %}\n{% endif %}{% else %}"
        "<|{{ m.role }}|>\n{{ m.content }}\n{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
    ),
    "phi3": (
        "{% for m in messages %}{% if m.role != 'system' or m.content %}"
        "<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% else %}<|endoftext|>{% endif %}"
    ),
    "phi4mini": (
        "<|system|>Your name is Phi.{% if messages[0].role == 'system' %} "
        "{{ messages[0].content }}{% set messages = messages[1:] %}{% endif %}<|end|>"
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% else %}<|endoftext|>{% endif %}"
    ),
    "mistral": (
        "{% set s = namespace(text='') %}{% for m in messages %}"
        "{% if m.role == 'system' %}{% set s.text = m.content + '\n\n' %}"
        "{% elif m.role == 'user' %} [INST] {{ s.text }}{{ m.content }} [/INST]"
        "{% set s.text = '' %}{% else %} {{ m.content }}</s>{% endif %}{% endfor %}"
    ),
}


def renderer(source: str) -> Render:
    def refuse(message: str) -> None:
        raise ValueError(message)

    template = Environment(keep_trailing_newline=True).from_string(source)

    def render(messages: Sequence[Message], generate: bool) -> str:
        return template.render(
            messages=messages, add_generation_prompt=generate, raise_exception=refuse
        )

    return render


@pytest.mark.parametrize("name", JINJA)
def test_every_conversation_renders_the_same(name: str) -> None:
    render = renderer(JINJA[name])
    turns = read_turns(render)
    go = go_template(turns)
    system_role = turns.system_open is not None
    assert system_role is (name != "gemma2")
    talks = conversations('Be kind.\nSay "no".', [("Wer?", "Ich.")], system_role=system_role)
    assert {t.label for t in talks} >= {"a question", "a dialogue", "an empty question"}
    for talk in talks:
        assert render_ollama(go, talk.messages, None) == render(talk.messages, True), talk.label


@pytest.mark.parametrize("name", [n for n in JINJA if n != "gemma2"])
def test_the_documents_system_prompt_is_said_once(name: str) -> None:
    """Fault 41. Both as SYSTEM and, for text that SYSTEM cannot carry, inside the template."""
    render = renderer(JINJA[name])
    turns = read_turns(render)
    user: Message = {"role": "user", "content": "Who?"}
    for prompt in ("Only once.", 'odd"""\nno\u00a0break {{ .System }} }} \\ 👩\u200d👩'):
        expected = render([{"role": "system", "content": prompt}, user], True)
        assert expected.count(prompt) == 1
        assert render_ollama(go_template(turns), [user], prompt) == expected
        inside = go_template(turns, prompt)
        assert render_ollama(inside, [user], None) == expected
        assert all(c.isprintable() or c in "\n\t" for c in inside)
        other = [
            {"role": "system", "content": "Mine."},
            user,
            {"role": "assistant", "content": "I."},
        ]
        other.append(user)
        assert render_ollama(inside, other, None) == render(other, True)


def test_an_empty_system_message_is_what_the_base_makes_of_it() -> None:
    talk = [{"role": "system", "content": ""}, {"role": "user", "content": "Who?"}]
    for name in ("chatml", "chatml with a default system message", "phi3", "llama3"):
        render = renderer(JINJA[name])
        assert render_ollama(go_template(read_turns(render)), talk, None) == render(talk, True)


def test_the_template_reads_like_a_template() -> None:
    go = go_template(read_turns(renderer(JINJA["chatml"])))
    assert "<|im_start|>user\n{{ .Content }}<|im_end|>\n" in go
    assert ".System" not in go
    assert go.endswith("{{ end }}<|im_start|>assistant\n")


def test_a_template_that_hides_a_message_is_refused() -> None:
    with pytest.raises(ExportError, match="exactly once"):
        read_turns(renderer("{{ messages[-1].content }}"))


def test_stops_are_the_models_ends_and_known_marks_only() -> None:
    """Fault 88: not one line per special token."""
    vocabulary = {"<|im_end|>", "<|endoftext|>", "<|im_start|>", "<special-7>"}
    found = stop_texts(DIALECTS["chatml"], ["<|im_end|>"], vocabulary.__contains__)
    assert found == ["<|im_end|>", "<|endoftext|>", "<|im_start|>"]
    assert stop_texts(DIALECTS["phi3"], ["</s>"], vocabulary.__contains__) == [
        "</s>",
        "<|endoftext|>",
    ]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("a {{- .X -}} b", "a1b"),
        ("{{ if eq .X 1 }}y{{ else if eq .X 2 }}z{{ else }}n{{ end }}", "y"),
        ("{{ if not (and (eq .X 1) (ne .X 1)) }}y{{ end }}", "y"),
        ("{{ range $i, $m := .L }}{{ $i }}{{ $m.N }}{{ .N }}{{ $.X }};{{ end }}", "0aa1;1bb1;"),
        ('{{ $v := "p" }}{{ range .L }}{{ $v }}{{ $v = .N }}{{ end }}{{ $v }}', "pab"),
        ('{{ "\\u00e9\\n\\"" }}', 'é\n"'),
    ],
)
def test_the_evaluator_does_what_go_does(template: str, expected: str) -> None:
    assert execute(template, {"X": 1, "L": [{"N": "a"}, {"N": "b"}]}) == expected


@pytest.mark.parametrize(
    "template",
    ["{{ .Y }}", "{{ if .X }}", "{{ end }}", "{{ else }}", "{{ len .L }}", "{{ $v }}", "{{ }}"],
)
def test_what_the_evaluator_does_not_know_is_an_error(template: str) -> None:
    with pytest.raises(TemplateError):
        execute(template, {"X": 1, "L": []})


@given(st.text(st.sampled_from('ab{}"\n\t\\ é\u200d🙂%')))
def test_literals_render_as_themselves(text: str) -> None:
    assert execute(literal(text), {}) == text
    assert execute("{{ " + quote(text) + " }}", {}) == text


def test_neighbours_of_one_role_are_joined_as_ollama_joins_them() -> None:
    talk = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    assert render_ollama("{{ range .Messages }}[{{ .Content }}]{{ end }}", talk, None) == "[a\n\nb]"

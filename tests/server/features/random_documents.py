"""Documents put together at random from lines that mean something and lines that nearly do."""

from __future__ import annotations

from hypothesis import strategies as st

HEADS = (
    "---\ndlm_id: 01HZ4X7TGZM3J1A2B3C4D5E6F7\nbase_model: smollm2-135m\n---\n",
    "---\ndlm_id: 01HZ4X7TGZM3J1A2B3C4D5E6F7 \nbase_model: smollm2-135m  # why\ntraining:\n"
    "  adapters: &a\n    tone: {lora_r: 4}\n    k.x: {}  \n  lora_r:   8\n  sources:\n"
    "    - path: ./a\n    - path: ./b\n      include: ['*.py', \"x\"]\nagain: *a\n"
    "system_prompt: |  \n  One. \n\n  Two.\n---  \n",
    "---\ndlm_id: x\nkey: [1,\n  2]\nother: 'a\n  b'\n---\n",
    "---\nkey: value  \n\n",
    "---\n: broken [\nlora_r: 8 # c\n---\n",
    "---\n---\n",
    "\ufeff---\n---\n",
    "",
)
LINES = (
    "", "", "  ", "\t", "Words.", "Words with blanks.  ", "  indented", "é😀 \u2028 text",
    "# Title", "## Sub ##", "#### Deep", "::prose::", "::instruction::", "::instruction#tone::  ",
    "::preference::", '::image   path="a::b.png"  alt="x"  ::', '::audio path="a" transcript=""::',
    "::Instruction::", "::nothing::", ":: prose ::", "::prose", "### Q", "### Q !probe",
    "  ### A  ", "### A", "### q", "### Prompt", "### Chosen", "### Rejected", "```py", "```",
    "~~~~", '<!-- dlm-auto-harvest: source="x" -->', '<!-- dlm-auto-harvest: source="x" -->  ',
    "<!-- dlm-auto-mined: -->", "---", "key: value", "- item", "\ufeff", "\ud800", "\x85", "\xa0",
    "  ::instruction::", '::image pth="x" path="a"::',
)  # fmt: skip

lines = st.lists(st.sampled_from(LINES), max_size=24)
ends = st.sampled_from(["\n", "\n", "\n", "\r\n", "\r"])


@st.composite
def documents(draw: st.DrawFn) -> str:
    """A text, mostly with one kind of line end, that may or may not end with one."""
    end = draw(ends)
    text = draw(st.sampled_from(HEADS)) + "\n".join(draw(lines)) + draw(st.sampled_from(["", "\n"]))
    mixed = draw(st.integers(0, 9)) == 0
    return text.replace("\n", end, 3 if mixed else -1)

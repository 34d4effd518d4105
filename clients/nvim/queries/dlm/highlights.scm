; Written by scripts/generate_nvim.py.

; Captures use the names shared by Neovim and Helix; Zed's are made of them.

[
  (frontmatter_open)
  (frontmatter_close)
] @punctuation.delimiter

(heading) @markup.heading

(fence
  [
    "::"
    "#"
  ] @punctuation.delimiter)

(section_type) @type

((section_type) @keyword
  (#any-of? @keyword "prose" "instruction" "preference" "image" "audio"))

(adapter_name) @module

(attribute_name) @attribute

(attribute
  "=" @operator)

(attribute
  "\"" @string)

(attribute_value) @string

(provenance_marker
  [
    "<!-- dlm-auto-"
    ":"
    "-->"
  ] @comment)

(marker_kind) @keyword.directive

[
  (question_header)
  (answer_header)
  (prompt_header)
  (chosen_header)
  (rejected_header)
] @markup.heading.3

(probe) @keyword.modifier

[
  (code_fence_open)
  (code_fence_close)
] @markup.raw.delimiter

(language) @label

(code) @markup.raw.block

; Lines that look as if they were meant as something else.
[
  (near_fence)
  (near_header)
  (near_marker)
] @comment.warning

; Text is spell-checked, what stands around it is not.
(body) @spell

[
  (yaml)
  (code)
] @nospell

; Written by scripts/generate_zed.py.

[
  (frontmatter_open)
  (frontmatter_close)
] @punctuation.delimiter

(heading) @title

(fence
  [
    "::"
    "#"
  ] @punctuation.delimiter)

(section_type) @type

((section_type) @keyword
  (#any-of? @keyword "prose" "instruction" "preference" "image" "audio"))

(adapter_name) @namespace

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
] @title

(probe) @keyword.modifier

[
  (code_fence_open)
  (code_fence_close)
] @punctuation.delimiter

(language) @label

(code) @text.literal

; Lines that look as if they were meant as something else.
[
  (near_fence)
  (near_header)
  (near_marker)
] @comment.warning

; Written by scripts/generate_zed.py.

; The outline of editors that nest items by range.

(section
  fence: (fence) @name) @item

(question
  header: (question_header) @context
  body: (body
    .
    (paragraph) @name)) @item

(prompt
  header: (prompt_header) @context
  body: (body
    .
    (paragraph) @name)) @item

(heading) @name @item

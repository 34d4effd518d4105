; Written by scripts/generate_zed.py.

((yaml) @injection.content
  (#set! injection.language "yaml"))

; The text of prose, questions, answers and preferences.
((body) @injection.content
  (#set! injection.language "markdown")
  (#set! injection.include-children))

(code_block
  info: (info_string
    (language) @injection.language)
  content: (code) @injection.content
  (#set! injection.include-children))

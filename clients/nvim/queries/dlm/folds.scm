; Written by scripts/generate_nvim.py.

[
  (frontmatter)
  (section)
  (question)
  (answer)
  (prompt)
  (chosen)
  (rejected)
  (code_block)
] @fold

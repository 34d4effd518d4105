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

; Written by scripts/generate_nvim.py.

; A section is a scope of its own; the adapter it trains is named in the frontmatter.

[
  (document)
  (section)
] @local.scope

(fence
  adapter: (adapter_name) @local.reference)

; What a list of symbols shows: sections by type, headings, and questions by their text.

(section
  fence: (fence
    type: (section_type) @name)) @definition.section

(heading) @name @definition.heading

(question
  body: (body
    .
    (paragraph) @name)) @definition.question

(prompt
  body: (body
    .
    (paragraph) @name)) @definition.prompt

(fence
  adapter: (adapter_name) @name) @reference.adapter

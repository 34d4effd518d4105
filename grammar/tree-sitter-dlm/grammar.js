/**
 * The grammar of `.dlm` documents.
 *
 * What a line is, the external scanner decides (src/scanner.c); the rules here
 * group lines and split the few structured ones. The scanner has validated a
 * structured line to its end before it gives out the line's first token, so the
 * tokens inside can be plain patterns that never fail, and no text at all leads
 * to an ERROR node. Everything, blanks included, is a token: there are no extras.
 */

/// <reference types="tree-sitter-cli/dsl" />
// @ts-check

/** An optional body, as a field. */
const body = ($) => optional(field("body", $.body));

/** A field of a section: its header line and what follows. */
const headed = ($, header) =>
  seq(field("header", header), $._eol, body($), $._field_end);

/** One or more groups, the last of which may be unfinished. */
const grouped = (group, unfinished) =>
  choice(seq(repeat1(group), optional(unfinished)), unfinished);

/**
 * One or more elements of a group, as a left recursion. `repeat1` would do, were it
 * not that its nodes, and those that begin or end with one, are never reused.
 */
const run = (self, element) => choice(element, seq(self, element));

module.exports = grammar({
  name: "dlm",

  extras: () => [],

  // The order is the order of `enum TokenType` in src/scanner.c.
  externals: ($) => [
    $.frontmatter_open,
    $._yaml_line,
    $._yaml_kept,
    $._yaml_abandoned,
    $.frontmatter_close,
    $._fence_start,
    $.trailing_space,
    $._eol,
    $._marker_start,
    $._question_start,
    $.answer_header,
    $.prompt_header,
    $.chosen_header,
    $.rejected_header,
    $._line,
    $._blank_line,
    $.heading,
    $.near_fence,
    $.near_header,
    $.near_marker,
    $.code_fence_open,
    $.language,
    $._info_rest,
    $._code_line,
    $.quoted_fence,
    $.quoted_header,
    $._code_kept,
    $._code_abandoned,
    $.code_fence_close,
    $._code_part_end,
    $._blocks_end,
    $._field_end,
    $._fields_end,
    $._section_end,
    $._sections_end,
    $._error_sentinel,
  ],

  rules: {
    document: ($) =>
      seq(
        optional($.frontmatter),
        optional(alias($._unfenced, $.section)),
        repeat($._section_group),
        optional($._sections),
      ),

    _section_group: ($) => seq($._sections, $._sections_end),
    _sections: ($) => run($._sections, $.section),

    frontmatter: ($) =>
      prec.right(
        seq(
          field("open", $.frontmatter_open),
          optional($.trailing_space),
          $._eol,
          optional(field("content", $.yaml)),
          optional(
            choice(
              seq(
                field("close", $.frontmatter_close),
                optional($.trailing_space),
                $._eol,
              ),
              $._yaml_abandoned,
            ),
          ),
        ),
      ),

    yaml: ($) => prec.right(repeat1(choice($._yaml_line, $._yaml_kept))),

    _unfenced: ($) => seq(field("body", $.body), $._section_end),

    section: ($) =>
      seq(
        field("fence", $.fence),
        optional($.trailing_space),
        $._eol,
        repeat($.provenance_marker),
        body($),
        repeat($._field_group),
        optional($._fields),
        $._section_end,
      ),

    _field_group: ($) => seq($._fields, $._fields_end),
    _fields: ($) => run($._fields, $._field),
    _field: ($) =>
      choice($.question, $.answer, $.prompt, $.chosen, $.rejected),

    fence: ($) =>
      seq(
        alias($._fence_start, "::"),
        field("type", $.section_type),
        optional(
          choice(
            seq("#", optional(field("adapter", $.adapter_name))),
            seq(repeat1(seq($._blanks, $.attribute)), optional($._blanks)),
          ),
        ),
        "::",
      ),

    section_type: () => /[A-Za-z0-9_-]+/,
    adapter_name: () => /[A-Za-z0-9_#-]+/,

    attribute: ($) =>
      seq(
        field("name", $.attribute_name),
        "=",
        '"',
        optional(field("value", $.attribute_value)),
        '"',
      ),

    attribute_name: () => /[a-z][a-z0-9_]*/,
    attribute_value: () => /[^"\r\n]+/,
    _blanks: () => /[ \t]+/,

    provenance_marker: ($) =>
      seq(
        alias($._marker_start, "<!-- dlm-auto-"),
        field("kind", $.marker_kind),
        ":",
        repeat1(seq($._blanks, $.attribute)),
        $._blanks,
        "-->",
        optional($.trailing_space),
        $._eol,
      ),

    marker_kind: () => /harvest|mined|synth/,

    question: ($) => headed($, $.question_header),
    answer: ($) => headed($, $.answer_header),
    prompt: ($) => headed($, $.prompt_header),
    chosen: ($) => headed($, $.chosen_header),
    rejected: ($) => headed($, $.rejected_header),

    question_header: ($) =>
      seq($._question_start, optional(seq($._blanks, $.probe))),

    probe: () => "!probe",

    body: ($) => grouped($._block_group, $._blocks),

    _block_group: ($) => seq($._blocks, $._blocks_end),
    _blocks: ($) => run($._blocks, $._block),
    _block: ($) =>
      choice(
        $.paragraph,
        $.code_block,
        $._blank_line,
        seq($.heading, $._eol),
        seq($.near_fence, $._eol),
        seq($.near_header, $._eol),
        seq($.near_marker, $._eol),
      ),

    paragraph: ($) => prec.right($._lines),
    _lines: ($) => run($._lines, $._line),

    code_block: ($) =>
      prec.right(
        seq(
          field("open", $.code_fence_open),
          optional($._blanks),
          optional(field("info", $.info_string)),
          $._eol,
          optional(field("content", $.code)),
          optional(
            choice(
              seq(field("close", $.code_fence_close), $._eol),
              $._code_abandoned,
            ),
          ),
        ),
      ),

    info_string: ($) =>
      choice(seq($.language, optional($._info_rest)), $._info_rest),

    code: ($) => grouped($._code_part, $._code_lines),

    _code_part: ($) => seq($._code_lines, $._code_part_end),
    _code_lines: ($) => run($._code_lines, $._any_code_line),
    _any_code_line: ($) =>
      choice($._code_line, $.quoted_fence, $.quoted_header, $._code_kept),
  },
});

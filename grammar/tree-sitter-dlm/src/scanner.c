/*
 * The line scanner of the dlm grammar: what each line of a document is.
 *
 * Invariants. A token depends on the few bytes of state, on the valid symbols and on
 * the text that was looked at, so an incremental parse equals a fresh one. A structured
 * line is validated to its end before its first token is given out, so the patterns
 * that split it cannot fail. Looking further than the end of the next line happens once
 * per code block or frontmatter, for at most LOOKAHEAD_LIMIT characters, because an
 * unbounded look would make every later edit as dear as a full parse.
 *
 * Why not decide with grammar rules: tree-sitter's lexer has no notion of "the whole
 * line or nothing", and a broken line would become an ERROR node that takes its
 * neighbours along.
 */

#include "lines.h"
#include "reader.h"
#include "tokens.h"
#include "tree_sitter/alloc.h"

enum {
  LOOKAHEAD_LIMIT = 32768,
  LONGEST_RUN = 255, /* code fence lengths above this count as this */
};

/* Flags of the state. */
enum {
  AFTER_BLANK = 1,    /* in the frontmatter: the line before this one is blank */
  KEPT = 2,           /* the code block or frontmatter is known to be closed below */
  AT_ELEMENT = 4,     /* a fence or header is next, and `end_line` has said so */
  RUN_FULL = 8,       /* the group of blocks, or of code lines, ends here */
  FIELDS_FULL = 16,   /* likewise of fields */
  SECTIONS_FULL = 32, /* likewise of sections */
};

typedef struct {
  uint8_t section;     /* SectionKind of the section we are in; UNKNOWN for prose */
  uint8_t code_char;   /* '`' or '~' inside a code block, else 0 */
  uint8_t code_length; /* length of the opening run, else 0 */
  uint8_t flags;
  /* Code lines, body lines, fields, sections since the group of them began. */
  uint8_t code_lines;
  uint8_t body_lines;
  uint8_t fields;
  uint8_t sections;
  uint32_t hash; /* of the last eight lines that are not blank, of this field and group */
} State;

/* --- Groups ------------------------------------------------------------- */

/*
 * Tree-sitter reuses the elements of a repetition one by one, so an edit costs as much
 * as the longest repetition around it is long. Hidden nodes that group some dozens of
 * elements keep all of them short. Where a group ends depends on the text just before,
 * not on how many groups there were, so that a line typed at the top of a document
 * moves the end of one group and not of all.
 *
 * Tree-sitter also skips a whole node, however large, if the state in front of it
 * differs from the old one, even when only zero-width tokens are between the two. So
 * at the end of a group, a field or a section the last token that has text already
 * looks at the line after it and clears what lines count and hash: the state in front
 * of a group does not depend on the lines of the group before.
 */

enum {
  GROUP_MIN = 8,
  GROUP_MAX = 255,
  LINE_MASK = 127,   /* between lines, one in 128 places where a group may end is an end */
  ELEMENT_MASK = 31, /* between fields and sections, which have several lines, one in 32 */
};

#define GROUP_SEED 0x9E3779B9u /* so that elements without text do not all end a group */

/* Spreads every bit over all (the finaliser of MurmurHash3). */
static uint32_t mix(uint32_t x) {
  x = (x ^ x >> 16) * 0x85EBCA6Bu;
  x = (x ^ x >> 13) * 0xC2B2AE35u;
  return x ^ x >> 16;
}

static void add_to_hash(State *state, uint32_t line) {
  state->hash = state->hash << 4 ^ mix(line);
}

/* Counts an element of a group; at the group's end starts anew and says so. */
static bool ends_group(uint8_t *elements, uint32_t hash, uint32_t mask) {
  if (*elements < GROUP_MAX) (*elements)++;
  bool ends = *elements == GROUP_MAX ||
              (*elements >= GROUP_MIN && (mix(hash ^ GROUP_SEED) & mask) == 0);
  if (ends) *elements = 0;
  return ends;
}

static void leave_code(State *state) {
  state->flags = 0;
  state->code_char = 0;
  state->code_length = 0;
  state->code_lines = 0;
}

static void clear_lines(State *state) {
  state->body_lines = 0;
  state->hash = 0;
}

/* After a line of the body, at the start of the next, with the token's end marked. */
static void end_line(State *state, TSLexer *lexer) {
  Reader r = reader_of(lexer, UINT32_MAX);
  uint8_t kind;
  state->flags = 0;
  if (peek(&r) == ':' && take_text(&r, "::") && take_fence(&r, &kind)) {
    state->flags = AT_ELEMENT;
    if (ends_group(&state->sections, state->hash, ELEMENT_MASK)) state->flags |= SECTIONS_FULL;
    state->section = UNKNOWN;
    state->fields = 0;
    clear_lines(state);
  } else if (r.length == 0 && take_header(&r, state->section)) {
    state->flags = AT_ELEMENT;
    if (ends_group(&state->fields, state->hash, ELEMENT_MASK)) state->flags |= FIELDS_FULL;
    clear_lines(state);
  } else if (ends_group(&state->body_lines, state->hash, LINE_MASK)) {
    state->flags = RUN_FULL;
    state->hash = 0;
  }
}

/* Before a fence or header: counts it if the line before it could not, being code. */
static void begin_element(State *state, uint8_t *elements) {
  if (!(state->flags & AT_ELEMENT)) *elements = *elements < GROUP_MAX ? *elements + 1 : 0;
  leave_code(state);
  clear_lines(state);
}

/* --- Tokens ------------------------------------------------------------- */

/* Ends the token here and names it. */
static bool give(TSLexer *lexer, enum TokenType token) {
  lexer->mark_end(lexer);
  lexer->result_symbol = token;
  return true;
}

/* Names the token that ends where `mark_end` was called last. */
static bool give_marked(TSLexer *lexer, enum TokenType token) {
  lexer->result_symbol = token;
  return true;
}

/* Over the rest of the line and its end; returns the rest's hash. */
static uint32_t take_line(TSLexer *lexer) {
  uint32_t hash = 0;
  while (!at_end_of_line(lexer)) {
    hash = hash * 31 + (uint32_t)lexer->lookahead;
    lexer->advance(lexer, false);
  }
  take_line_end(lexer);
  return hash;
}

/* The rest of the line and its end, as one token of a body. */
static bool give_line(State *state, TSLexer *lexer) {
  add_to_hash(state, take_line(lexer));
  give(lexer, LINE);
  end_line(state, lexer);
  return true;
}

/* The line as the reader took it, without its end. */
static bool give_text(State *state, Reader *r, enum TokenType token) {
  add_to_hash(state, r->hash);
  return give(r->lexer, token);
}

static bool give_yaml_line(TSLexer *lexer) {
  take_line(lexer);
  return give(lexer, YAML_LINE);
}

static bool give_code_line(State *state, TSLexer *lexer, enum TokenType token) {
  add_to_hash(state, take_line(lexer));
  if (ends_group(&state->code_lines, state->hash, LINE_MASK)) {
    state->flags |= RUN_FULL;
    state->hash = 0;
  }
  return give(lexer, token);
}

/*
 * A zero-width end of the field or section that is open. It makes what follows be
 * read in the same parse state whatever stands before it, which tree-sitter asks for
 * before it reuses a node. The mark must stand at the start of the line.
 */
static bool give_end(TSLexer *lexer, const bool *valid) {
  if (valid[FIELD_END]) return give_marked(lexer, FIELD_END);
  return valid[SECTION_END] && give_marked(lexer, SECTION_END);
}

/* Inside a structured line, in a state where the line may end. */
static bool scan_line_rest(State *state, TSLexer *lexer, const bool *valid) {
  Reader r = reader_of(lexer, UINT32_MAX);
  uint32_t blanks = take_blanks(&r);
  if (peek(&r) == LINE_END) {
    if (blanks > 0 && valid[TRAILING_SPACE]) return give(lexer, TRAILING_SPACE);
    take_line_end(lexer);
    give(lexer, EOL);
    if (state->code_length == 0) end_line(state, lexer);
    return true;
  }
  if (valid[LANGUAGE]) {
    if (blanks > 0) return false; /* the grammar's own `_blanks` */
    int32_t c = peek(&r);
    while (is_name(c) || c == '+' || c == '#' || c == '.' || c >= 0x80) {
      take(&r);
      c = peek(&r);
    }
    if (r.length > 0) return give(lexer, LANGUAGE);
  }
  if (!valid[INFO_REST]) return false;
  take_rest(&r);
  return give(lexer, INFO_REST);
}

/* --- Frontmatter ---------------------------------------------------------- */

/* Three hyphens and blanks; marks the end of the token behind the hyphens. */
static bool is_delimiter(Reader *r) {
  if (!take_text(r, "---")) return false;
  r->lexer->mark_end(r->lexer);
  return take_trailing_blanks(r);
}

/* From the end of a frontmatter line: whether a delimiter follows before any fence. */
static bool frontmatter_closes_below(TSLexer *lexer) {
  Reader r = reader_of(lexer, LOOKAHEAD_LIMIT);
  while (r.budget > 0 && !lexer->eof(lexer)) {
    next_line(&r);
    if (peek(&r) == ':' && take_known_fence(&r)) return false;
    if (peek(&r) == '-' && r.length == 0 && take_text(&r, "---") &&
        take_trailing_blanks(&r)) {
      return true;
    }
    take_rest(&r);
  }
  return false;
}

/* Whether a line at column 0 cannot belong to a YAML mapping; reads it to its end. */
static bool take_unlike_yaml(Reader *r) {
  static const char BEGINNINGS[] = "*_>[(!`<~.@$/+=";
  int32_t first = peek(r);
  if (first < 0x80 && !is_letter(first) && !is_digit(first) &&
      !(first > 0 && memchr(BEGINNINGS, first, sizeof BEGINNINGS - 1))) {
    take_rest(r);
    return false;
  }
  int32_t before = 0;
  bool key = false;
  while (peek(r) != LINE_END) {
    if (before == ':' && is_blank(peek(r))) key = true;
    before = peek(r);
    take(r);
  }
  return !key && before != ':';
}

static bool scan_yaml(State *state, TSLexer *lexer) {
  state->flags &= AFTER_BLANK | KEPT;
  Reader r = reader_of(lexer, UINT32_MAX);
  lexer->mark_end(lexer);
  int32_t first = peek(&r);
  if (first == '-') {
    if (is_delimiter(&r)) {
      state->flags = 0;
      return give_marked(lexer, FRONTMATTER_CLOSE);
    }
  } else if (first == ':') {
    if (take_known_fence(&r)) return give_marked(lexer, YAML_ABANDONED);
  } else if (is_blank(first) || first == LINE_END) {
    if (take_trailing_blanks(&r)) {
      state->flags |= AFTER_BLANK;
      return give_yaml_line(lexer);
    }
  } else if ((state->flags & AFTER_BLANK) && !(state->flags & KEPT)) {
    if (take_unlike_yaml(&r)) {
      if (frontmatter_closes_below(lexer)) {
        state->flags |= KEPT;
        return give_marked(lexer, YAML_KEPT);
      }
      return give_marked(lexer, YAML_ABANDONED);
    }
  }
  state->flags &= (uint8_t)~AFTER_BLANK;
  return give_yaml_line(lexer);
}

/* --- Code blocks ---------------------------------------------------------- */

/* What a line says about the code block it stands in. */
typedef enum { CLOSES, OPENS, NEITHER } CodeFence;

static CodeFence take_code_fence(Reader *r, const State *state) {
  if (take_indent(r) >= 4 || peek(r) != state->code_char) return NEITHER;
  uint32_t run = take_run(r, state->code_char);
  if (run < state->code_length) return NEITHER;
  if (take_trailing_blanks(r)) return CLOSES;
  /* With a backtick behind them, backticks are inline code. */
  int32_t stop = state->code_char == '`' ? '`' : LINE_END;
  while (peek(r) != LINE_END) {
    if (peek(r) == stop) return NEITHER;
    take(r);
  }
  return OPENS;
}

/* From the end of a line inside a code block: whether the block is closed below. */
static bool code_closes_below(TSLexer *lexer, const State *state) {
  Reader r = reader_of(lexer, LOOKAHEAD_LIMIT);
  while (r.budget > 0 && !lexer->eof(lexer)) {
    next_line(&r);
    CodeFence fence = take_code_fence(&r, state);
    if (fence != NEITHER) return fence == CLOSES;
    take_rest(&r);
  }
  return false;
}

/* A line inside a code block that outside it would be a known fence or a header. */
static bool scan_quoted(State *state, TSLexer *lexer, enum TokenType token) {
  if (state->flags & KEPT) return give_code_line(state, lexer, token);
  while (!at_end_of_line(lexer)) lexer->advance(lexer, false);
  if (code_closes_below(lexer, state)) {
    state->flags |= KEPT;
    return give_marked(lexer, CODE_KEPT);
  }
  return give_marked(lexer, CODE_ABANDONED);
}

static bool scan_code(State *state, TSLexer *lexer, const bool *valid) {
  lexer->mark_end(lexer);
  if (valid[CODE_PART_END] && state->flags & RUN_FULL) {
    return give_marked(lexer, CODE_PART_END);
  }
  state->flags &= KEPT;

  Reader r = reader_of(lexer, UINT32_MAX);
  uint32_t indent = take_indent(&r);
  int32_t first = peek(&r);
  if (first == state->code_char && indent < 4) {
    if (take_run(&r, first) >= state->code_length) {
      lexer->mark_end(lexer);
      if (take_trailing_blanks(&r)) {
        leave_code(state);
        return give_marked(lexer, CODE_FENCE_CLOSE);
      }
    }
  } else if (first == ':' && indent == 0) {
    if (take_known_fence(&r)) return scan_quoted(state, lexer, QUOTED_FENCE);
  } else if (first == '#') {
    if (take_header_text(&r, state->section)) {
      return scan_quoted(state, lexer, QUOTED_HEADER);
    }
  }
  return give_code_line(state, lexer, CODE_LINE);
}

/* --- Lines of the body ---------------------------------------------------- */

static bool scan_fence(State *state, TSLexer *lexer, const bool *valid, Reader *r) {
  bool column_0 = r->length == 0;
  bool open = valid[FIELD_END] || valid[SECTION_END];
  uint8_t kind = UNKNOWN;
  if (column_0 && take_text(r, "::")) {
    if (!open) lexer->mark_end(lexer);
    if (take_fence(r, &kind)) {
      if (open) return give_end(lexer, valid);
      begin_element(state, &state->sections);
      state->fields = 0;
      state->section = kind;
      return give_marked(lexer, FENCE_START);
    }
  }
  take_rest(r);
  if (is_near_fence(r)) return give_text(state, r, NEAR_FENCE);
  return give_line(state, lexer);
}

static bool scan_marker(State *state, TSLexer *lexer, const bool *valid, Reader *r) {
  bool exact = r->length == 0;
  if (!take_text(r, "<!--")) return give_line(state, lexer);
  exact = peek(r) == ' ' && take_blanks(r) == 1 && exact;
  take_blanks(r);
  if (!take_text(r, "dlm-auto-")) return give_line(state, lexer);
  lexer->mark_end(lexer);

  bool fields = state->section == INSTRUCTION || state->section == PREFERENCE;
  if (exact && fields && valid[MARKER_START]) {
    uint32_t start = r->length;
    while (is_lower(peek(r))) take(r);
    uint32_t length = r->length - start;
    const uint8_t *kind = r->head + start;
    bool known = equals(kind, length, "harvest") || equals(kind, length, "mined") ||
                 equals(kind, length, "synth");
    if (known && take_text(r, ":") && take_attributes(r) && is_blank(r->previous) &&
        take_text(r, "-->") && take_trailing_blanks(r)) {
      return give_marked(lexer, MARKER_START);
    }
  }
  take_rest(r);
  return give_text(state, r, NEAR_MARKER);
}

static bool scan_code_open(State *state, TSLexer *lexer, Reader *r) {
  int32_t c = peek(r);
  uint32_t run = take_run(r, c);
  lexer->mark_end(lexer);
  if (run < 3) return give_line(state, lexer);
  if (c == '`') {
    while (peek(r) != LINE_END) {
      if (peek(r) == '`') return give_line(state, lexer);
      take(r);
    }
  }
  leave_code(state);
  state->code_char = (uint8_t)c;
  state->code_length = (uint8_t)(run < LONGEST_RUN ? run : LONGEST_RUN);
  return give_marked(lexer, CODE_FENCE_OPEN);
}

static bool scan_hash_line(State *state, TSLexer *lexer, const bool *valid, Reader *r,
                           uint32_t indent) {
  HashLine line = take_hash_word(r);
  if (!valid[FIELD_END]) lexer->mark_end(lexer);
  uint16_t token = take_hash_rest(r, &line, state->section);
  if (is_header(token)) {
    if (valid[FIELD_END]) return give_end(lexer, valid);
    begin_element(state, &state->fields);
    return give_marked(lexer, token);
  }
  if (token == NEAR_HEADER) return give_text(state, r, NEAR_HEADER);
  if (token == HEADING && indent < 4) return give_text(state, r, HEADING);
  return give_line(state, lexer);
}

static bool scan_body(State *state, TSLexer *lexer, const bool *valid) {
  lexer->mark_end(lexer);
  uint8_t flags = state->flags;
  if (valid[BLOCKS_END] && flags & RUN_FULL) return give_marked(lexer, BLOCKS_END);
  if (valid[FIELDS_END] && (flags & FIELDS_FULL || state->fields == GROUP_MAX)) {
    return give_marked(lexer, FIELDS_END);
  }
  if (valid[SECTIONS_END] && (flags & SECTIONS_FULL || state->sections == GROUP_MAX)) {
    return give_marked(lexer, SECTIONS_END);
  }

  Reader r = reader_of(lexer, UINT32_MAX);
  uint32_t indent = take_indent(&r);
  int32_t first = peek(&r);
  if (first == LINE_END) {
    take_line_end(lexer);
    give(lexer, BLANK_LINE);
    end_line(state, lexer);
    return true;
  }
  if (first == '#') return scan_hash_line(state, lexer, valid, &r, indent);
  if (indent < 4) {
    if (fold(first) == ':') return scan_fence(state, lexer, valid, &r);
    if (first == '`' || first == '~') return scan_code_open(state, lexer, &r);
    if (first == '<') return scan_marker(state, lexer, valid, &r);
  }
  if (first == '-' && indent == 0 && valid[FRONTMATTER_OPEN] && is_delimiter(&r)) {
    return give_marked(lexer, FRONTMATTER_OPEN);
  }
  return give_line(state, lexer);
}

/* --- What tree-sitter calls ------------------------------------------------ */

void *tree_sitter_dlm_external_scanner_create(void) {
  return ts_calloc(1, sizeof(State));
}

void tree_sitter_dlm_external_scanner_destroy(void *payload) { ts_free(payload); }

unsigned tree_sitter_dlm_external_scanner_serialize(void *payload, char *buffer) {
  memcpy(buffer, payload, sizeof(State));
  return sizeof(State);
}

void tree_sitter_dlm_external_scanner_deserialize(void *payload, const char *buffer,
                                                  unsigned length) {
  memset(payload, 0, sizeof(State));
  if (length == sizeof(State)) memcpy(payload, buffer, sizeof(State));
}

/* Tokens that take no text and say only that something ends. */
static bool is_end(TSSymbol token) {
  return (token >= CODE_PART_END && token <= SECTIONS_END) || token == CODE_ABANDONED ||
         token == YAML_ABANDONED;
}

static bool scan(State *state, TSLexer *lexer, const bool *valid) {
  if (valid[EOL]) return scan_line_rest(state, lexer, valid);
  if (lexer->eof(lexer)) {
    lexer->mark_end(lexer);
    return give_end(lexer, valid);
  }
  /* The closing tokens are valid wherever a line of the same kind could stand, and
   * also behind a reused node that holds all of these lines. */
  if (valid[FRONTMATTER_CLOSE]) return scan_yaml(state, lexer);
  if (valid[CODE_FENCE_CLOSE]) return scan_code(state, lexer, valid);
  return scan_body(state, lexer, valid);
}

/* Ends leave the state as it is: see what is said about groups above. */
bool tree_sitter_dlm_external_scanner_scan(void *payload, TSLexer *lexer,
                                           const bool *valid) {
  State *state = payload;
  State before = *state;
  if (valid[ERROR_SENTINEL] || !scan(state, lexer, valid)) return false;
  if (is_end(lexer->result_symbol)) *state = before;
  return true;
}

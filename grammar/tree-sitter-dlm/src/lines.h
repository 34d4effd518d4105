/*
 * What a line looks like: a fence, nearly a fence, a header, nearly a header.
 *
 * Invariant: every judgement reads the line to its end before it says yes, and none of
 * them moves the end of a token; that is the business of the scanner, which also asks
 * them about lines it only looks ahead at.
 */

#ifndef DLM_LINES_H_
#define DLM_LINES_H_

#include "reader.h"
#include "tokens.h"

#include <string.h>

enum SectionKind { UNKNOWN, PLAIN, INSTRUCTION, PREFERENCE };

/* --- Fences ------------------------------------------------------------- */

static uint8_t kind_of(const uint8_t *word, uint32_t length) {
  static const struct {
    const char *name;
    uint8_t kind;
  } known[] = {
    {"prose", PLAIN},           {"instruction", INSTRUCTION},
    {"preference", PREFERENCE}, {"image", PLAIN},
    {"audio", PLAIN},
  };
  for (unsigned i = 0; i < sizeof known / sizeof *known; i++) {
    if (strlen(known[i].name) != length) continue;
    uint32_t j = 0;
    while (j < length && lower(word[j]) == known[i].name[j]) j++;
    if (j == length) return known[i].kind;
  }
  return UNKNOWN;
}

/* `key="value"`. NUL is refused: tree-sitter's own lexer takes it for the end. */
static bool take_attribute(Reader *r) {
  if (!is_lower(peek(r))) return false;
  while (is_key(peek(r))) take(r);
  if (!take_text(r, "=\"")) return false;
  for (int32_t c = peek(r); c != '"'; c = peek(r)) {
    if (c == LINE_END || c == 0) return false;
    take(r);
  }
  take(r);
  return true;
}

/* One or more attributes, blanks before each; stops after the blanks that follow. */
static bool take_attributes(Reader *r) {
  uint32_t attributes = 0;
  for (;;) {
    uint32_t blanks = take_blanks(r);
    if (!is_lower(peek(r))) return attributes > 0;
    if (blanks == 0 || !take_attribute(r)) return false;
    attributes++;
  }
}

/*
 * The rest of a line that began with `::` at column 0: whether the line is a fence.
 * Writes the kind of section it starts.
 */
static bool take_fence(Reader *r, uint8_t *kind) {
  uint32_t start = r->length;
  uint32_t hash = 0;
  bool plain = is_lower(peek(r));
  *kind = UNKNOWN;
  for (;;) {
    int32_t c = peek(r);
    if (c == '#' && r->length > start) {
      if (hash == 0) hash = r->length;
      plain = false;
    } else if (!is_name(c)) {
      break;
    }
    if (!is_key(c)) plain = false;
    take(r);
  }
  if (r->length == start) return false;
  uint32_t length = (hash ? hash : r->length) - start;
  if (start + length <= HEAD_LENGTH) *kind = kind_of(r->head + start, length);

  if (is_blank(peek(r)) && (!plain || !take_attributes(r))) return false;
  return take_text(r, "::") && take_trailing_blanks(r);
}

/* A whole line at column 0: whether it is a fence of a known type. */
static bool take_known_fence(Reader *r) {
  uint8_t kind;
  return take_text(r, "::") && take_fence(r, &kind) && kind != UNKNOWN;
}

/* Whether a line that is no fence, read to its end, looks as if it was meant as one. */
static bool is_near_fence(const Reader *r) {
  uint32_t n = r->length < HEAD_LENGTH ? r->length : HEAD_LENGTH;
  const uint8_t *s = r->head;
  uint32_t i = 0;
  while (i < n && s[i] == ' ') i++;
  uint32_t colons = i;
  while (i < n && s[i] == ':') i++;
  colons = i - colons;
  while (i < n && is_blank(s[i])) i++;
  uint32_t word = i;
  while (i < n && (is_letter(s[i]) || s[i] == '_')) i++;
  bool known = kind_of(s + word, i - word) != UNKNOWN && !(i < n && is_name(s[i]));
  bool closed = r->last == ':' && r->before_last == ':';
  if (!known) return colons == 2 && closed && word < n && s[word] != ':';

  if (i < n && s[i] == '#') {
    while (i < n && (is_name(s[i]) || s[i] == '#')) i++;
  }
  while (i < n && is_blank(s[i])) i++;
  uint32_t after = i;
  while (i < n && s[i] == ':') i++;
  after = i - after;
  while (i < n && is_blank(s[i])) i++;
  if (i == r->length) return colons >= 2 || after > 0;
  return colons == 2 || closed;
}

/* --- Headers ------------------------------------------------------------ */

/* The beginning of a line that starts with `#`. */
typedef struct {
  uint32_t hashes;
  bool heading;      /* one to six of them, then a blank or nothing */
  bool single_space; /* exactly one space before the word */
  uint8_t word[12];  /* the letters that follow */
  uint32_t length;   /* how many letters: may exceed what `word` holds */
} HashLine;

static bool equals(const uint8_t *s, uint32_t length, const char *text) {
  return strlen(text) == length && memcmp(s, text, length) == 0;
}

static bool is_header_word(const uint8_t *s, uint32_t length) {
  static const char *const words[] = {
    "q", "a", "question", "answer", "prompt", "chosen", "rejected",
  };
  for (unsigned i = 0; i < sizeof words / sizeof *words; i++) {
    if (strlen(words[i]) != length) continue;
    uint32_t j = 0;
    while (j < length && lower(s[j]) == words[i][j]) j++;
    if (j == length) return true;
  }
  return false;
}

static uint16_t header_of(uint8_t section, const uint8_t *word, uint32_t length) {
  if (section == INSTRUCTION) {
    if (equals(word, length, "Q")) return QUESTION_START;
    if (equals(word, length, "A")) return ANSWER_HEADER;
  }
  if (section == PREFERENCE) {
    if (equals(word, length, "Prompt")) return PROMPT_HEADER;
    if (equals(word, length, "Chosen")) return CHOSEN_HEADER;
    if (equals(word, length, "Rejected")) return REJECTED_HEADER;
  }
  return LINE;
}

/* From the first `#` to the end of the word; the reader stands after the indentation. */
static HashLine take_hash_word(Reader *r) {
  HashLine line = {0};
  line.hashes = take_run(r, '#');
  line.heading = line.hashes <= 6 && (is_blank(peek(r)) || peek(r) == LINE_END);
  line.single_space = peek(r) == ' ';
  line.single_space = take_blanks(r) == 1 && line.single_space;
  while (is_letter(peek(r))) {
    if (line.length < sizeof line.word) line.word[line.length] = (uint8_t)peek(r);
    line.length++;
    take(r);
  }
  return line;
}

/* What such a line is, from the rest of it: a header, NEAR_HEADER, HEADING or LINE. */
static uint16_t take_hash_rest(Reader *r, const HashLine *line, uint8_t section) {
  uint16_t otherwise = line->heading ? HEADING : LINE;
  bool fields = section == INSTRUCTION || section == PREFERENCE;
  if (!fields || line->hashes > 6 || line->length == 0 ||
      line->length >= sizeof line->word) {
    take_rest(r);
    return otherwise;
  }

  uint16_t header = line->hashes == 3 && line->single_space
                        ? header_of(section, line->word, line->length)
                        : (uint16_t)LINE;
  bool single_space = peek(r) == ' ';
  single_space = take_blanks(r) == 1 && single_space;
  int32_t next = peek(r);
  if (next == LINE_END && header != LINE) return header;
  if (header == QUESTION_START && single_space && take_text(r, "!probe") &&
      take_trailing_blanks(r)) {
    return header;
  }
  take_rest(r);
  bool question = line->hashes == 3 && line->length == 1 && lower(line->word[0]) == 'q';
  bool meant = next == LINE_END || next == ':' || next == '!' || next == '#' || question;
  return meant && is_header_word(line->word, line->length) ? NEAR_HEADER : otherwise;
}

static inline bool is_header(uint16_t token) {
  return token >= QUESTION_START && token <= REJECTED_HEADER;
}

/* A line from its first `#` on: whether it is a header. */
static bool take_header_text(Reader *r, uint8_t section) {
  if (section != INSTRUCTION && section != PREFERENCE) return false;
  HashLine line = take_hash_word(r);
  return is_header(take_hash_rest(r, &line, section));
}

/* A whole line: whether it is a header. */
static bool take_header(Reader *r, uint8_t section) {
  if (section != INSTRUCTION && section != PREFERENCE) return false;
  take_indent(r);
  return peek(r) == '#' && take_header_text(r, section);
}

#endif

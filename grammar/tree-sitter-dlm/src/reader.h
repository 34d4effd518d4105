/*
 * Reading a document line by line: characters, line ends and a reader that remembers
 * what judging a line needs.
 *
 * Invariant: a reader never goes past a line end unless told to, and never takes more
 * characters than its budget, so looking ahead has a price that is known beforehand.
 */

#ifndef DLM_READER_H_
#define DLM_READER_H_

#include "tree_sitter/parser.h"

#include <stdbool.h>
#include <stdint.h>

enum {
  HEAD_LENGTH = 64, /* characters of a line that judging it needs to remember */
  LINE_END = -1000, /* what `peek` gives at a line end, the text's end, or no budget */
};

/* A reader of one line (or, in a lookahead, of several) with a budget. */
typedef struct {
  TSLexer *lexer;
  uint32_t budget;
  uint32_t length;       /* characters of this line so far */
  uint8_t head[HEAD_LENGTH]; /* its first characters, folded */
  int32_t last;          /* its last character that is no blank, folded */
  int32_t before_last;   /* and the one before that */
  uint8_t previous;      /* the character just taken, folded */
  uint32_t hash;         /* of the characters taken */
} Reader;

/* --- Characters --------------------------------------------------------- */

static inline bool is_blank(int32_t c) { return c == ' ' || c == '\t'; }

static inline bool is_lower(int32_t c) { return c >= 'a' && c <= 'z'; }

static inline bool is_digit(int32_t c) { return c >= '0' && c <= '9'; }

static inline bool is_letter(int32_t c) {
  return is_lower(c) || (c >= 'A' && c <= 'Z');
}

static inline bool is_name(int32_t c) {
  return is_letter(c) || is_digit(c) || c == '_' || c == '-';
}

static inline bool is_key(int32_t c) {
  return is_lower(c) || is_digit(c) || c == '_';
}

static inline int32_t lower(int32_t c) {
  return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
}

/* Unicode look-alikes of blanks and colons become these, the rest 0x80. */
static uint8_t fold(int32_t c) {
  if (c > 0 && c < 0x80) return (uint8_t)c;
  if (c == 0xFF1A) return ':';
  if (c == 0xA0 || c == 0x3000 || c == 0xFEFF || c == 0x202F ||
      (c >= 0x2000 && c <= 0x200B) || c == 0x2028 || c == 0x2029) {
    return ' ';
  }
  return 0x80;
}

static inline bool at_end_of_line(TSLexer *lexer) {
  int32_t c = lexer->lookahead;
  return c == '\n' || c == '\r' || (c == 0 && lexer->eof(lexer));
}

/* Over `\n`, `\r\n` or `\r`; nothing at the end of the text. */
static void take_line_end(TSLexer *lexer) {
  if (lexer->eof(lexer)) return;
  if (lexer->lookahead == '\r') lexer->advance(lexer, false);
  else if (lexer->lookahead == '\n') { lexer->advance(lexer, false); return; }
  if (lexer->lookahead == '\n') lexer->advance(lexer, false);
}

/* --- Reading a line ----------------------------------------------------- */

static Reader reader_of(TSLexer *lexer, uint32_t budget) {
  Reader r;
  r.lexer = lexer;
  r.budget = budget;
  r.length = 0;
  r.last = 0;
  r.before_last = 0;
  r.previous = 0;
  r.hash = 0;
  return r;
}

static inline int32_t peek(Reader *r) {
  if (r->budget == 0 || at_end_of_line(r->lexer)) return LINE_END;
  return r->lexer->lookahead;
}

static void take(Reader *r) {
  uint8_t c = fold(r->lexer->lookahead);
  if (r->length < HEAD_LENGTH) r->head[r->length] = c;
  r->length++;
  r->hash = r->hash * 31 + c;
  r->previous = c;
  if (!is_blank(c)) {
    r->before_last = r->last;
    r->last = c;
  }
  r->budget--;
  r->lexer->advance(r->lexer, false);
}

static uint32_t take_blanks(Reader *r) {
  uint32_t n = 0;
  while (is_blank(peek(r))) {
    take(r);
    n++;
  }
  return n;
}

static uint32_t take_run(Reader *r, int32_t c) {
  uint32_t n = 0;
  while (peek(r) == c) {
    take(r);
    n++;
  }
  return n;
}

static void take_rest(Reader *r) {
  while (peek(r) != LINE_END) take(r);
}

static bool take_text(Reader *r, const char *text) {
  for (; *text; text++) {
    if (peek(r) != *text) return false;
    take(r);
  }
  return true;
}

/* Blanks, then the end of the line. */
static bool take_trailing_blanks(Reader *r) {
  take_blanks(r);
  return peek(r) == LINE_END && r->budget > 0;
}

static void next_line(Reader *r) {
  if (r->budget > 0) {
    r->budget--;
    take_line_end(r->lexer);
  }
  r->length = 0;
  r->last = 0;
  r->before_last = 0;
}

/* How deep the line is indented: spaces, or 4 as soon as there is a tab. */
static uint32_t take_indent(Reader *r) {
  uint32_t n = 0;
  for (;;) {
    int32_t c = peek(r);
    if (!is_blank(c)) return n;
    n = c == '\t' || n >= 4 ? 4 : n + 1;
    take(r);
  }
}

#endif

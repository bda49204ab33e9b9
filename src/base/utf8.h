/* UTF-8: strict decoding (no surrogates, no overlong forms, at most U+10FFFF). */
#ifndef CLOZE_BASE_UTF8_H
#define CLOZE_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decodes one code point of text[0..n); returns its bytes (1..4), or 0 when invalid or n == 0. */
int utf8_decode(const char *text, size_t n, uint32_t *code_point);
/* Writes 1..4 bytes to out (no NUL) and returns how many; 0 for a surrogate or > U+10FFFF. */
int utf8_encode(uint32_t code_point, char out[4]);
/* Byte offset of the first invalid sequence, or n when all of text[0..n) is valid. */
size_t utf8_valid_prefix(const char *text, size_t n);
size_t utf8_count(const char *text, size_t n); /* code points in valid UTF-8 */
/* Columns on a terminal: 2 for wide East Asian characters, 0 for combining ones, else 1. */
int utf8_width(const char *text, size_t n);

#endif

/*
 * Added tokens: strings such as [MASK] that are recognised in the text before it is normalised or
 * split, leftmost first and the longest of those, with Hugging Face's lstrip, rstrip and
 * single_word. `normalized` ones are looked for in the normalised text instead.
 */
#ifndef CLOZE_TEXT_ADDED_TOKENS_H
#define CLOZE_TEXT_ADDED_TOKENS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef struct added_token {
    char *content;
    uint32_t len;
    int32_t id;
    bool special, lstrip, rstrip, single_word, normalized;
    bool space_bounded; /* only between spaces, CJK characters or the ends: BERT's never_split */
} added_token;

typedef struct added_tokens {
    added_token *items; /* (n) in the order they were added */
    int32_t n, cap;
} added_tokens;

/* Of the added tokens, those that one search looks for: in raw text, or in normalised text. */
typedef struct added_search {
    const added_tokens *tokens; /* borrowed */
    int32_t *order;             /* (n) indices into tokens, longest key first */
    char **keys;                /* (n) what to look for, by the same order; owned */
    uint32_t *key_lens;         /* (n) */
    int32_t n;
    bool first[256];          /* bytes that some key begins with */
    uint8_t first_bytes[256]; /* the same as a list */
    int n_first;
} added_search;

typedef struct added_match {
    size_t begin, end;        /* bytes, stripped whitespace included */
    size_t key;               /* where the token itself begins */
    const added_token *token; /* borrowed */
} added_match;

void added_tokens_deinit(added_tokens *a);
/* Adds, or replaces the one with the same content. The content is copied. */
cloze_status added_tokens_put(added_tokens *a, const added_token *token, cloze_error *err);
const added_token *added_tokens_find(const added_tokens *a, const char *content, size_t n);
const added_token *added_tokens_by_id(const added_tokens *a, int32_t id);

/* Collects the tokens whose `normalized` is the given one; keys are their contents. */
cloze_status added_search_init(added_search *s, const added_tokens *a, bool normalized,
                               cloze_error *err);
/* Replaces the key of the i-th entry (normalised content); then call added_search_finish. */
cloze_status added_search_set_key(added_search *s, int32_t i, const char *key, size_t n,
                                  cloze_error *err);
void added_search_finish(added_search *s); /* sorts; must follow the last change */
void added_search_deinit(added_search *s);

/* The first match in text[from..n); its stripped whitespace never reaches before `from`. */
bool added_search_next(const added_search *s, const char *text, size_t from, size_t n,
                       added_match *m);

#endif

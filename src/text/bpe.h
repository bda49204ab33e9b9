/*
 * Byte-level byte-pair encoding (GPT-2, RoBERTa): a word's bytes are its first symbols, and the
 * pair of the best rank is merged, leftmost first, until no pair has a rank.
 */
#ifndef CLOZE_TEXT_BPE_H
#define CLOZE_TEXT_BPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "text/vocab.h"

typedef struct bpe_slot {
    uint64_t pair; /* left id << 32 | right id; UINT64_MAX = free */
    uint32_t rank; /* smaller merges first */
    int32_t id;    /* of the merged symbol */
} bpe_slot;

typedef struct bpe_cache bpe_cache;

typedef struct bpe_model {
    const vocabulary *vocab; /* borrowed */
    int32_t byte_ids[256];   /* symbol of each byte; -1 = not in the vocabulary */
    bpe_slot *slots;         /* (mask + 1), open addressing */
    size_t mask, n_merges;
    int32_t unk;        /* for bytes without a symbol; -1 = they vanish */
    bool ignore_merges; /* a word that is a token is taken whole */
    bpe_cache *cache;   /* words met before; owned; grows under the hands of many threads */
} bpe_model;

cloze_status bpe_init(bpe_model *b, const vocabulary *v, size_t expected_merges, cloze_error *err);
void bpe_deinit(bpe_model *b);
/* Adds the next merge, by the texts of its two symbols. */
cloze_status bpe_add_merge(bpe_model *b, const char *left, size_t left_n, const char *right,
                           size_t right_n, cloze_error *err);

typedef struct bpe_token {
    int32_t id, end;
} bpe_token; /* ends before byte `end` of the word */

/* Tokens of word[0..n), n >= 1; *tokens is `room` (of n_room >= 1) or a heap array that
 * bpe_release frees. */
cloze_status bpe_encode_word(const bpe_model *b, const char *word, size_t n, bpe_token *room,
                             size_t n_room, bpe_token **tokens, size_t *n_tokens, cloze_error *err);
void bpe_release(bpe_token *tokens, const bpe_token *room);

/* GPT-2's printable alphabet of bytes: the code point that stands for a byte, and back (-1). */
uint32_t bpe_byte_to_char(uint8_t byte);
int bpe_char_to_byte(uint32_t cp);

#endif

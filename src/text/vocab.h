/*
 * A vocabulary: token text <-> id, and the longest-prefix look-up of WordPiece.
 *
 * Filled by vocab_add (in order of the file; a token that comes twice keeps the later id, as a
 * Python dict does), then sealed and immutable. Two hash tables: all tokens, and those with the
 * continuation prefix ("##") under the text after it. The hash is one multiplication a byte and is
 * taken for every prefix of a word in one pass, so that a look-up of each prefix costs one probe.
 */
#ifndef CLOZE_TEXT_VOCAB_H
#define CLOZE_TEXT_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

#define VOCAB_MAX_ID (8 * 1024 * 1024)
#define VOCAB_HASH_SEED 0x9E3779B97F4A7C15ull
#define VOCAB_HASH_MULTIPLIER 0xD6E8FEB86659FD93ull

typedef struct vocab_slot {
    uint32_t tag; /* high half of the hash */
    int32_t id;   /* -1 = free */
} vocab_slot;

typedef struct vocab_table {
    vocab_slot *slots; /* (mask + 1), open addressing */
    size_t mask, used;
    uint32_t skip;    /* bytes of the token's text that stand before the key */
    uint32_t max_key; /* longest key, in bytes */
} vocab_table;

typedef struct vocabulary {
    buf text;           /* all tokens, each ended by NUL */
    uint32_t *begins;   /* (n_ids) offset of a token in text; UINT32_MAX = no such id */
    uint32_t *lens;     /* (n_ids) bytes */
    int32_t n_ids, cap; /* one more than the largest id */
    int32_t count;      /* distinct tokens */
    vocab_table all;    /* whole tokens */
    vocab_table rest; /* continuation tokens, keyed without the prefix; empty when none asked for */
} vocabulary;

cloze_status vocab_init(vocabulary *v, size_t expected_text, int32_t expected_ids,
                        cloze_error *err);
void vocab_deinit(vocabulary *v);
/* Gives token the id (0 <= id < VOCAB_MAX_ID). */
cloze_status vocab_add(vocabulary *v, const char *token, size_t n, int32_t id, cloze_error *err);
/* Makes the continuation table; after the last vocab_add. */
cloze_status vocab_index_continuations(vocabulary *v, const char *prefix, cloze_error *err);

int32_t vocab_get(const vocabulary *v, const char *token, size_t n); /* -1 = none */
const char *vocab_text(const vocabulary *v, int32_t id,
                       size_t *n); /* NULL = no such id; n may be NULL */

static inline uint64_t vocab_hash_byte(uint64_t h, uint8_t byte) {
    h = (h ^ byte) * VOCAB_HASH_MULTIPLIER;
    return h ^ h >> 32;
}

/* The id of the key whose running hash is h, or -1. */
static inline int32_t vocab_find(const vocabulary *v, const vocab_table *t, uint64_t h,
                                 const char *key, size_t n) {
    uint32_t tag = (uint32_t)(h >> 32);
    for (size_t i = h & t->mask;; i = (i + 1) & t->mask) {
        int32_t id = t->slots[i].id;
        if (id < 0) return -1;
        if (t->slots[i].tag != tag || v->lens[id] != n + t->skip) continue;
        if (!__builtin_memcmp(v->text.data + v->begins[id] + t->skip, key, n)) return id;
    }
}

#endif

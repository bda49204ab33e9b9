/* The lock-free, insert-only cache of BPE words. */
#include "text/bpe_cache.h"

#include <stdatomic.h>
#include <string.h>

#include "base/mem.h"

#define SLOTS 65536 /* 64 bytes to 500 bytes an entry: at most some 8 MB for common text */
#define WAYS 4      /* slots that a word may stand in */

typedef struct cache_entry {
    uint64_t hash;
    uint32_t n, n_tokens;
    char word[BPE_CACHE_WORD];
    bpe_token tokens[]; /* (n_tokens) */
} cache_entry;

struct bpe_cache {
    _Atomic(cache_entry *) slots[SLOTS];
};

cloze_status bpe_cache_create(bpe_cache **out, cloze_error *err) {
    MEM_NEW(err, *out, 1);
    return CLOZE_OK;
}

void bpe_cache_destroy(bpe_cache *c) {
    if (!c) return;
    for (size_t i = 0; i < SLOTS; i++)
        mem_free(atomic_load_explicit(&c->slots[i], memory_order_relaxed));
    mem_free(c);
}

uint64_t bpe_cache_hash(const char *word, size_t n) {
    uint64_t h = VOCAB_HASH_SEED ^ n;
    for (; n >= 8; n -= 8, word += 8) {
        uint64_t block;
        memcpy(&block, word, 8);
        h = (h ^ block) * VOCAB_HASH_MULTIPLIER;
        h ^= h >> 29;
    }
    uint64_t rest = 0;
    memcpy(&rest, word, n);
    h = (h ^ rest) * VOCAB_HASH_MULTIPLIER;
    return h ^ h >> 32;
}

bool bpe_cache_get(const bpe_cache *c, uint64_t hash, const char *word, size_t n, bpe_token *tokens,
                   size_t *n_tokens) {
    for (size_t k = 0; k < WAYS; k++) {
        const cache_entry *e =
            atomic_load_explicit(&c->slots[(hash + k) % SLOTS], memory_order_acquire);
        if (!e) return false;
        if (e->hash != hash || e->n != n || memcmp(e->word, word, n)) continue;
        memcpy(tokens, e->tokens, e->n_tokens * sizeof *tokens);
        *n_tokens = e->n_tokens;
        return true;
    }
    return false;
}

void bpe_cache_put(bpe_cache *c, uint64_t hash, const char *word, size_t n, const bpe_token *tokens,
                   size_t n_tokens) {
    cache_entry *e = NULL;
    for (size_t k = 0; k < WAYS; k++) {
        _Atomic(cache_entry *) *slot = &c->slots[(hash + k) % SLOTS];
        if (atomic_load_explicit(slot, memory_order_relaxed)) continue;
        if (!e) {
            e = mem_alloc(sizeof *e + n_tokens * sizeof *tokens);
            if (!e) return;
            e->hash = hash;
            e->n = (uint32_t)n;
            e->n_tokens = (uint32_t)n_tokens;
            memcpy(e->word, word, n);
            memcpy(e->tokens, tokens, n_tokens * sizeof *tokens);
        }
        cache_entry *expected = NULL;
        if (atomic_compare_exchange_strong_explicit(slot, &expected, e, memory_order_release,
                                                    memory_order_relaxed))
            return;
    }
    mem_free(e);
}

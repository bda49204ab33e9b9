/*
 * Merging. Short words keep the rank of every adjacent pair in an array and look for the smallest;
 * long ones (a Chinese sentence is one word here) use a heap, so that time stays n log n.
 */
#include "text/bpe.h"

#include <string.h>

#include "base/mem.h"
#include "text/bpe_cache.h"
#include "text/unicode.h"

#define SHORT_WORD 48 /* bytes; a linear search wins below */
#define NO_RANK UINT32_MAX

uint32_t bpe_byte_to_char(uint8_t byte) {
    if ((byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174) return byte;
    if (byte <= 32) return 256u + byte;
    if (byte <= 160) return 256u + 33 + (byte - 127u);
    return 256u + 67; /* 173, the soft hyphen */
}

int bpe_char_to_byte(uint32_t cp) {
    if (cp < 256) return bpe_byte_to_char((uint8_t)cp) == cp ? (int)cp : -1;
    if (cp < 256 + 33) return (int)cp - 256;
    if (cp < 256 + 67) return (int)cp - 256 - 33 + 127;
    return cp == 256 + 67 ? 173 : -1;
}

cloze_status bpe_init(bpe_model *b, const vocabulary *v, size_t expected_merges, cloze_error *err) {
    memset(b, 0, sizeof *b);
    b->vocab = v;
    b->unk = -1;
    for (int byte = 0; byte < 256; byte++) {
        char text[4];
        int n = unicode_put(bpe_byte_to_char((uint8_t)byte), (uint8_t *)text);
        b->byte_ids[byte] = vocab_get(v, text, (size_t)n);
    }
    size_t n = 64;
    while (n < expected_merges * 2) n *= 2;
    b->slots = mem_alloc(n * sizeof *b->slots);
    if (!b->slots) CLOZE_FAIL(err, MEMORY, "out of memory (%zu merges)", expected_merges);
    memset(b->slots, 0xFF, n * sizeof *b->slots);
    b->mask = n - 1;
    return bpe_cache_create(&b->cache, err);
}

void bpe_deinit(bpe_model *b) {
    mem_free(b->slots);
    bpe_cache_destroy(b->cache);
    memset(b, 0, sizeof *b);
}

static inline size_t pair_home(uint64_t pair, size_t mask) {
    uint64_t h = pair * VOCAB_HASH_MULTIPLIER;
    return (h ^ h >> 32) & mask;
}

static inline const bpe_slot *find_pair(const bpe_model *b, int32_t left, int32_t right) {
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    size_t i = pair_home(pair, b->mask);
    while (b->slots[i].pair != pair && b->slots[i].pair != UINT64_MAX) i = (i + 1) & b->mask;
    return &b->slots[i];
}

static cloze_status grow_pairs(bpe_model *b, cloze_error *err) {
    size_t n = (b->mask + 1) * 2;
    bpe_slot *slots = mem_alloc(n * sizeof *slots);
    if (!slots) CLOZE_FAIL(err, MEMORY, "out of memory (%zu merges)", n);
    memset(slots, 0xFF, n * sizeof *slots);
    for (size_t k = 0; k <= b->mask; k++) {
        if (b->slots[k].pair == UINT64_MAX) continue;
        size_t i = pair_home(b->slots[k].pair, n - 1);
        while (slots[i].pair != UINT64_MAX) i = (i + 1) & (n - 1);
        slots[i] = b->slots[k];
    }
    mem_free(b->slots);
    b->slots = slots;
    b->mask = n - 1;
    return CLOZE_OK;
}

cloze_status bpe_add_merge(bpe_model *b, const char *left, size_t left_n, const char *right,
                           size_t right_n, cloze_error *err) {
    char joined[1024];
    if (left_n + right_n > sizeof joined)
        CLOZE_FAIL(err, MODEL, "merge %zu is longer than %zu bytes", b->n_merges + 1,
                   sizeof joined);
    memcpy(joined, left, left_n);
    memcpy(joined + left_n, right, right_n);
    int32_t l = vocab_get(b->vocab, left, left_n), r = vocab_get(b->vocab, right, right_n);
    int32_t id = vocab_get(b->vocab, joined, left_n + right_n);
    if (l < 0 || r < 0 || id < 0)
        CLOZE_FAIL(err, MODEL,
                   "merge %zu (\"%.*s %.*s\") uses a token that is not in the vocabulary",
                   b->n_merges + 1, (int)left_n, left, (int)right_n, right);
    if ((b->n_merges + 1) * 3 > (b->mask + 1) * 2) CLOZE_TRY(grow_pairs(b, err));
    bpe_slot *slot = (bpe_slot *)find_pair(b, l, r);
    slot->pair = (uint64_t)(uint32_t)l << 32 | (uint32_t)r;
    slot->rank = (uint32_t)b->n_merges++; /* of a pair that comes twice the later rank counts */
    slot->id = id;
    return CLOZE_OK;
}

/* The first symbols: one for each byte. Bytes without one vanish or become unk (never merged). */
static size_t first_symbols(const bpe_model *b, const char *word, size_t n, bpe_token *t) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t id = b->byte_ids[(uint8_t)word[i]];
        if (id < 0) id = b->unk;
        if (id >= 0) t[count++] = (bpe_token){id, (int32_t)i + 1};
    }
    return count;
}

static size_t merge_short(const bpe_model *b, bpe_token *t, size_t n) {
    uint32_t ranks[SHORT_WORD]; /* of the pair (i, i+1) */
    int32_t merged[SHORT_WORD];
    for (size_t i = 0; i + 1 < n; i++) {
        const bpe_slot *slot = find_pair(b, t[i].id, t[i + 1].id);
        ranks[i] = slot->rank, merged[i] = slot->id;
    }
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (ranks[i] < ranks[best]) best = i;
        if (ranks[best] == NO_RANK) break;
        t[best] = (bpe_token){merged[best], t[best + 1].end};
        n--;
        for (size_t i = best + 1; i < n; i++) t[i] = t[i + 1];
        for (size_t i = best + 1; i + 1 < n; i++)
            ranks[i] = ranks[i + 1], merged[i] = merged[i + 1];
        for (size_t i = best ? best - 1 : 0; i <= best && i + 1 < n; i++) {
            const bpe_slot *slot = find_pair(b, t[i].id, t[i + 1].id);
            ranks[i] = slot->rank, merged[i] = slot->id;
        }
    }
    return n;
}

/* A pair that may be merged: at symbol `at`, if the symbols there are still left and right. */
typedef struct candidate {
    uint32_t rank;
    int32_t at, left, right, id;
} candidate;

typedef struct long_word {
    bpe_token *t;         /* (n) */
    int32_t *next, *prev; /* (n) linked list over t; -1 = none; next -2 = removed */
    candidate *heap;      /* (2n) by rank, then position */
    size_t n_heap;
} long_word;

static bool before(const candidate *a, const candidate *b) {
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void heap_push(long_word *w, candidate c) {
    size_t i = w->n_heap++;
    for (; i > 0 && before(&c, &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = c;
}

static candidate heap_pop(long_word *w) {
    candidate top = w->heap[0], last = w->heap[--w->n_heap];
    size_t i = 0;
    for (size_t child = 1; child < w->n_heap; child = 2 * i + 1) {
        if (child + 1 < w->n_heap && before(&w->heap[child + 1], &w->heap[child])) child++;
        if (!before(&w->heap[child], &last)) break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = last;
    return top;
}

static void push_pair(const bpe_model *b, long_word *w, int32_t at) {
    if (at < 0 || w->next[at] < 0) return;
    int32_t left = w->t[at].id, right = w->t[w->next[at]].id;
    const bpe_slot *slot = find_pair(b, left, right);
    if (slot->rank != NO_RANK) heap_push(w, (candidate){slot->rank, at, left, right, slot->id});
}

static size_t merge_list(const bpe_model *b, long_word *w, size_t n) {
    for (size_t i = 0; i < n; i++) {
        w->next[i] = i + 1 < n ? (int32_t)i + 1 : -1;
        w->prev[i] = (int32_t)i - 1;
    }
    for (size_t i = 0; i + 1 < n; i++) push_pair(b, w, (int32_t)i);
    while (w->n_heap) {
        candidate c = heap_pop(w);
        int32_t right = w->next[c.at];
        if (right < 0 || w->t[c.at].id != c.left || w->t[right].id != c.right) continue;
        w->t[c.at] = (bpe_token){c.id, w->t[right].end};
        w->next[c.at] = w->next[right];
        if (w->next[right] >= 0) w->prev[w->next[right]] = c.at;
        w->next[right] = -2;
        push_pair(b, w, w->prev[c.at]);
        push_pair(b, w, c.at);
    }
    size_t count = 0;
    for (int32_t i = n ? 0 : -1; i >= 0; i = w->next[i]) w->t[count++] = w->t[i];
    return count;
}

static cloze_status merge_long(const bpe_model *b, bpe_token *t, size_t *n, cloze_error *err) {
    /* Each merge removes one symbol and adds at most two candidates: 3n in all. */
    long_word w = {.t = t};
    w.next = mem_alloc(*n * sizeof *w.next);
    w.prev = mem_alloc(*n * sizeof *w.prev);
    w.heap = mem_alloc(3 * *n * sizeof *w.heap);
    bool ok = w.next && w.prev && w.heap;
    if (ok) *n = merge_list(b, &w, *n);
    mem_free(w.next);
    mem_free(w.prev);
    mem_free(w.heap);
    if (!ok) CLOZE_FAIL(err, MEMORY, "out of memory (a word of %zu bytes)", *n);
    return CLOZE_OK;
}

/* The token that the whole word is, or -1. */
static int32_t whole_token(const bpe_model *b, const char *word, size_t n) {
    char text[512];
    size_t len = 0;
    if (n > sizeof text / 2) return -1;
    for (size_t i = 0; i < n; i++)
        len += (size_t)unicode_put(bpe_byte_to_char((uint8_t)word[i]), (uint8_t *)text + len);
    return vocab_get(b->vocab, text, len);
}

cloze_status bpe_encode_word(const bpe_model *b, const char *word, size_t n, bpe_token *room,
                             size_t n_room, bpe_token **tokens, size_t *n_tokens,
                             cloze_error *err) {
    *tokens = room;
    uint64_t h = bpe_cache_hash(word, n);
    if (n <= BPE_CACHE_WORD && n <= n_room && bpe_cache_get(b->cache, h, word, n, room, n_tokens))
        return CLOZE_OK;
    int32_t whole = b->ignore_merges ? whole_token(b, word, n) : -1;
    if (whole >= 0) {
        room[0] = (bpe_token){whole, (int32_t)n};
        *n_tokens = 1;
        return CLOZE_OK;
    }
    if (n > INT32_MAX / 2) CLOZE_FAIL(err, DATA, "a word of %zu bytes is too long", n);
    if (n > n_room) {
        *tokens = mem_alloc(n * sizeof **tokens);
        if (!*tokens) CLOZE_FAIL(err, MEMORY, "out of memory (a word of %zu bytes)", n);
    }
    *n_tokens = first_symbols(b, word, n, *tokens);
    if (*n_tokens > SHORT_WORD) {
        cloze_status status = merge_long(b, *tokens, n_tokens, err);
        if (status != CLOZE_OK) bpe_release(*tokens, room);
        return status;
    }
    *n_tokens = merge_short(b, *tokens, *n_tokens);
    if (n <= BPE_CACHE_WORD) bpe_cache_put(b->cache, h, word, n, *tokens, *n_tokens);
    return CLOZE_OK;
}

void bpe_release(bpe_token *tokens, const bpe_token *room) {
    if (tokens != room) mem_free(tokens);
}

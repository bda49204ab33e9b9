/* The vocabulary's storage and hash tables. */
#include "text/vocab.h"

#include <string.h>

#include "base/mem.h"

#define MAX_TEXT (512u << 20)

static cloze_status table_init(vocab_table *t, int64_t expected, uint32_t skip, cloze_error *err) {
    size_t n = 64;
    while ((int64_t)n < expected * 2) n *= 2;
    t->slots = mem_alloc(n * sizeof *t->slots);
    if (!t->slots) CLOZE_FAIL(err, MEMORY, "out of memory (vocabulary of %zu slots)", n);
    memset(t->slots, 0xFF, n * sizeof *t->slots);
    t->mask = n - 1;
    t->used = 0;
    t->skip = skip;
    t->max_key = 0;
    return CLOZE_OK;
}

static uint64_t hash_key(const char *key, size_t n) {
    uint64_t h = VOCAB_HASH_SEED;
    for (size_t i = 0; i < n; i++) h = vocab_hash_byte(h, (uint8_t)key[i]);
    return h;
}

static void table_place(vocab_table *t, uint64_t h, int32_t id) {
    size_t i = h & t->mask;
    while (t->slots[i].id >= 0) i = (i + 1) & t->mask;
    t->slots[i] = (vocab_slot){(uint32_t)(h >> 32), id};
    t->used++;
}

static cloze_status table_grow(const vocabulary *v, vocab_table *t, cloze_error *err) {
    vocab_table bigger;
    CLOZE_TRY(table_init(&bigger, (int64_t)(t->mask + 1), t->skip, err));
    bigger.max_key = t->max_key;
    for (size_t i = 0; i <= t->mask; i++) {
        int32_t id = t->slots[i].id;
        if (id < 0) continue;
        const char *key = v->text.data + v->begins[id] + t->skip;
        table_place(&bigger, hash_key(key, v->lens[id] - t->skip), id);
    }
    mem_free(t->slots);
    *t = bigger;
    return CLOZE_OK;
}

/* Puts or replaces the key; *fresh tells which. */
static cloze_status table_put(const vocabulary *v, vocab_table *t, const char *key, size_t n,
                              int32_t id, bool *fresh, cloze_error *err) {
    uint64_t h = hash_key(key, n);
    uint32_t tag = (uint32_t)(h >> 32);
    *fresh = false;
    for (size_t i = h & t->mask; t->slots[i].id >= 0; i = (i + 1) & t->mask) {
        int32_t old = t->slots[i].id;
        if (t->slots[i].tag == tag && v->lens[old] == n + t->skip &&
            !memcmp(v->text.data + v->begins[old] + t->skip, key, n)) {
            t->slots[i].id = id;
            return CLOZE_OK;
        }
    }
    if ((t->used + 1) * 3 > (t->mask + 1) * 2) CLOZE_TRY(table_grow(v, t, err));
    table_place(t, h, id);
    if (n > t->max_key) t->max_key = (uint32_t)n;
    *fresh = true;
    return CLOZE_OK;
}

cloze_status vocab_init(vocabulary *v, size_t expected_text, int32_t expected_ids,
                        cloze_error *err) {
    memset(v, 0, sizeof *v);
    buf_init(&v->text, MAX_TEXT);
    return table_init(&v->all, expected_ids, 0, err);
}

void vocab_deinit(vocabulary *v) {
    buf_deinit(&v->text);
    mem_free(v->begins);
    mem_free(v->lens);
    mem_free(v->all.slots);
    mem_free(v->rest.slots);
    memset(v, 0, sizeof *v);
}

static cloze_status reserve_id(vocabulary *v, int32_t id, cloze_error *err) {
    if (id >= v->cap) {
        size_t cap = v->cap ? (size_t)v->cap * 2 : 32768;
        while (cap <= (size_t)id) cap *= 2;
        uint32_t *begins = mem_realloc(v->begins, (size_t)v->cap * 4, cap * 4);
        if (begins) v->begins = begins;
        uint32_t *lens = begins ? mem_realloc(v->lens, (size_t)v->cap * 4, cap * 4) : NULL;
        if (lens) v->lens = lens;
        if (!lens) CLOZE_FAIL(err, MEMORY, "out of memory (vocabulary of %d ids)", id);
        v->cap = (int32_t)cap;
    }
    for (; v->n_ids <= id; v->n_ids++) {
        v->begins[v->n_ids] = UINT32_MAX;
        v->lens[v->n_ids] = 0;
    }
    return CLOZE_OK;
}

cloze_status vocab_add(vocabulary *v, const char *token, size_t n, int32_t id, cloze_error *err) {
    if (id < 0 || id >= VOCAB_MAX_ID)
        CLOZE_FAIL(err, MODEL, "token id %d is outside of 0..%d", id, VOCAB_MAX_ID - 1);
    CLOZE_TRY(reserve_id(v, id, err));
    size_t begin = v->text.len;
    buf_append(&v->text, token, n);
    buf_putc(&v->text, '\0');
    if (!buf_ok(&v->text)) CLOZE_FAIL(err, MEMORY, "out of memory (vocabulary text)");
    v->begins[id] = (uint32_t)begin;
    v->lens[id] = (uint32_t)n;
    bool fresh = false;
    CLOZE_TRY(table_put(v, &v->all, token, n, id, &fresh, err));
    v->count += fresh;
    return CLOZE_OK;
}

cloze_status vocab_index_continuations(vocabulary *v, const char *prefix, cloze_error *err) {
    size_t skip = strlen(prefix);
    CLOZE_TRY(table_init(&v->rest, v->count / 3, (uint32_t)skip, err));
    for (int32_t id = 0; id < v->n_ids; id++) {
        if (v->begins[id] == UINT32_MAX || v->lens[id] < skip) continue;
        const char *token = v->text.data + v->begins[id];
        if (memcmp(token, prefix, skip)) continue;
        bool fresh = false;
        CLOZE_TRY(table_put(v, &v->rest, token + skip, v->lens[id] - skip, id, &fresh, err));
    }
    return CLOZE_OK;
}

int32_t vocab_get(const vocabulary *v, const char *token, size_t n) {
    return vocab_find(v, &v->all, hash_key(token, n), token, n);
}

const char *vocab_text(const vocabulary *v, int32_t id, size_t *n) {
    if (id < 0 || id >= v->n_ids || v->begins[id] == UINT32_MAX) return NULL;
    if (n) *n = v->lens[id];
    return v->text.data + v->begins[id];
}

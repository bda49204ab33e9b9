/* Hashing of byte strings and an open-addressing map over borrowed keys, at most half full. */
#include "base/hash.h"

#include <string.h>

#include "base/mem.h"

#define HASH_MUL_A 0x9FB21C651E98DF25u /* odd, with well spread bits */
#define HASH_MUL_B 0xD6E8FEB86659FD93u

/* Up to eight bytes as a little-endian number, the same on every machine. */
static uint64_t load_le(const unsigned char *p, size_t n) {
    uint64_t word = 0;
    for (size_t i = 0; i < n; i++) word |= (uint64_t)p[i] << (8 * i);
    return word;
}

static uint64_t scramble(uint64_t x) {
    x ^= x >> 32;
    x *= HASH_MUL_A;
    x ^= x >> 29;
    x *= HASH_MUL_B;
    return x ^ x >> 32;
}

uint64_t hash_bytes(const void *data, size_t n) {
    const unsigned char *p = data;
    uint64_t h = HASH_MUL_B ^ (uint64_t)n * HASH_MUL_A;
    size_t left = n;
    for (; left >= 8; left -= 8, p += 8) {
        h = scramble(h ^ load_le(p, 8)) + HASH_MUL_A;
    }
    if (left) h = scramble(h ^ load_le(p, left)) + HASH_MUL_A;
    return scramble(h);
}

cloze_status hash_map_init(hash_map *m, size_t expected, cloze_error *err) {
    *m = (hash_map){0};
    size_t slots = 16;
    while (slots / 2 < expected) {
        if (slots > SIZE_MAX / 4 / sizeof(hash_entry)) {
            CLOZE_FAIL(err, MEMORY, "out of memory (a map of %zu entries)", expected);
        }
        slots *= 2;
    }
    MEM_NEW(err, m->entries, slots);
    m->n_slots = slots;
    return CLOZE_OK;
}

void hash_map_deinit(hash_map *m) {
    mem_free(m->entries);
    *m = (hash_map){0};
}

/* The slot that holds the key, or the free one where it belongs. */
static hash_entry *find_slot(const hash_map *m, const char *key, size_t n, uint64_t hash) {
    size_t mask = m->n_slots - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        hash_entry *e = &m->entries[i];
        if (!e->key) return e;
        if (e->hash == hash && e->key_len == n && memcmp(e->key, key, n) == 0) return e;
    }
}

static cloze_status grow(hash_map *m, cloze_error *err) {
    hash_map bigger;
    CLOZE_TRY(hash_map_init(&bigger, m->n_slots, err));
    for (size_t i = 0; i < m->n_slots; i++) {
        const hash_entry *e = &m->entries[i];
        if (e->key) *find_slot(&bigger, e->key, e->key_len, e->hash) = *e;
    }
    bigger.count = m->count;
    hash_map_deinit(m);
    *m = bigger;
    return CLOZE_OK;
}

cloze_status hash_map_put(hash_map *m, const char *key, size_t n, int32_t value, cloze_error *err) {
    if (n > UINT32_MAX) CLOZE_FAIL(err, DATA, "a key of %zu bytes is too long", n);
    if (m->count >= m->n_slots / 2) CLOZE_TRY(grow(m, err));
    if (!key) key = ""; /* NULL marks a free slot; an empty key may come as NULL */
    uint64_t hash = hash_bytes(key, n);
    hash_entry *e = find_slot(m, key, n, hash);
    if (!e->key) {
        *e = (hash_entry){.key = key, .key_len = (uint32_t)n, .hash = hash};
        m->count++;
    }
    e->value = value;
    return CLOZE_OK;
}

int32_t hash_map_get(const hash_map *m, const char *key, size_t n, int32_t missing) {
    if (m->count == 0 || n > UINT32_MAX) return missing;
    if (!key) key = "";
    const hash_entry *e = find_slot(m, key, n, hash_bytes(key, n));
    return e->key ? e->value : missing;
}

/* A hash map from byte strings to int32 (vocabularies, name look-ups), and 64-bit hashing. */
#ifndef CLOZE_BASE_HASH_H
#define CLOZE_BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

uint64_t hash_bytes(const void *data, size_t n); /* stable across machines and versions */

typedef struct hash_entry { const char *key; uint32_t key_len; int32_t value; uint64_t hash; } hash_entry;
typedef struct hash_map {
    hash_entry *entries; /* open addressing, n_slots a power of two; key NULL = free */
    size_t n_slots;
    size_t count;
} hash_map;

/* Keys are borrowed: their bytes must outlive the map. Look-ups from any thread once built. */
cloze_status hash_map_init(hash_map *m, size_t expected, cloze_error *err);
void hash_map_deinit(hash_map *m);
/* Sets or replaces. */
cloze_status hash_map_put(hash_map *m, const char *key, size_t n, int32_t value, cloze_error *err);
/* The value, or `missing`. */
int32_t hash_map_get(const hash_map *m, const char *key, size_t n, int32_t missing);

#endif

/* The caller's growing storage of token ids, offsets and token types. */
#include "text/encoding.h"

#include <string.h>

#include "base/mem.h"

#define FIRST_CAP 32

void encoding_init(encoding *e, bool wants_offsets, bool wants_token_types) {
    memset(e, 0, sizeof *e);
    e->wants_offsets = wants_offsets;
    e->wants_token_types = wants_token_types;
}

void encoding_deinit(encoding *e) {
    if (!e) return;
    mem_free(e->ids);
    mem_free(e->offsets);
    mem_free(e->token_types);
    encoding_init(e, e->wants_offsets, e->wants_token_types);
}

void encoding_clear(encoding *e) { e->n = 0; }

/* Grows *array from old_cap to cap elements; false without memory, the old array stays. */
static bool grow(void **array, size_t element, int32_t old_cap, int64_t cap) {
    void *p = mem_realloc(*array, *array ? (size_t)old_cap * element : 0, (size_t)cap * element);
    if (!p) return false;
    *array = p;
    return true;
}

cloze_status encoding_reserve(encoding *e, int64_t extra, cloze_error *err) {
    int64_t need = (int64_t)e->n + extra;
    /* A switch that was turned on after the first use has no storage yet. */
    bool lacks = (e->wants_offsets && !e->offsets) || (e->wants_token_types && !e->token_types);
    if (need <= e->cap && !lacks) return CLOZE_OK;
    if (need > INT32_MAX) CLOZE_FAIL(err, DATA, "the text is too long: more than 2^31 tokens");
    int64_t cap = e->cap ? e->cap : FIRST_CAP;
    while (cap < need) cap = cap * 2 > INT32_MAX ? INT32_MAX : cap * 2;
    if (!e->wants_offsets) { /* or an array that is smaller than cap would be left behind */
        mem_free(e->offsets);
        e->offsets = NULL;
    }
    if (!e->wants_token_types) {
        mem_free(e->token_types);
        e->token_types = NULL;
    }
    void *ids = e->ids, *offsets = e->offsets, *types = e->token_types;
    bool ok = grow(&ids, sizeof *e->ids, e->cap, cap);
    e->ids = ids;
    if (ok && e->wants_offsets) ok = grow(&offsets, sizeof *e->offsets, e->cap, cap);
    e->offsets = offsets;
    if (ok && e->wants_token_types) ok = grow(&types, sizeof *e->token_types, e->cap, cap);
    e->token_types = types;
    if (!ok) CLOZE_FAIL(err, MEMORY, "out of memory (%lld tokens)", (long long)cap);
    e->cap = (int32_t)cap;
    return CLOZE_OK;
}

void encoding_remove(encoding *e, int32_t begin, int32_t count) {
    size_t tail = (size_t)(e->n - begin - count);
    memmove(e->ids + begin, e->ids + begin + count, tail * sizeof *e->ids);
    if (e->wants_offsets)
        memmove(e->offsets + begin, e->offsets + begin + count, tail * sizeof *e->offsets);
    if (e->wants_token_types)
        memmove(e->token_types + begin, e->token_types + begin + count,
                tail * sizeof *e->token_types);
    e->n -= count;
}

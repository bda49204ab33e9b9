/* The bounded table of word counts. */
#include "text/word_counts.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"

cloze_status word_counts_init(word_counts *w, size_t max_words, cloze_error *err) {
    size_t n = 1024;
    while (n * 2 < max_words * 3) n *= 2;
    memset(w, 0, sizeof *w);
    MEM_NEW(err, w->slots, n);
    w->mask = n - 1;
    w->max_used = max_words;
    return CLOZE_OK;
}

void word_counts_deinit(word_counts *w) {
    if (!w->slots) return;
    for (size_t i = 0; i <= w->mask; i++) mem_free(w->slots[i].text);
    mem_free(w->slots);
    memset(w, 0, sizeof *w);
}

static counted_word *find_slot(const word_counts *w, uint64_t hash, const char *text, size_t n) {
    size_t i = hash & w->mask;
    while (w->slots[i].text &&
           (w->slots[i].hash != hash || w->slots[i].n != n || memcmp(w->slots[i].text, text, n)))
        i = (i + 1) & w->mask;
    return &w->slots[i];
}

/* Forgets the words that came once, then twice, and so on, until a third of the room is free. */
static cloze_status forget_rare(word_counts *w, cloze_error *err) {
    counted_word *old = w->slots, *fresh;
    size_t kept = w->used;
    uint64_t least = 1;
    while (kept > w->max_used / 3 * 2) {
        kept = 0;
        least++;
        for (size_t i = 0; i <= w->mask; i++) kept += old[i].text && old[i].count >= least;
    }
    MEM_NEW(err, fresh, w->mask + 1);
    w->slots = fresh;
    for (size_t i = 0; i <= w->mask; i++) {
        if (!old[i].text) continue;
        if (old[i].count < least)
            mem_free(old[i].text);
        else
            *find_slot(w, old[i].hash, old[i].text, old[i].n) = old[i];
    }
    w->used = kept;
    mem_free(old);
    return CLOZE_OK;
}

cloze_status word_counts_add(word_counts *w, const char *text, size_t n, cloze_error *err) {
    uint64_t hash = hash_bytes(text, n);
    counted_word *slot = find_slot(w, hash, text, n);
    if (!slot->text) {
        if (w->used >= w->max_used) {
            CLOZE_TRY(forget_rare(w, err));
            slot = find_slot(w, hash, text, n);
        }
        char *copy = mem_strndup(text, n);
        if (!copy) CLOZE_FAIL(err, MEMORY, "out of memory (%zu words)", w->used);
        *slot = (counted_word){copy, (uint32_t)n, 0, hash};
        w->used++;
    }
    slot->count++;
    return CLOZE_OK;
}

static int by_count(const void *a, const void *b) {
    const counted_word *x = a, *y = b;
    if (x->count != y->count) return x->count < y->count ? 1 : -1;
    int order = memcmp(x->text, y->text, x->n < y->n ? x->n : y->n);
    return order ? order : (x->n > y->n) - (x->n < y->n);
}

void word_counts_sort(word_counts *w) {
    size_t n = 0;
    for (size_t i = 0; i <= w->mask; i++) {
        if (!w->slots[i].text) continue;
        counted_word word = w->slots[i];
        w->slots[i].text = NULL;
        w->slots[n++] = word;
    }
    qsort(w->slots, n, sizeof *w->slots, by_count);
}

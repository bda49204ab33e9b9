/*
 * Byte-pair merges over counted words. A pair of neighbouring symbols knows its count and the words
 * it stands in; a heap gives the most frequent pair, with entries that went stale skipped or put
 * back. Ties go to the smaller symbol numbers, so that the result depends on the counts alone.
 */
#include <string.h>

#include "base/mem.h"
#include "text/unicode.h"
#include "text/word_counts.h"

typedef struct merge_word {
    int32_t begin, n; /* symbols[begin .. begin+n) */
    int64_t count;
} merge_word;

typedef struct merge_pair {
    int32_t left, right;
    int64_t count;
    int32_t first_place; /* in places; -1 = none */
} merge_pair;

/* A word that a pair was seen in; the pair may be gone from it since. */
typedef struct pair_place {
    int32_t word, next;
} pair_place;

typedef struct heap_entry {
    int64_t count;
    int32_t pair;
} heap_entry;

typedef struct merger {
    vocabulary *v;
    int32_t *symbols;  /* (n_symbols) token ids of all words */
    merge_word *words; /* (n_words) */
    int32_t n_words;
    merge_pair *pairs; /* (n_pairs) */
    int32_t n_pairs, pair_cap;
    int32_t *slots; /* (mask + 1) index of a pair; -1 = free */
    size_t mask;
    pair_place *places; /* (n_places) */
    int32_t n_places, place_cap;
    heap_entry *heap; /* (n_heap) */
    int32_t n_heap, heap_cap;
} merger;

static cloze_status grow(void **array, size_t size, int32_t *cap, cloze_error *err) {
    int64_t more = *cap ? (int64_t)*cap * 2 : 4096;
    if (more > INT32_MAX) CLOZE_FAIL(err, DATA, "too many different words to learn pieces from");
    void *p = mem_realloc(*array, (size_t)*cap * size, (size_t)more * size);
    if (!p) CLOZE_FAIL(err, MEMORY, "out of memory (word pieces)");
    *array = p;
    *cap = (int32_t)more;
    return CLOZE_OK;
}

#define GROW(err, array, n, cap)                                                                   \
    do {                                                                                           \
        if ((n) == (cap)) {                                                                        \
            void *grown_ = (array);                                                                \
            CLOZE_TRY(grow(&grown_, sizeof *(array), &(cap), (err)));                              \
            (array) = grown_;                                                                      \
        }                                                                                          \
    } while (0)

static void merger_deinit(merger *m) {
    mem_free(m->symbols);
    mem_free(m->words);
    mem_free(m->pairs);
    mem_free(m->slots);
    mem_free(m->places);
    mem_free(m->heap);
}

/* ---- pairs ---- */

static size_t slot_of(const merger *m, int32_t left, int32_t right) {
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * VOCAB_HASH_MULTIPLIER;
    size_t i = (h ^ h >> 32) & m->mask;
    while (m->slots[i] >= 0 &&
           (m->pairs[m->slots[i]].left != left || m->pairs[m->slots[i]].right != right))
        i = (i + 1) & m->mask;
    return i;
}

static cloze_status resize_slots(merger *m, size_t n, cloze_error *err) {
    int32_t *slots = mem_alloc(n * sizeof *slots);
    if (!slots) CLOZE_FAIL(err, MEMORY, "out of memory (word pieces)");
    memset(slots, 0xFF, n * sizeof *slots);
    mem_free(m->slots);
    m->slots = slots;
    m->mask = n - 1;
    for (int32_t i = 0; i < m->n_pairs; i++)
        m->slots[slot_of(m, m->pairs[i].left, m->pairs[i].right)] = i;
    return CLOZE_OK;
}

static cloze_status find_pair(merger *m, int32_t left, int32_t right, int32_t *pair,
                              cloze_error *err) {
    size_t slot = slot_of(m, left, right);
    if (m->slots[slot] < 0) {
        if ((size_t)m->n_pairs * 3 >= m->mask * 2) {
            CLOZE_TRY(resize_slots(m, (m->mask + 1) * 2, err));
            slot = slot_of(m, left, right);
        }
        GROW(err, m->pairs, m->n_pairs, m->pair_cap);
        m->pairs[m->n_pairs] = (merge_pair){left, right, 0, -1};
        m->slots[slot] = m->n_pairs++;
    }
    *pair = m->slots[slot];
    return CLOZE_OK;
}

/* ---- heap ---- */

static bool comes_before(const merger *m, heap_entry a, heap_entry b) {
    if (a.count != b.count) return a.count > b.count;
    const merge_pair *x = &m->pairs[a.pair], *y = &m->pairs[b.pair];
    return x->left != y->left ? x->left < y->left : x->right < y->right;
}

static cloze_status heap_push(merger *m, int32_t pair, cloze_error *err) {
    GROW(err, m->heap, m->n_heap, m->heap_cap);
    heap_entry e = {m->pairs[pair].count, pair};
    int32_t i = m->n_heap++;
    for (; i > 0 && comes_before(m, e, m->heap[(i - 1) / 2]); i = (i - 1) / 2)
        m->heap[i] = m->heap[(i - 1) / 2];
    m->heap[i] = e;
    return CLOZE_OK;
}

static heap_entry heap_pop(merger *m) {
    heap_entry top = m->heap[0], last = m->heap[--m->n_heap];
    int32_t i = 0;
    for (int32_t child = 1; child < m->n_heap; child = 2 * i + 1) {
        if (child + 1 < m->n_heap && comes_before(m, m->heap[child + 1], m->heap[child])) child++;
        if (!comes_before(m, m->heap[child], last)) break;
        m->heap[i] = m->heap[child];
        i = child;
    }
    m->heap[i] = last;
    return top;
}

/* ---- words ---- */

/* The token ids of a word's characters; 0 when some character has none. */
static int32_t split_word(const vocabulary *v, const counted_word *word, int32_t *out) {
    const uint8_t *p = (const uint8_t *)word->text, *end = p + word->n;
    int32_t n = 0;
    while (p < end) {
        uint32_t cp = 0;
        char text[6] = "##";
        int len = unicode_next(p, end, &cp);
        memcpy(text + 2, p, (size_t)len);
        int32_t id = n ? vocab_get(v, text, (size_t)len + 2) : vocab_get(v, text + 2, (size_t)len);
        if (id < 0) return 0;
        out[n++] = id;
        p += len;
    }
    return n;
}

static cloze_status load_words(merger *m, const word_counts *words, cloze_error *err) {
    size_t total = 0;
    for (size_t i = 0; i < words->used; i++) total += words->slots[i].n;
    if (total > INT32_MAX) CLOZE_FAIL(err, DATA, "too many different words to learn pieces from");
    MEM_NEW(err, m->symbols, total + 1);
    MEM_NEW(err, m->words, words->used + 1);
    int32_t at = 0;
    for (size_t i = 0; i < words->used; i++) {
        int32_t n = split_word(m->v, &words->slots[i], m->symbols + at);
        if (n < 2) continue;
        m->words[m->n_words++] = (merge_word){at, n, (int64_t)words->slots[i].count};
        at += n;
    }
    return CLOZE_OK;
}

/* The word now has this pair at one more place. */
static cloze_status add_pair(merger *m, int32_t word, int32_t left, int32_t right, bool push,
                             cloze_error *err) {
    int32_t pair = 0;
    CLOZE_TRY(find_pair(m, left, right, &pair, err));
    GROW(err, m->places, m->n_places, m->place_cap);
    m->places[m->n_places] = (pair_place){word, m->pairs[pair].first_place};
    m->pairs[pair].first_place = m->n_places++;
    m->pairs[pair].count += m->words[word].count;
    return push ? heap_push(m, pair, err) : CLOZE_OK;
}

static void remove_pair(merger *m, int32_t word, int32_t left, int32_t right) {
    size_t slot = slot_of(m, left, right);
    if (m->slots[slot] >= 0) m->pairs[m->slots[slot]].count -= m->words[word].count;
}

static cloze_status count_pairs(merger *m, cloze_error *err) {
    CLOZE_TRY(resize_slots(m, 1 << 16, err));
    for (int32_t w = 0; w < m->n_words; w++) {
        const int32_t *s = m->symbols + m->words[w].begin;
        for (int32_t i = 0; i + 1 < m->words[w].n; i++)
            CLOZE_TRY(add_pair(m, w, s[i], s[i + 1], false, err));
    }
    for (int32_t p = 0; p < m->n_pairs; p++) CLOZE_TRY(heap_push(m, p, err));
    return CLOZE_OK;
}

/* Replaces left right by id everywhere in one word. */
static cloze_status merge_in_word(merger *m, int32_t word, int32_t left, int32_t right, int32_t id,
                                  cloze_error *err) {
    merge_word *w = &m->words[word];
    int32_t *s = m->symbols + w->begin;
    for (int32_t i = 0; i + 1 < w->n; i++) {
        if (s[i] != left || s[i + 1] != right) continue;
        remove_pair(m, word, left, right);
        if (i > 0) remove_pair(m, word, s[i - 1], left);
        if (i + 2 < w->n) remove_pair(m, word, right, s[i + 2]);
        s[i] = id;
        memmove(s + i + 1, s + i + 2, (size_t)(w->n - i - 2) * sizeof *s);
        w->n--;
        if (i > 0) CLOZE_TRY(add_pair(m, word, s[i - 1], id, true, err));
        if (i + 1 < w->n) CLOZE_TRY(add_pair(m, word, id, s[i + 1], true, err));
    }
    return CLOZE_OK;
}

/* The token of left and right together, which two ways of merging may share. */
static cloze_status joined_token(merger *m, int32_t left, int32_t right, int32_t *id,
                                 cloze_error *err) {
    char text[4 * WORD_COUNTS_MAX_CHARS + 8];
    size_t left_n = 0, right_n = 0;
    const char *l = vocab_text(m->v, left, &left_n), *r = vocab_text(m->v, right, &right_n);
    right_n -= 2; /* "##": what stands on the right is always inside the word */
    memcpy(text, l, left_n);
    memcpy(text + left_n, r + 2, right_n);
    *id = vocab_get(m->v, text, left_n + right_n);
    if (*id >= 0) return CLOZE_OK;
    *id = m->v->n_ids;
    return vocab_add(m->v, text, left_n + right_n, *id, err);
}

static cloze_status merge_pairs(merger *m, int32_t vocab_size, int64_t min_count,
                                cloze_error *err) {
    while (m->n_heap && m->v->n_ids < vocab_size) {
        heap_entry best = heap_pop(m);
        merge_pair pair = m->pairs[best.pair];
        if (pair.count != best.count) { /* stale: fewer now, or entered again since */
            if (pair.count > 0 && pair.count < best.count) CLOZE_TRY(heap_push(m, best.pair, err));
            continue;
        }
        if (pair.count < min_count) return CLOZE_OK;
        int32_t id = 0;
        CLOZE_TRY(joined_token(m, pair.left, pair.right, &id, err));
        m->pairs[best.pair].first_place = -1;
        for (int32_t at = pair.first_place; at >= 0; at = m->places[at].next)
            CLOZE_TRY(merge_in_word(m, m->places[at].word, pair.left, pair.right, id, err));
        m->pairs[best.pair].count = 0;
    }
    return CLOZE_OK;
}

cloze_status wordpiece_learn_merges(const word_counts *words, int32_t vocab_size, int64_t min_count,
                                    vocabulary *v, cloze_error *err) {
    merger m = {.v = v};
    cloze_status status = load_words(&m, words, err);
    if (status == CLOZE_OK) status = count_pairs(&m, err);
    if (status == CLOZE_OK) status = merge_pairs(&m, vocab_size, min_count, err);
    merger_deinit(&m);
    return status;
}

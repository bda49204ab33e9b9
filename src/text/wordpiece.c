/* Greedy longest match: one hash for each prefix of the word, then look-ups from the longest on. */
#include "text/wordpiece.h"

/* The longest piece that word[begin..n) begins with, by the table; its end goes to *end. */
static int32_t longest(const wordpiece_model *wp, const vocab_table *t, const char *word, int begin,
                       int n, uint64_t *hashes, int32_t *end) {
    int limit = n - begin > (int)t->max_key ? begin + (int)t->max_key : n;
    uint64_t h = VOCAB_HASH_SEED;
    for (int i = begin; i < limit; i++) hashes[i + 1] = h = vocab_hash_byte(h, (uint8_t)word[i]);
    for (int i = limit; i > begin; i--) {
        if (i < n && ((uint8_t)word[i] & 0xC0) == 0x80) continue; /* inside a character */
        int32_t id = vocab_find(wp->vocab, t, hashes[i], word + begin, (size_t)(i - begin));
        if (id < 0) continue;
        *end = i;
        return id;
    }
    return -1;
}

int wordpiece_match(const wordpiece_model *wp, const char *word, int n, int32_t *ids, int32_t *ends,
                    uint64_t *hashes) {
    const vocab_table *table = &wp->vocab->all;
    int count = 0;
    for (int begin = 0; begin < n; begin = ends[count - 1]) {
        int32_t id = longest(wp, table, word, begin, n, hashes, &ends[count]);
        if (id < 0) return 0;
        ids[count++] = id;
        table = &wp->vocab->rest;
    }
    return count;
}

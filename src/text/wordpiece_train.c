/* Vocabulary building; see wordpiece_train.h. */
#include "text/wordpiece_train.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "text/unicode.h"

enum {
    CODE_POINTS = 0x110000,
    WORD_MAX = 32,       /* code points of a word that pieces are learnt from */
    WORDS_MAX = 2000000, /* distinct words kept while counting */
    WORDS_USED = 40000   /* most frequent words that pairs are counted in */
};

typedef struct counted_word {
    char *text;
    int32_t bytes, count;
} counted_word;

struct wordpiece_trainer {
    wordpiece_train_options o;
    uint32_t *chars; /* (CODE_POINTS) how often each stands as a token or inside a word */
    hash_map index;  /* word -> place in words */
    counted_word *words;
    int32_t n_words, cap_words;
    arena memory;
};

void wordpiece_trainer_destroy(wordpiece_trainer *t) {
    if (!t) return;
    hash_map_deinit(&t->index);
    arena_deinit(&t->memory);
    mem_free(t->words);
    mem_free(t->chars);
    mem_free(t);
}

cloze_status wordpiece_trainer_create(const wordpiece_train_options *o, wordpiece_trainer **out,
                                      cloze_error *err) {
    wordpiece_trainer *t;
    *out = NULL;
    MEM_NEW(err, t, 1);
    t->o = *o;
    if (t->o.min_count <= 0) t->o.min_count = 2;
    arena_init(&t->memory, (size_t)1 << 20);
    t->chars = mem_calloc(CODE_POINTS, sizeof *t->chars);
    cloze_status status =
        t->chars ? hash_map_init(&t->index, 1 << 16, err)
                 : error_set(err, CLOZE_ERR_MEMORY, "out of memory for the vocabulary");
    if (status != CLOZE_OK) {
        wordpiece_trainer_destroy(t);
        return status;
    }
    *out = t;
    return CLOZE_OK;
}

/* ---- counting ---- */

static cloze_status count_word(wordpiece_trainer *t, const char *word, int n, cloze_error *err) {
    int32_t at = hash_map_get(&t->index, word, (size_t)n, -1);
    if (at >= 0) {
        t->words[at].count++;
        return CLOZE_OK;
    }
    if (t->n_words == WORDS_MAX)
        return CLOZE_OK; /* the tail of a large corpus: too rare to matter */
    if (t->n_words == t->cap_words) {
        size_t cap = t->cap_words ? 2 * (size_t)t->cap_words : 65536;
        void *bigger =
            mem_realloc(t->words, (size_t)t->cap_words * sizeof *t->words, cap * sizeof *t->words);
        if (!bigger) CLOZE_FAIL(err, MEMORY, "out of memory for %zu words", cap);
        t->words = bigger;
        t->cap_words = (int32_t)cap;
    }
    char *copy = arena_copy(&t->memory, word, (size_t)n);
    if (!copy) CLOZE_FAIL(err, MEMORY, "out of memory for the words");
    t->words[t->n_words] = (counted_word){copy, n, 1};
    return hash_map_put(&t->index, copy, (size_t)n, t->n_words++, err);
}

/* Lower case without accents, as BertNormalizer: up to 20 code points for one. */
static int normalize(const wordpiece_trainer *t, uint32_t cp,
                     uint32_t out[2 * UNICODE_MAX_DECOMPOSITION]) {
    uint32_t parts[UNICODE_MAX_DECOMPOSITION];
    int n = 0;
    if (cp < 0x80 || unicode_is_cjk(cp) || !t->o.do_lower_case) {
        out[0] = t->o.do_lower_case && cp >= 'A' && cp <= 'Z' ? cp + 32 : cp;
        return 1;
    }
    int n_parts = unicode_decompose(cp, false, parts);
    for (int i = 0; i < n_parts; i++)
        if (!unicode_is_nonspacing(parts[i])) n += unicode_lower(parts[i], out + n);
    return n;
}

/* A word being read; longer ones than WORD_MAX only count their characters. */
typedef struct word_in_progress {
    char text[4 * WORD_MAX];
    int bytes, chars;
} word_in_progress;

static cloze_status end_word(wordpiece_trainer *t, word_in_progress *w, cloze_error *err) {
    cloze_status status =
        w->chars > 1 && w->chars <= WORD_MAX ? count_word(t, w->text, w->bytes, err) : CLOZE_OK;
    w->bytes = w->chars = 0;
    return status;
}

static cloze_status take(wordpiece_trainer *t, word_in_progress *w, uint32_t cp, cloze_error *err) {
    if (unicode_is_space(cp)) return end_word(t, w, err);
    if (cp == 0 || cp == UNICODE_REPLACEMENT || unicode_is_control(cp)) return CLOZE_OK;
    t->chars[cp]++;
    if (unicode_is_punctuation(cp) || unicode_is_cjk(cp)) return end_word(t, w, err);
    if (++w->chars <= WORD_MAX) w->bytes += unicode_put(cp, (uint8_t *)w->text + w->bytes);
    return CLOZE_OK;
}

cloze_status wordpiece_trainer_feed(wordpiece_trainer *t, const char *text, size_t n,
                                    cloze_error *err) {
    const uint8_t *p = (const uint8_t *)text, *end = p + n;
    word_in_progress w = {.bytes = 0};
    while (p < end) {
        uint32_t cp, normal[2 * UNICODE_MAX_DECOMPOSITION];
        p += unicode_next(p, end, &cp);
        int k = normalize(t, cp, normal);
        for (int i = 0; i < k; i++) CLOZE_TRY(take(t, &w, normal[i], err));
    }
    return end_word(t, &w, err);
}

/* ---- characters ---- */

typedef struct counted_char {
    uint32_t cp, count;
} counted_char;

static int by_char_count(const void *a, const void *b) {
    const counted_char *x = a, *y = b;
    if (x->count != y->count) return x->count < y->count ? 1 : -1;
    return (x->cp > y->cp) - (x->cp < y->cp);
}

static bool inside_words(uint32_t cp) { return !unicode_is_punctuation(cp) && !unicode_is_cjk(cp); }

/* Characters by falling count (ASCII always, as far as it occurs), each with its ## form where it
 * can stand inside a word. */
static cloze_status put_chars(const wordpiece_trainer *t, int32_t room, buf *vocab, int32_t *used,
                              cloze_error *err) {
    counted_char *all;
    size_t n = 0;
    MEM_NEW(err, all, CODE_POINTS);
    for (uint32_t cp = 0; cp < CODE_POINTS; cp++)
        if (t->chars[cp] >= (uint32_t)t->o.min_count ||
            (cp > 0x20 && cp < 0x7f && t->chars[cp] > 0))
            all[n++] = (counted_char){cp, cp < 0x7f ? UINT32_MAX - cp : t->chars[cp]};
    qsort(all, n, sizeof *all, by_char_count);
    *used = 0;
    for (size_t i = 0; i < n; i++) {
        uint8_t utf8[4];
        int bytes = unicode_put(all[i].cp, utf8), forms = 1 + inside_words(all[i].cp);
        if (*used + forms > room) break;
        for (int form = 0; form < forms; form++) {
            if (form) buf_puts(vocab, "##");
            buf_append(vocab, utf8, (size_t)bytes);
            buf_putc(vocab, '\n');
        }
        *used += forms;
    }
    mem_free(all);
    return CLOZE_OK;
}

/* ---- pieces ---- */

/* The words that pairs are counted in, as pieces: symbol ids, a word's pieces one after another. */
typedef struct piece_table {
    char **texts; /* (n) text of each symbol, with ## inside words */
    int32_t n, cap;
    hash_map index;                              /* text -> symbol */
    int32_t *pieces, *begins, *lengths, *counts; /* words */
    int32_t n_words;
    arena *memory;
} piece_table;

static void piece_table_deinit(piece_table *p) {
    hash_map_deinit(&p->index);
    mem_free(p->texts);
    mem_free(p->pieces);
    mem_free(p->begins);
    mem_free(p->lengths);
    mem_free(p->counts);
}

static cloze_status symbol_of(piece_table *p, const char *text, size_t n, int32_t *out, bool *fresh,
                              cloze_error *err) {
    *out = hash_map_get(&p->index, text, n, -1);
    *fresh = *out < 0;
    if (*out >= 0) return CLOZE_OK;
    if (p->n == p->cap) {
        size_t cap = p->cap ? 2 * (size_t)p->cap : 4096;
        void *bigger =
            mem_realloc(p->texts, (size_t)p->cap * sizeof *p->texts, cap * sizeof *p->texts);
        if (!bigger) CLOZE_FAIL(err, MEMORY, "out of memory for %zu pieces", cap);
        p->texts = bigger;
        p->cap = (int32_t)cap;
    }
    char *copy = arena_alloc(p->memory, n + 1);
    if (!copy) CLOZE_FAIL(err, MEMORY, "out of memory for the pieces");
    memcpy(copy, text, n);
    *out = p->n;
    p->texts[p->n++] = copy;
    return hash_map_put(&p->index, copy, n, *out, err);
}

static int by_word_count(const void *a, const void *b) {
    const counted_word *x = a, *y = b;
    if (x->count != y->count) return x->count < y->count ? 1 : -1;
    int n = x->bytes < y->bytes ? x->bytes : y->bytes, order = memcmp(x->text, y->text, (size_t)n);
    return order ? order : x->bytes - y->bytes;
}

static cloze_status split_words(wordpiece_trainer *t, piece_table *p, cloze_error *err) {
    qsort(t->words, (size_t)t->n_words, sizeof *t->words, by_word_count);
    p->n_words = t->n_words < WORDS_USED ? t->n_words : WORDS_USED;
    p->memory = &t->memory;
    CLOZE_TRY(hash_map_init(&p->index, 1 << 15, err));
    MEM_NEW(err, p->pieces, (size_t)p->n_words * WORD_MAX + 1);
    MEM_NEW(err, p->begins, p->n_words + 1);
    MEM_NEW(err, p->lengths, p->n_words + 1);
    MEM_NEW(err, p->counts, p->n_words + 1);
    int32_t at = 0;
    for (int32_t w = 0; w < p->n_words; w++) {
        const uint8_t *s = (const uint8_t *)t->words[w].text, *end = s + t->words[w].bytes;
        p->begins[w] = at;
        p->counts[w] = t->words[w].count;
        while (s < end) {
            uint32_t cp;
            char text[8] = "##";
            bool fresh;
            s += unicode_next(s, end, &cp);
            int prefix = at > p->begins[w] ? 2 : 0;
            int n = prefix + unicode_put(cp, (uint8_t *)text + prefix);
            CLOZE_TRY(symbol_of(p, text, (size_t)n, &p->pieces[at++], &fresh, err));
        }
        p->lengths[w] = at - p->begins[w];
    }
    return CLOZE_OK;
}

typedef struct pair_count {
    uint64_t key;
    int64_t count;
} pair_count;

static int by_key(const void *a, const void *b) {
    uint64_t x = ((const pair_count *)a)->key, y = ((const pair_count *)b)->key;
    return (x > y) - (x < y);
}

/* The most frequent pair of neighbours (ties: the smallest symbols); count 0 when there is none. */
static pair_count best_pair(const piece_table *p, pair_count *pairs) {
    size_t n = 0;
    pair_count best = {0, 0};
    for (int32_t w = 0; w < p->n_words; w++)
        for (int32_t i = p->begins[w]; i + 1 < p->begins[w] + p->lengths[w]; i++)
            pairs[n++] = (pair_count){(uint64_t)p->pieces[i] << 32 | (uint32_t)p->pieces[i + 1],
                                      p->counts[w]};
    qsort(pairs, n, sizeof *pairs, by_key);
    for (size_t i = 0; i < n;) {
        pair_count sum = {pairs[i].key, 0};
        for (; i < n && pairs[i].key == sum.key; i++) sum.count += pairs[i].count;
        if (sum.count > best.count) best = sum;
    }
    return best;
}

static void join_pair(piece_table *p, uint64_t key, int32_t joined) {
    int32_t left = (int32_t)(key >> 32), right = (int32_t)(key & 0xffffffffu);
    for (int32_t w = 0; w < p->n_words; w++) {
        int32_t *pieces = p->pieces + p->begins[w], n = 0;
        for (int32_t i = 0; i < p->lengths[w]; i++) {
            bool match = i + 1 < p->lengths[w] && pieces[i] == left && pieces[i + 1] == right;
            pieces[n++] = match ? joined : pieces[i];
            i += match;
        }
        p->lengths[w] = n;
    }
}

static cloze_status put_pieces(wordpiece_trainer *t, int32_t room, buf *vocab, cloze_error *err) {
    piece_table p = {0};
    pair_count *pairs = NULL;
    cloze_status status = split_words(t, &p, err);
    if (status == CLOZE_OK) {
        pairs = mem_alloc(((size_t)p.n_words * WORD_MAX + 1) * sizeof *pairs);
        if (!pairs) status = error_set(err, CLOZE_ERR_MEMORY, "out of memory for the pieces");
    }
    while (status == CLOZE_OK && room > 0) {
        pair_count best = best_pair(&p, pairs);
        if (best.count < t->o.min_count) break;
        const char *left = p.texts[best.key >> 32],
                   *right = p.texts[best.key & 0xffffffffu] + 2; /* without ## */
        char text[8 * WORD_MAX];
        size_t n = strlen(left), m = strlen(right);
        int32_t joined;
        bool fresh;
        memcpy(text, left, n);
        memcpy(text + n, right, m);
        status = symbol_of(&p, text, n + m, &joined, &fresh, err);
        if (status != CLOZE_OK) break;
        join_pair(&p, best.key, joined);
        if (!fresh) continue; /* the same piece from another pair */
        buf_append(vocab, text, n + m);
        buf_putc(vocab, '\n');
        room--;
    }
    mem_free(pairs);
    piece_table_deinit(&p);
    return status;
}

cloze_status wordpiece_trainer_finish(wordpiece_trainer *t, buf *vocab, cloze_error *err) {
    int32_t used = 0, specials = 5;
    if (t->o.vocab_size < 64)
        CLOZE_FAIL(err, USAGE, "a vocabulary of %d tokens is too small (at least 64)",
                   t->o.vocab_size);
    buf_puts(vocab, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n");
    CLOZE_TRY(put_chars(t, t->o.vocab_size - specials, vocab, &used, err));
    CLOZE_TRY(put_pieces(t, t->o.vocab_size - specials - used, vocab, err));
    return buf_ok(vocab) ? CLOZE_OK
                         : error_set(err, CLOZE_ERR_MEMORY, "out of memory for the vocabulary");
}

/*
 * BERT's normalizer, pre-tokenizer and model fused into one pass. Each code point has an entry in a
 * lazily made table: kind in the low 3 bits, payload above them. A Chinese character or a
 * punctuation mark carries its token id in the entry, so that Chinese text costs one table look-up
 * a character.
 */
#include "text/wordpiece.h"

#include <string.h>

#include "base/mem.h"
#include "text/unicode.h"

enum {
    DROP,   /* removed: control characters, stripped accents */
    SPACE,  /* ends a word */
    SINGLE, /* a word of its own; payload: its token id + 1 */
    CHAR,   /* part of a word; payload: the code point to put there */
    EXPAND, /* several of the above; payload: index in the page of their count, then the entries */
    GENERAL /* needs canonical reordering: leave it to the general path */
};

#define ENTRY(kind, payload) ((uint32_t)(payload) << 3 | (uint32_t)(kind))
#define KIND(entry) ((entry)&7)
#define PAYLOAD(entry) ((entry) >> 3)

/* The word being gathered: normalised bytes, and for each byte the source code point it is from. */
typedef struct word_buffer {
    char bytes[4 * WORDPIECE_WORD_CHARS + 4];
    int32_t source[4 * WORDPIECE_WORD_CHARS + 4];
    int32_t n, chars;
    int32_t first, last; /* source code points of the first and the last character */
} word_buffer;

/* What one normalised character is. */
static uint32_t classify(const bert_scanner *s, uint32_t cp) {
    if (unicode_is_space(cp)) return ENTRY(SPACE, 0);
    if (!unicode_is_punctuation(cp)) return ENTRY(CHAR, cp);
    char bytes[4];
    int n = unicode_put(cp, (uint8_t *)bytes);
    int32_t id = vocab_get(s->model.vocab, bytes, (size_t)n);
    return ENTRY(SINGLE, (id < 0 ? s->model.unk : id) + 1);
}

/* The normalised characters of a code point; -1 = leave it to the general path. */
static int normalise(const bert_scanner *s, uint32_t cp, uint32_t *out) {
    uint32_t parts[UNICODE_MAX_DECOMPOSITION] = {cp};
    int n_parts = 1, n = 0;
    if (s->on.strip_accents) n_parts = unicode_decompose(cp, false, parts);
    for (int i = 0; i < n_parts; i++) {
        if (s->on.strip_accents) {
            if (unicode_is_nonspacing(parts[i])) continue;
            if (unicode_combining_class(parts[i])) return -1;
        }
        out[n++] = parts[i];
        if (s->on.lowercase) n += unicode_lower(parts[i], out + n - 1) - 1;
    }
    return n;
}

static uint32_t make_entry(const void *context, uint32_t cp, uint32_t *pool, uint32_t *pool_n) {
    const bert_scanner *s = context;
    if (s->on.clean_text) {
        if (cp == 0 || cp == UNICODE_REPLACEMENT) return ENTRY(DROP, 0);
        if (unicode_is_control(cp)) return ENTRY(DROP, 0);
        if (unicode_is_space(cp)) return ENTRY(SPACE, 0);
    }
    uint32_t chars[2 * UNICODE_MAX_DECOMPOSITION];
    int n = normalise(s, cp, chars);
    if (n < 0) return ENTRY(GENERAL, 0);
    bool alone = s->on.handle_chinese_chars && unicode_is_cjk(cp);
    if (!n) return alone ? ENTRY(SPACE, 0) : ENTRY(DROP, 0);
    if (n == 1 && alone && KIND(classify(s, chars[0])) == CHAR) {
        char bytes[4];
        int len = unicode_put(chars[0], (uint8_t *)bytes);
        int32_t id = vocab_get(s->model.vocab, bytes, (size_t)len);
        return ENTRY(SINGLE, (id < 0 ? s->model.unk : id) + 1);
    }
    if (n == 1) return classify(s, chars[0]);
    uint32_t *list = pool + *pool_n, count = 0;
    if (n + 3 > CODE_POOL_MAX) return ENTRY(GENERAL, 0);
    if (alone) list[++count] = ENTRY(SPACE, 0);
    for (int i = 0; i < n; i++) list[++count] = classify(s, chars[i]);
    if (alone) list[++count] = ENTRY(SPACE, 0);
    list[0] = count;
    uint32_t index = 256 + *pool_n;
    *pool_n += count + 1;
    return ENTRY(EXPAND, index);
}

cloze_status bert_scanner_init(bert_scanner *s, const wordpiece_model *model,
                               const bert_switches *on, cloze_error *err) {
    memset(s, 0, sizeof *s);
    s->model = *model;
    s->on = *on;
    MEM_NEW(err, s->pages, 1);
    code_pages_init(s->pages, make_entry, s);
    const code_page *page = code_pages_get(s->pages, 0);
    if (!page) CLOZE_FAIL(err, MEMORY, "out of memory (code page)");
    memcpy(s->ascii, page, sizeof s->ascii);
    return CLOZE_OK;
}

void bert_scanner_deinit(bert_scanner *s) {
    if (s->pages) code_pages_deinit(s->pages);
    mem_free(s->pages);
    s->pages = NULL;
}

static inline void put_char(word_buffer *w, uint32_t cp, int32_t source, int32_t max_chars) {
    if (!w->chars) w->first = source;
    w->last = source;
    if (++w->chars > max_chars) return; /* too long already: only its extent matters */
    int len = unicode_put(cp, (uint8_t *)w->bytes + w->n);
    for (int i = 0; i < len; i++) w->source[w->n + i] = source;
    w->n += len;
}

/* Appends the pieces of the gathered word and empties it. */
static cloze_status flush_word(const bert_scanner *s, word_buffer *w, encoding *out,
                               cloze_error *err) {
    int32_t ids[4 * WORDPIECE_WORD_CHARS], ends[4 * WORDPIECE_WORD_CHARS];
    uint64_t hashes[4 * WORDPIECE_WORD_CHARS + 1];
    int count = 0;
    if (w->chars <= s->model.max_chars)
        count = wordpiece_match(&s->model, w->bytes, w->n, ids, ends, hashes);
    cloze_status status = CLOZE_OK;
    if (!count && s->model.unk >= 0)
        status = encoding_append(out, s->model.unk, w->first, w->last + 1, err);
    for (int i = 0, begin = 0; i < count && status == CLOZE_OK; begin = ends[i++])
        status = encoding_append(out, ids[i], w->source[begin], w->source[ends[i] - 1] + 1, err);
    w->n = w->chars = 0;
    return status;
}

static inline cloze_status take(const bert_scanner *s, uint32_t entry, int32_t source,
                                word_buffer *w, encoding *out, cloze_error *err) {
    switch (KIND(entry)) {
    case CHAR: put_char(w, PAYLOAD(entry), source, s->model.max_chars); return CLOZE_OK;
    case SPACE: return w->chars ? flush_word(s, w, out, err) : CLOZE_OK;
    case SINGLE:
        if (w->chars) CLOZE_TRY(flush_word(s, w, out, err));
        if (!PAYLOAD(entry)) return CLOZE_OK;
        return encoding_append(out, (int32_t)PAYLOAD(entry) - 1, source, source + 1, err);
    default: return CLOZE_OK;
    }
}

cloze_status bert_scan(const bert_scanner *s, const char *text, size_t n, int32_t base,
                       encoding *out, bool *done, cloze_error *err) {
    const uint8_t *p = (const uint8_t *)text, *end = p + n;
    int32_t source = base, n_before = out->n;
    word_buffer w;
    w.n = w.chars = 0;
    *done = true;
    for (; p < end; source++) {
        if (*p < 0x80) {
            CLOZE_TRY(take(s, s->ascii[*p++], source, &w, out, err));
            continue;
        }
        uint32_t cp = 0;
        p += unicode_next(p, end, &cp);
        const code_page *page = code_pages_get(s->pages, cp);
        if (!page) CLOZE_FAIL(err, MEMORY, "out of memory (code page)");
        uint32_t entry = page[cp & 0xFF];
        if (KIND(entry) == GENERAL) {
            out->n = n_before;
            *done = false;
            return CLOZE_OK;
        }
        if (KIND(entry) != EXPAND) {
            CLOZE_TRY(take(s, entry, source, &w, out, err));
            continue;
        }
        const uint32_t *list = page + PAYLOAD(entry);
        for (uint32_t i = 1; i <= list[0]; i++) CLOZE_TRY(take(s, list[i], source, &w, out, err));
    }
    return w.chars ? flush_word(s, &w, out, err) : CLOZE_OK;
}

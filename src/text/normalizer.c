/* The normalizers of tokenizer.json over code points with their sources. */
#include "text/normalizer.h"

#include <string.h>

#include "base/mem.h"
#include "text/unicode.h"

/* Steps that each double a text could make petabytes of a line. The longest decomposition has 18. */
#define GROWTH_MAX 64
#define GROWTH_FREE 65536 /* code points that any text may gain */

void norm_text_deinit(norm_text *t) {
    mem_free(t->cp);
    mem_free(t->source);
    memset(t, 0, sizeof *t);
}

cloze_status norm_text_push(norm_text *t, uint32_t cp, int32_t source, cloze_error *err) {
    if (t->n == t->cap) {
        if (t->limit && t->cap > t->limit)
            CLOZE_FAIL(err, MODEL,
                       "the normalizers of tokenizer.json make a text more than %d times as long",
                       GROWTH_MAX);
        if (t->cap > INT32_MAX / 2) CLOZE_FAIL(err, DATA, "the text is too long: 2^30 code points");
        int32_t cap = t->cap ? t->cap * 2 : 64;
        uint32_t *cps = mem_realloc(t->cp, (size_t)t->cap * 4, (size_t)cap * 4);
        if (cps) t->cp = cps;
        int32_t *source_new =
            cps ? mem_realloc(t->source, (size_t)t->cap * 4, (size_t)cap * 4) : NULL;
        if (source_new) t->source = source_new;
        if (!source_new) CLOZE_FAIL(err, MEMORY, "out of memory (%d code points)", cap);
        t->cap = cap;
    }
    t->cp[t->n] = cp;
    t->source[t->n++] = source;
    return CLOZE_OK;
}

cloze_status norm_text_set(norm_text *t, const char *text, size_t n, int32_t base,
                           cloze_error *err) {
    const uint8_t *p = (const uint8_t *)text, *end = p + n;
    t->n = 0;
    while (p < end) {
        uint32_t cp = 0;
        p += unicode_next(p, end, &cp);
        CLOZE_TRY(norm_text_push(t, cp, base++, err));
    }
    return CLOZE_OK;
}

void normalizer_deinit(normalizer *z) {
    for (int32_t i = 0; i < z->n; i++) {
        pattern_destroy(z->steps[i].match);
        mem_free(z->steps[i].text);
    }
    mem_free(z->steps);
    memset(z, 0, sizeof *z);
}

cloze_status normalizer_add(normalizer *z, const normalizer_step *step, cloze_error *err) {
    size_t size = sizeof *z->steps;
    normalizer_step *steps = mem_realloc(z->steps, (size_t)z->n * size, ((size_t)z->n + 1) * size);
    if (!steps) {
        pattern_destroy(step->match);
        mem_free(step->text);
        CLOZE_FAIL(err, MEMORY, "out of memory (normalizer)");
    }
    z->steps = steps;
    z->steps[z->n++] = *step;
    return CLOZE_OK;
}

/* Sorts the run [begin,end) of combining marks by their class, stably. Insertion for the usual two
 * or three; a counting sort for a run that somebody made long. */
static cloze_status sort_marks(norm_text *t, int32_t begin, int32_t end, cloze_error *err) {
    if (end - begin <= 32) {
        for (int32_t i = begin + 1; i < end; i++) {
            uint32_t cp = t->cp[i];
            int32_t source = t->source[i], j = i;
            int class = unicode_combining_class(cp);
            for (; j > begin && unicode_combining_class(t->cp[j - 1]) > class; j--)
                t->cp[j] = t->cp[j - 1], t->source[j] = t->source[j - 1];
            t->cp[j] = cp, t->source[j] = source;
        }
        return CLOZE_OK;
    }
    int32_t place[257] = {0}, n = end - begin;
    uint32_t *cps = mem_alloc((size_t)n * 8); /* (n) code points, then (n) sources */
    if (!cps) CLOZE_FAIL(err, MEMORY, "out of memory (%d combining marks)", n);
    int32_t *sources = (int32_t *)(cps + n);
    for (int32_t i = begin; i < end; i++) place[unicode_combining_class(t->cp[i]) + 1]++;
    for (int class = 0; class < 256; class ++) place[class + 1] += place[class];
    for (int32_t i = begin; i < end; i++) {
        int32_t to = place[unicode_combining_class(t->cp[i])]++;
        cps[to] = t->cp[i];
        sources[to] = t->source[i];
    }
    memcpy(t->cp + begin, cps, (size_t)n * 4);
    memcpy(t->source + begin, sources, (size_t)n * 4);
    mem_free(cps);
    return CLOZE_OK;
}

/* Canonical ordering. */
static cloze_status reorder(norm_text *t, cloze_error *err) {
    for (int32_t i = 0; i < t->n; i++) {
        int32_t begin = i;
        while (i < t->n && unicode_combining_class(t->cp[i])) i++;
        if (i - begin > 1) CLOZE_TRY(sort_marks(t, begin, i, err));
    }
    return CLOZE_OK;
}

/* Decomposition and composition keep, in place of sources, by how much each code point changes the
 * length: 0 = it stands for one of the input, 1 = it was inserted, -k = it swallowed k more. From
 * that Hugging Face's alignments follow: in order of place, whatever was reordered. */
static void changes_to_sources(const norm_text *in, norm_text *out) {
    int32_t at = 0;
    for (int32_t i = 0; i < out->n; i++) {
        int32_t change = out->source[i];
        out->source[i] = in->source[change > 0 && at > 0 ? at - 1 : at < in->n ? at : in->n - 1];
        if (change <= 0) at += 1 - change;
    }
}

static cloze_status decompose(const norm_text *in, norm_text *out, bool compat, cloze_error *err) {
    for (int32_t i = 0; i < in->n; i++) {
        uint32_t parts[UNICODE_MAX_DECOMPOSITION];
        int n = unicode_decompose(in->cp[i], compat, parts);
        for (int k = 0; k < n; k++) CLOZE_TRY(norm_text_push(out, parts[k], k > 0, err));
    }
    return reorder(out, err);
}

/* Canonical composition in place of a decomposed, ordered text. */
static void compose(norm_text *t) {
    int32_t n = 0, starter = -1;
    int last_class = -1; /* of the character before, since the starter; -1: none between */
    for (int32_t i = 0; i < t->n; i++) {
        int class = unicode_combining_class(t->cp[i]);
        uint32_t joined = 0;
        if (starter >= 0 && (last_class < class || last_class < 0))
            joined = unicode_compose(t->cp[starter], t->cp[i]);
        if (joined) {
            t->cp[starter] = joined;
            t->source[starter] += t->source[i] - 1;
            continue;
        }
        if (!class) {
            starter = n;
            last_class = -1;
        } else {
            last_class = class;
        }
        t->cp[n] = t->cp[i];
        t->source[n++] = t->source[i];
    }
    t->n = n;
}

/* NFD, NFC, NFKD or NFKC of in. */
static cloze_status normalise_form(const norm_text *in, norm_text *out, bool compat, bool composed,
                                   cloze_error *err) {
    CLOZE_TRY(decompose(in, out, compat, err));
    if (composed) compose(out);
    changes_to_sources(in, out);
    return CLOZE_OK;
}

/* Keeps the code points for which keep() holds. */
static void filter(norm_text *t, bool (*keep)(uint32_t cp)) {
    int32_t n = 0;
    for (int32_t i = 0; i < t->n; i++) {
        if (!keep(t->cp[i])) continue;
        t->cp[n] = t->cp[i];
        t->source[n++] = t->source[i];
    }
    t->n = n;
}

static bool keep_clean(uint32_t cp) {
    return cp != 0 && cp != UNICODE_REPLACEMENT && !unicode_is_control(cp);
}

static bool keep_unaccented(uint32_t cp) { return !unicode_is_nonspacing(cp); }

static bool keep_unmarked(uint32_t cp) { return !unicode_is_mark(cp); }

static cloze_status lowercase(const norm_text *in, norm_text *out, cloze_error *err) {
    for (int32_t i = 0; i < in->n; i++) {
        uint32_t lower[2];
        int n = unicode_lower(in->cp[i], lower);
        for (int k = 0; k < n; k++) CLOZE_TRY(norm_text_push(out, lower[k], in->source[i], err));
    }
    return CLOZE_OK;
}

static cloze_status space_chinese(const norm_text *in, norm_text *out, cloze_error *err) {
    for (int32_t i = 0; i < in->n; i++) {
        bool alone = unicode_is_cjk(in->cp[i]);
        if (alone) CLOZE_TRY(norm_text_push(out, ' ', in->source[i], err));
        CLOZE_TRY(norm_text_push(out, in->cp[i], in->source[i], err));
        if (alone) CLOZE_TRY(norm_text_push(out, ' ', in->source[i], err));
    }
    return CLOZE_OK;
}

/* Swaps in the text that a step wrote to *other, which becomes empty room for the next. */
static void take_other(norm_text *t, norm_text *other) {
    norm_text old = *t;
    *t = *other;
    *other = old;
    other->n = 0;
}

static cloze_status apply_bert(const bert_switches *on, norm_text *t, norm_text *other,
                               cloze_error *err) {
    if (on->clean_text) {
        filter(t, keep_clean);
        for (int32_t i = 0; i < t->n; i++)
            if (unicode_is_space(t->cp[i])) t->cp[i] = ' ';
    }
    if (on->handle_chinese_chars) {
        CLOZE_TRY(space_chinese(t, other, err));
        take_other(t, other);
    }
    if (on->strip_accents) {
        CLOZE_TRY(normalise_form(t, other, false, false, err));
        take_other(t, other);
        filter(t, keep_unaccented);
    }
    if (on->lowercase) {
        CLOZE_TRY(lowercase(t, other, err));
        take_other(t, other);
    }
    return CLOZE_OK;
}

static void strip(norm_text *t, bool left, bool right) {
    while (right && t->n && unicode_is_space(t->cp[t->n - 1])) t->n--;
    int32_t begin = 0;
    while (left && begin < t->n && unicode_is_space(t->cp[begin])) begin++;
    if (!begin) return;
    memmove(t->cp, t->cp + begin, (size_t)(t->n - begin) * sizeof *t->cp);
    memmove(t->source, t->source + begin, (size_t)(t->n - begin) * sizeof *t->source);
    t->n -= begin;
}

/* Appends the UTF-8 string with one source for all of it. */
static cloze_status push_string(norm_text *out, const char *text, int32_t source,
                                cloze_error *err) {
    const uint8_t *p = (const uint8_t *)text, *end = p + strlen(text);
    while (p < end) {
        uint32_t cp = 0;
        p += unicode_next(p, end, &cp);
        CLOZE_TRY(norm_text_push(out, cp, source, err));
    }
    return CLOZE_OK;
}

static cloze_status push_range(norm_text *out, const norm_text *in, int32_t begin, int32_t end,
                               cloze_error *err) {
    for (int32_t i = begin; i < end; i++)
        CLOZE_TRY(norm_text_push(out, in->cp[i], in->source[i], err));
    return CLOZE_OK;
}

static cloze_status replace(const normalizer_step *step, const norm_text *in, norm_text *out,
                            cloze_error *err) {
    pattern_range *ranges = NULL;
    int32_t n = 0, from = 0;
    CLOZE_TRY(pattern_find_all(step->match, in->cp, in->n, &ranges, &n, err));
    cloze_status status = CLOZE_OK;
    for (int32_t i = 0; i < n && status == CLOZE_OK; i++) {
        status = push_range(out, in, from, ranges[i].begin, err);
        if (status == CLOZE_OK)
            status = push_string(out, step->text, in->source[ranges[i].end - 1], err);
        from = ranges[i].end;
    }
    if (status == CLOZE_OK) status = push_range(out, in, from, in->n, err);
    mem_free(ranges);
    return status;
}

static cloze_status apply_step(const normalizer_step *step, norm_text *t, norm_text *other,
                               cloze_error *err) {
    switch (step->kind) {
    case NORMALIZER_BERT: return apply_bert(&step->bert, t, other, err);
    case NORMALIZER_STRIP_ACCENTS: filter(t, keep_unmarked); return CLOZE_OK;
    case NORMALIZER_STRIP: strip(t, step->left, step->right); return CLOZE_OK;
    case NORMALIZER_LOWERCASE: CLOZE_TRY(lowercase(t, other, err)); break;
    case NORMALIZER_DECOMPOSE:
    case NORMALIZER_COMPOSE:
        CLOZE_TRY(normalise_form(t, other, step->compat, step->kind == NORMALIZER_COMPOSE, err));
        break;
    case NORMALIZER_REPLACE: CLOZE_TRY(replace(step, t, other, err)); break;
    case NORMALIZER_PREPEND:
        if (!t->n) return CLOZE_OK;
        CLOZE_TRY(push_string(other, step->text, t->source[0], err));
        CLOZE_TRY(push_range(other, t, 0, t->n, err));
        break;
    }
    take_other(t, other);
    return CLOZE_OK;
}

cloze_status normalizer_apply(const normalizer *z, norm_text *t, cloze_error *err) {
    norm_text other = {0};
    cloze_status status = CLOZE_OK;
    t->limit = other.limit = GROWTH_FREE + (int64_t)t->n * GROWTH_MAX;
    for (int32_t i = 0; i < z->n && status == CLOZE_OK; i++)
        status = apply_step(&z->steps[i], t, &other, err);
    t->limit = 0;
    norm_text_deinit(&other);
    return status;
}

/* Corpora for pre-training: files to sequences of tokens with word starts. */
#include "train/corpus.h"

#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "prompt/grow.h"
#include "prompt/line_reader.h"

/* ---- reading ---- */

/* visit(ctx, path) for each of the comma-separated files. */
static cloze_status each_file(const char *files,
                              cloze_status (*visit)(void *ctx, const char *path, cloze_error *err),
                              void *ctx, cloze_error *err) {
    while (*files) {
        size_t n = strcspn(files, ",");
        char *path = mem_strndup(files, n);
        if (!path) CLOZE_FAIL(err, MEMORY, "out of memory");
        cloze_status status = n ? visit(ctx, path, err) : CLOZE_OK;
        mem_free(path);
        if (status != CLOZE_OK) return status;
        files += n;
        if (*files == ',') files++;
    }
    return CLOZE_OK;
}

typedef struct line_visit {
    corpus_line line;
    void *ctx;
} line_visit;

static cloze_status read_lines(void *ctx, const char *path, cloze_error *err) {
    const line_visit *visit = ctx;
    line_reader r = {0};
    const char *text;
    size_t n;
    cloze_status status = line_reader_open(&r, path, err);
    while (status == CLOZE_OK) {
        status = line_reader_next(&r, &text, &n, err);
        if (status != CLOZE_OK || !text) break;
        if (!text_is_blank(text, n)) status = visit->line(visit->ctx, text, n, err);
    }
    line_reader_close(&r);
    return status;
}

cloze_status corpus_each_line(const char *files, corpus_line line, void *ctx, cloze_error *err) {
    line_visit visit = {line, ctx};
    return each_file(files, read_lines, &visit, err);
}

static cloze_status check_file(void *ctx, const char *path, cloze_error *err) {
    line_reader r = {0};
    const char *text = NULL;
    size_t n;
    if (strcmp(path, "-") == 0)
        CLOZE_FAIL(err, USAGE,
                   "pretrain reads its text several times, and standard input can be read once; "
                   "give a file");
    cloze_status status = line_reader_open(&r, path, err);
    if (status == CLOZE_OK) status = line_reader_peek(&r, &text, &n, err);
    if (status == CLOZE_OK && !text)
        status = error_set(err, CLOZE_ERR_DATA, "%s: there is no text in it", path);
    line_reader_close(&r);
    return status;
}

cloze_status corpus_check_files(const char *files, cloze_error *err) {
    return each_file(files, check_file, NULL, err);
}

void corpus_deinit(corpus *c) {
    mem_free(c->tokens);
    mem_free(c->offsets);
    memset(c, 0, sizeof *c);
}

static cloze_status add_sequence(corpus *c, const int32_t *tokens, int64_t n, cloze_error *err) {
    GROW_TO(err, c->tokens, c->token_cap, c->n_tokens + n);
    GROW_TO(err, c->offsets, c->sequence_cap, c->n_sequences + 2);
    memcpy(c->tokens + c->n_tokens, tokens, (size_t)n * sizeof *tokens);
    c->offsets[0] = 0;
    c->n_tokens += n;
    c->offsets[++c->n_sequences] = c->n_tokens;
    return CLOZE_OK;
}

/* A chunk of lines that is tokenized on all cores and added in order. */
enum { CHUNK = 8192 };
typedef struct reader {
    const corpus_options *o;
    corpus *c;
    arena memory;
    const char *texts[CHUNK];
    size_t lens[CHUNK];
    int32_t *marked[CHUNK]; /* tokens with word starts, mem_free */
    int32_t counts[CHUNK];
    int n;
    int64_t lines;
    progress bar;
} reader;

static cloze_status mark_line(const corpus_options *o, const char *text, size_t n, int32_t **marked,
                              int32_t *count, cloze_error *err) {
    encoding e;
    uint8_t *starts = NULL; /* (code points) */
    encoding_init(&e, true, false);
    *count = 0;
    cloze_status status = tokenizer_encode_text(o->tok, text, n, &e, err);
    if (status == CLOZE_OK && o->words)
        status = segmenter_word_starts(o->words, text, n, &starts, err);
    if (status == CLOZE_OK) {
        *marked = mem_alloc(((size_t)e.n + 1) * sizeof **marked);
        if (!*marked)
            status = error_set(err, CLOZE_ERR_MEMORY, "out of memory for a line of %zu bytes", n);
    }
    for (int32_t i = 0; status == CLOZE_OK && i < e.n; i++) {
        bool start =
            !tokenizer_is_continuation(o->tok, e.ids[i]) && (!starts || starts[e.offsets[i][0]]);
        (*marked)[i] = e.ids[i] * 2 + (start || i == 0);
    }
    if (status == CLOZE_OK) *count = e.n;
    mem_free(starts);
    encoding_deinit(&e);
    return status;
}

static cloze_status flush(reader *r, cloze_error *err) {
    cloze_status first = CLOZE_OK;
#pragma omp parallel for schedule(dynamic, 64)
    for (int i = 0; i < r->n; i++) {
        cloze_error own;
        cloze_status status =
            mark_line(r->o, r->texts[i], r->lens[i], &r->marked[i], &r->counts[i], &own);
        if (status == CLOZE_OK) continue;
#pragma omp critical
        if (first == CLOZE_OK) {
            first = status;
            if (err) *err = own;
        }
    }
    int32_t room = r->o->max_seq_length - 2;
    for (int i = 0; i < r->n; i++) {
        for (int32_t at = 0; at + 1 < r->counts[i] && first == CLOZE_OK; at += room) {
            int32_t n = r->counts[i] - at < room ? r->counts[i] - at : room;
            first = add_sequence(r->c, r->marked[i] + at, n, err);
        }
        mem_free(r->marked[i]);
        r->marked[i] = NULL;
        r->counts[i] = 0;
    }
    r->lines += r->n;
    r->n = 0;
    arena_reset(&r->memory);
    progress_update(&r->bar, r->lines);
    return first;
}

static cloze_status read_line(void *ctx, const char *text, size_t n, cloze_error *err) {
    reader *r = ctx;
    char *copy = arena_alloc(&r->memory, n + 1);
    if (!copy) CLOZE_FAIL(err, MEMORY, "out of memory for a line of %zu bytes", n);
    memcpy(copy, text, n);
    r->texts[r->n] = copy;
    r->lens[r->n++] = n;
    return r->n == CHUNK ? flush(r, err) : CLOZE_OK;
}

cloze_status corpus_read(const corpus_options *o, corpus *out, cloze_error *err) {
    reader *r;
    memset(out, 0, sizeof *out);
    if (o->max_seq_length < 4)
        CLOZE_FAIL(err, USAGE,
                   "--max_seq_length %d leaves no room for two tokens beside the two special ones",
                   o->max_seq_length);
    MEM_NEW(err, r, 1);
    r->o = o;
    r->c = out;
    arena_init(&r->memory, 1 << 20);
    progress_begin(&r->bar, o->callbacks, "tokenize", "line", 0);
    cloze_status status = corpus_each_line(o->files, read_line, r, err);
    if (status == CLOZE_OK) status = flush(r, err);
    progress_end(&r->bar);
    if (status == CLOZE_OK && out->n_sequences == 0)
        status = error_set(err, CLOZE_ERR_DATA, "%s: no line has two tokens or more", o->files);
    arena_deinit(&r->memory);
    mem_free(r);
    if (status != CLOZE_OK) corpus_deinit(out);
    return status;
}

cloze_status corpus_hold_out(corpus *c, corpus *held, int64_t n, uint64_t seed, cloze_error *err) {
    corpus kept = {0};
    rng r;
    memset(held, 0, sizeof *held);
    if (n >= c->n_sequences) n = c->n_sequences / 10;
    int32_t *order;
    MEM_NEW(err, order, c->n_sequences);
    for (int64_t i = 0; i < c->n_sequences; i++) order[i] = (int32_t)i;
    rng_init(&r, rng_mix_string(seed, "held-out"));
    rng_shuffle_i32(&r, order, c->n_sequences);
    cloze_status status = CLOZE_OK;
    for (int64_t i = 0; i < c->n_sequences && status == CLOZE_OK; i++) {
        int64_t begin = c->offsets[order[i]], length = c->offsets[order[i] + 1] - begin;
        status = add_sequence(i < n ? held : &kept, c->tokens + begin, length, err);
    }
    mem_free(order);
    if (status != CLOZE_OK) {
        corpus_deinit(&kept);
        corpus_deinit(held);
        return status;
    }
    corpus_deinit(c);
    *c = kept;
    return CLOZE_OK;
}

/*
 * The predict command: lines in, predictions out, in input order and constant memory. Lines are
 * taken in chunks, which are sorted by length and batched; a chunk ends early when no more input is
 * waiting, so that an answer follows each line of a slow pipe.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "train/predictor.h"

#define CHUNK_LINES 4096
#define CHUNK_BYTES ((size_t)4 << 20)
#define GATHER_MS 20               /* how long a chunk waits for one more line */
#define POLL_MS 200                /* how often an idle stream looks for an interruption */
#define COUNT_MAX ((off_t)1 << 30) /* lines of larger files are not counted beforehand */

typedef struct stream {
    const options *o;
    const cloze_callbacks *callbacks;
    dataset_stream *in;
    classifier *c;
    session session;
    cloze_write write;
    void *write_user;
    progress bar;
    /* the current chunk: copied examples, their logits, and the text to write */
    arena memory;
    int64_t cut_examples, cut_tokens; /* of all chunks */
    example *examples;                /* (CHUNK_LINES) */
    int64_t n;
    float *logits; /* (CHUNK_LINES,C) */
    buf text;
} stream;

/* Lines of a regular file, 0 when it cannot be told cheaply. Read piece by piece: a mapped file
 * would count as memory of ours. */
static int64_t count_lines(const char *path) {
    char piece[65536];
    struct stat st;
    int64_t lines = 0;
    size_t n;
    char last = '\n';
    if (!path || stat(path, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > COUNT_MAX) return 0;
    FILE *f = fopen(path, "rb");
    while (f && (n = fread(piece, 1, sizeof piece, f)) > 0) {
        const char *at = piece, *end = piece + n;
        while (at < end && (at = memchr(at, '\n', (size_t)(end - at)))) {
            at++;
            lines++;
        }
        last = end[-1];
    }
    if (f) fclose(f);
    return lines + (last != '\n');
}

/* ---- one chunk ---- */

static char *copy_text(arena *a, const char *text, size_t n) {
    char *copy = arena_alloc(a, n + 1);
    if (copy && n) memcpy(copy, text, n);
    return copy;
}

/* Waits for the first line of a chunk, however long; for the others a moment. */
static cloze_status wait_for_line(stream *s, bool *ready, cloze_error *err) {
    *ready = dataset_stream_ready(s->in, s->n ? GATHER_MS : POLL_MS);
    while (!*ready && s->n == 0) {
        if (log_interrupted(s->callbacks))
            CLOZE_FAIL(err, INTERRUPTED, "interrupted while waiting for input");
        *ready = dataset_stream_ready(s->in, POLL_MS);
    }
    return CLOZE_OK;
}

static cloze_status chunk_read(stream *s, int64_t limit, bool *done, cloze_error *err) {
    size_t bytes = 0;
    arena_reset(&s->memory);
    s->n = 0;
    while (s->n < limit && bytes < CHUNK_BYTES) {
        bool ready;
        example ex = {0}, *own = &s->examples[s->n];
        CLOZE_TRY(wait_for_line(s, &ready, err));
        if (!ready) break;
        CLOZE_TRY(dataset_stream_next(s->in, &ex, done, err));
        if (*done) break;
        *own = ex;
        own->label = -1;
        own->text = copy_text(&s->memory, ex.text, ex.text_len);
        own->text_b = ex.text_b ? copy_text(&s->memory, ex.text_b, ex.text_b_len) : NULL;
        if (!own->text || (ex.text_b && !own->text_b))
            CLOZE_FAIL(err, MEMORY, "out of memory for %zu bytes of input", bytes);
        bytes += ex.text_len + ex.text_b_len;
        s->n++;
    }
    return CLOZE_OK;
}

static cloze_status chunk_run(stream *s, cloze_error *err) {
    const label_set *labels = classifier_labels(s->c);
    encoded_views views;
    CLOZE_TRY(encoded_views_build(s->c, s->examples, s->n, &views, err));
    cloze_status status = session_predict(&s->session, s->c, &views, (int32_t)s->o->batch_size,
                                          s->logits, &s->bar, err);
    s->cut_examples += views.sets[0].n_cut_examples;
    s->cut_tokens += views.sets[0].n_cut_tokens;
    encoded_views_deinit(&views);
    if (status != CLOZE_OK) return status;
    buf_clear(&s->text);
    for (int64_t i = 0; i < s->n; i++)
        prediction_write(&s->text, &s->examples[i], labels, s->logits + i * labels->n, s->o->json);
    if (!buf_ok(&s->text)) CLOZE_FAIL(err, MEMORY, "out of memory for the predictions");
    if (s->write(s->write_user, s->text.data, s->text.len) != 0)
        CLOZE_FAIL(err, IO, "the predictions could not be written");
    return CLOZE_OK;
}

/* A tab is text here; that every line ends in one and a label of the run is hardly meant so. */
static void tell_labels_in_texts(const stream *s) {
    const label_set *labels = classifier_labels(s->c);
    for (int64_t i = 0; i < s->n; i++) {
        const example *e = &s->examples[i];
        const char *tab = strrchr(e->text, '\t');
        if (!tab || e->text_b || label_set_find(labels, tab + 1, strlen(tab + 1)) < 0) return;
    }
    log_line(s->callbacks, CLOZE_LOG_WARN,
             "the lines end in a tab and a label, which are read as part of the text; cut -f 1 takes "
             "them off, and cloze eval measures with them");
}

/* ---- the stream ---- */

static cloze_status stream_run(stream *s, cloze_error *err) {
    bool done = false;
    int64_t lines = 0;
    /* The first answers come early; later chunks are large, so that sorting by length pays. */
    int64_t limit = s->o->batch_size < CHUNK_LINES ? s->o->batch_size : CHUNK_LINES;
    cloze_status status = CLOZE_OK;
    while (!done && status == CLOZE_OK) {
        status = chunk_read(s, limit, &done, err);
        if (s->n && lines == 0) tell_labels_in_texts(s);
        if (s->n) { /* also the lines before a bad one */
            cloze_error later;
            cloze_status ran = chunk_run(s, status == CLOZE_OK ? err : &later);
            if (status == CLOZE_OK) status = ran;
        }
        lines += s->n;
        limit = CHUNK_LINES;
        progress_update(&s->bar, lines);
        if (status == CLOZE_OK && !done && log_interrupted(s->callbacks))
            status = error_set(err, CLOZE_ERR_INTERRUPTED, "interrupted after %lld lines",
                               (long long)lines);
    }
    if (status == CLOZE_OK && s->bar.state.total) s->bar.state.total = lines;
    const char *name =
        s->o->input && strcmp(s->o->input, "-") != 0 ? s->o->input : "standard input";
    if (status == CLOZE_OK && lines == 0)
        log_line(s->callbacks, CLOZE_LOG_WARN, "%s: there is no line in it", name);
    classifier_tell_cut(s->c, name, s->cut_examples, lines, s->cut_tokens);
    return status;
}

static cloze_status stream_open(stream *s, cloze_error *err) {
    const options *o = s->o;
    classifier_options c = {
        .max_seq_length = OPTION_IS_SET(o, max_seq_length) ? (int32_t)o->max_seq_length : 0,
        .do_lower_case = OPTION_IS_SET(o, do_lower_case) ? o->do_lower_case : -1,
        .base_model = o->base_model,
        .callbacks = s->callbacks};
    dataset_options d = {.labelling = DATASET_LABELS_NONE,
                         .text_column = o->text_column,
                         .text_b_column = o->text_b_column};
    dataset_format_from_name(o->data_format, &d.format);
    CLOZE_TRY(classifier_open(o->model, &c, &s->c, err));
    d.usual_text_column = classifier_get_options(s->c)->text_field;
    d.usual_text_b_column = classifier_get_options(s->c)->text_b_field;
    d.pair_lines = classifier_reads_pairs(s->c);
    CLOZE_TRY(dataset_stream_open(o->input ? o->input : "-", &d, &s->in, err));
    CLOZE_TRY(session_open_options(&s->session, o, err));
    MEM_NEW(err, s->examples, CHUNK_LINES);
    MEM_NEW(err, s->logits, (int64_t)CHUNK_LINES * classifier_labels(s->c)->n);
    return CLOZE_OK;
}

static void stream_close(stream *s) {
    arena_deinit(&s->memory);
    buf_deinit(&s->text);
    mem_free(s->examples);
    mem_free(s->logits);
    session_close(&s->session);
    classifier_destroy(s->c);
    dataset_stream_close(s->in);
}

cloze_status predict_stream(const options *o, const cloze_callbacks *callbacks, cloze_write write,
                            void *write_user, cloze_error *err) {
    stream s = {.o = o, .callbacks = callbacks, .write = write, .write_user = write_user};
    if (!o->model)
        CLOZE_FAIL(err, USAGE, "--model DIR is missing: the output directory of a training run");
    arena_init(&s.memory, 1 << 20);
    buf_init(&s.text, (size_t)1 << 32);
    cloze_status status = stream_open(&s, err);
    if (status == CLOZE_OK) {
        if (!o->input) log_terminal_input(callbacks);
        progress_begin(&s.bar, callbacks, "predict", "line", count_lines(o->input));
        status = stream_run(&s, err);
        progress_end(&s.bar);
        if (status == CLOZE_OK) status = session_write_profile(&s.session, o, callbacks, err);
    }
    stream_close(&s);
    return status;
}

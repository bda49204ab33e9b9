/* Predicting sets and streams. */
#include "train/predictor.h"

#include <errno.h>
#include <string.h>

#include "base/file.h"
#include "train/trainer.h"

/* ---- sets ---- */

cloze_status prediction_set_make(classifier *c, session *s, const dataset *data, int32_t batch_size,
                                 const cloze_callbacks *callbacks, prediction_set *p,
                                 cloze_error *err) {
    memset(p, 0, sizeof *p);
    if (data->labelled)
        return trainer_evaluate(c, s, data, batch_size, "predict", callbacks, &p->metrics,
                                &p->logits, err);
    encoded_views views;
    progress bar;
    MEM_NEW(err, p->logits, data->n * classifier_labels(c)->n);
    CLOZE_TRY(encoded_views_build(c, data->examples, data->n, &views, err));
    progress_begin(&bar, callbacks, "predict", "batch", (data->n + batch_size - 1) / batch_size);
    cloze_status status = session_predict(s, c, &views, batch_size, p->logits, &bar, err);
    progress_end(&bar);
    encoded_views_deinit(&views);
    return status;
}

void prediction_set_deinit(prediction_set *p) {
    mem_free(p->logits);
    metrics_deinit(&p->metrics);
    memset(p, 0, sizeof *p);
}

static void write_json_prediction(buf *out, const example *ex, const label_set *labels,
                                  const double *p, int32_t best) {
    buf_puts(out, "{\"text\": ");
    buf_json_string(out, ex->text, ex->text_len);
    if (ex->text_b) {
        buf_puts(out, ", \"text_b\": ");
        buf_json_string(out, ex->text_b, ex->text_b_len);
    }
    buf_puts(out, ", \"label\": ");
    buf_json_string(out, labels->entries[best].name, strlen(labels->entries[best].name));
    buf_printf(out, ", \"probability\": %.9g, \"probabilities\": {", p[best]);
    for (int32_t l = 0; l < labels->n; l++) {
        if (l) buf_puts(out, ", ");
        buf_json_string(out, labels->entries[l].name, strlen(labels->entries[l].name));
        buf_printf(out, ": %.9g", p[l]);
    }
    buf_puts(out, "}}\n");
}

void prediction_write(buf *out, const example *ex, const label_set *labels, const float *logits,
                      bool json) {
    int32_t best = 0;
    for (int32_t l = 1; l < labels->n; l++)
        if (logits[l] > logits[best]) best = l;
    if (!json) {
        buf_append(out, ex->text, ex->text_len);
        if (ex->text_b) {
            buf_putc(out, '\t');
            buf_append(out, ex->text_b, ex->text_b_len);
        }
        buf_printf(out, "\t%s\n", labels->entries[best].name);
        return;
    }
    double *p = mem_calloc((size_t)labels->n, sizeof *p);
    if (!p) {
        out->failed = true;
        return;
    }
    metrics_softmax(logits, labels->n, p);
    write_json_prediction(out, ex, labels, p, best);
    mem_free(p);
}

static cloze_status write_set(const prediction_set *p, const classifier *c, const dataset *data,
                              const char *dir, const char *name, bool json, cloze_error *err) {
    file_writer w = {0};
    buf line;
    buf_init(&line, (size_t)1 << 30);
    char *path = path_join(dir, name);
    cloze_status status =
        path ? file_writer_open(&w, path, err) : error_set(err, CLOZE_ERR_MEMORY, "out of memory");
    const label_set *labels = classifier_labels(c);
    for (int64_t i = 0; i < data->n && status == CLOZE_OK; i++) {
        buf_clear(&line);
        prediction_write(&line, &data->examples[i], labels, p->logits + i * labels->n, json);
        if (!buf_ok(&line))
            status = error_set(err, CLOZE_ERR_MEMORY, "out of memory writing %s", path);
        else
            fwrite(line.data, 1, line.len, w.stream); /* commit checks the stream */
    }
    if (status == CLOZE_OK)
        status = file_writer_commit(&w, err);
    else if (w.stream)
        file_writer_abort(&w);
    buf_deinit(&line);
    mem_free(path);
    return status;
}

cloze_status prediction_set_write(const prediction_set *p, const classifier *c, const dataset *data,
                                  const char *dir, cloze_error *err) {
    CLOZE_TRY(write_set(p, c, data, dir, "predictions.txt", false, err));
    return write_set(p, c, data, dir, "predictions.jsonl", true, err);
}

/* ---- streams ---- */

#define CHUNK_LINES 4096 /* sorted by length within a chunk */
#define CHUNK_BYTES ((size_t)4 << 20)

/* A chunk of lines: copied examples, their logits, and the text to write. */
typedef struct chunk {
    arena memory;
    example examples[CHUNK_LINES];
    int64_t n;
    float *logits; /* (CHUNK_LINES,C) */
    buf text;
} chunk;

static char *copy_text(arena *a, const char *text, size_t n) {
    char *copy = arena_alloc(a, n + 1);
    if (copy && n) memcpy(copy, text, n);
    return copy;
}

static cloze_status chunk_read(chunk *k, dataset_stream *in, int64_t limit, bool *done,
                               cloze_error *err) {
    size_t bytes = 0;
    arena_reset(&k->memory);
    k->n = 0;
    while (k->n < limit && bytes < CHUNK_BYTES && !*done) {
        example ex = {0};
        CLOZE_TRY(dataset_stream_next(in, &ex, done, err));
        if (*done) break;
        example *own = &k->examples[k->n];
        *own = ex;
        own->label = -1;
        own->text = copy_text(&k->memory, ex.text, ex.text_len);
        own->text_b = ex.text_b ? copy_text(&k->memory, ex.text_b, ex.text_b_len) : NULL;
        if (!own->text || (ex.text_b && !own->text_b))
            CLOZE_FAIL(err, MEMORY, "out of memory for %zu bytes of input", bytes);
        bytes += ex.text_len + ex.text_b_len;
        k->n++;
    }
    return CLOZE_OK;
}

static cloze_status chunk_write(chunk *k, const label_set *labels, bool json, FILE *out,
                                cloze_error *err) {
    buf_clear(&k->text);
    for (int64_t i = 0; i < k->n; i++)
        prediction_write(&k->text, &k->examples[i], labels, k->logits + i * labels->n, json);
    if (!buf_ok(&k->text)) CLOZE_FAIL(err, MEMORY, "out of memory for the predictions");
    if (fwrite(k->text.data, 1, k->text.len, out) != k->text.len || fflush(out) != 0)
        CLOZE_FAIL(err, IO, "the predictions could not be written: %s", strerror(errno));
    return CLOZE_OK;
}

static cloze_status chunk_run(chunk *k, classifier *c, session *s, const options *o,
                              cloze_error *err) {
    encoded_views views;
    CLOZE_TRY(encoded_views_build(c, k->examples, k->n, &views, err));
    cloze_status status =
        session_predict(s, c, &views, (int32_t)o->batch_size, k->logits, NULL, err);
    encoded_views_deinit(&views);
    return status;
}

static cloze_status stream_all(const options *o, const cloze_callbacks *cb, classifier *c,
                               session *s, dataset_stream *in, chunk *k, FILE *out,
                               cloze_error *err) {
    bool done = false;
    int64_t lines = 0;
    progress bar;
    /* The first answers come early; later chunks are large, so that sorting by length pays. */
    int64_t limit = o->batch_size < CHUNK_LINES ? o->batch_size : CHUNK_LINES;
    cloze_status status = CLOZE_OK;
    progress_begin(&bar, cb, "predict", "line", 0);
    while (!done && status == CLOZE_OK) {
        status = chunk_read(k, in, limit, &done, err);
        if (status != CLOZE_OK || k->n == 0) break;
        status = chunk_run(k, c, s, o, err);
        if (status == CLOZE_OK) status = chunk_write(k, classifier_labels(c), o->json, out, err);
        lines += k->n;
        limit = CHUNK_LINES;
        progress_update(&bar, lines);
        if (status == CLOZE_OK && log_interrupted(cb))
            status = error_set(err, CLOZE_ERR_INTERRUPTED, "interrupted after %lld lines",
                               (long long)lines);
    }
    progress_end(&bar);
    return status;
}

cloze_status predict_stream(const options *o, const cloze_callbacks *callbacks, FILE *out,
                            cloze_error *err) {
    classifier *c = NULL;
    session s = {0};
    dataset_stream *in = NULL;
    chunk *k = NULL;
    if (!o->model)
        CLOZE_FAIL(err, USAGE, "--model DIR is missing: the output directory of a training run");
    classifier_options co = {
        .max_seq_length = OPTION_IS_SET(o, max_seq_length) ? (int32_t)o->max_seq_length : 0,
        .do_lower_case = OPTION_IS_SET(o, do_lower_case) ? o->do_lower_case : -1,
        .callbacks = callbacks};
    dataset_options d = {.labelling = DATASET_LABELS_NONE,
                         .text_column = o->text_column,
                         .text_b_column = o->text_b_column};
    if (!o->text_column && !o->text_b_column) d.format = DATASET_AUTO;
    cloze_status status = dataset_stream_open(o->input ? o->input : "-", &d, &in, err);
    if (status == CLOZE_OK) status = classifier_open(o->model, &co, &c, err);
    if (status == CLOZE_OK) status = session_open(&s, o->device, (int)o->num_threads, o->bf16, err);
    if (status == CLOZE_OK) {
        k = mem_calloc(1, sizeof *k);
        if (k) {
            arena_init(&k->memory, 1 << 20);
            buf_init(&k->text, (size_t)1 << 32);
            k->logits = mem_calloc((size_t)CHUNK_LINES * (size_t)classifier_labels(c)->n,
                                   sizeof *k->logits);
        }
        if (!k || !k->logits) status = error_set(err, CLOZE_ERR_MEMORY, "out of memory");
    }
    if (status == CLOZE_OK) status = stream_all(o, callbacks, c, &s, in, k, out, err);
    if (k) {
        arena_deinit(&k->memory);
        buf_deinit(&k->text);
        mem_free(k->logits);
        mem_free(k);
    }
    session_close(&s);
    classifier_destroy(c);
    dataset_stream_close(in);
    return status;
}

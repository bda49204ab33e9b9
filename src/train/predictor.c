/* Predictions of whole sets, and how one prediction is written. Streams: predict_stream.c. */
#include "train/predictor.h"

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
    CLOZE_TRY(encoded_views_build(c, data->examples, data->n, &views, err));
    p->logits = mem_calloc((size_t)data->n * (size_t)classifier_labels(c)->n, sizeof *p->logits);
    if (!p->logits) {
        encoded_views_deinit(&views);
        CLOZE_FAIL(err, MEMORY, "out of memory for %lld predictions", (long long)data->n);
    }
    progress_begin(&bar, callbacks, "predict", "example", data->n);
    cloze_status status = session_predict(s, c, &views, batch_size, p->logits, &bar, err);
    progress_end(&bar);
    p->metrics.cut_examples = views.sets[0].n_cut_examples;
    p->metrics.cut_tokens = views.sets[0].n_cut_tokens;
    encoded_views_deinit(&views);
    if (status != CLOZE_OK) prediction_set_deinit(p);
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

/* A field of a CSV file may hold line breaks; an answer is one line. */
static void put_one_line(buf *out, const char *text, size_t n) {
    size_t start = out->len;
    buf_append(out, text, n);
    if (!buf_ok(out)) return;
    for (char *p = out->data + start; p < out->data + out->len; p++)
        if (*p == '\n' || *p == '\r') *p = ' ';
}

void prediction_write(buf *out, const example *ex, const label_set *labels, const float *logits,
                      bool json) {
    int32_t best = 0;
    for (int32_t l = 1; l < labels->n; l++)
        if (logits[l] > logits[best]) best = l;
    if (!json) {
        put_one_line(out, ex->text, ex->text_len);
        if (ex->text_b) {
            buf_putc(out, '\t');
            put_one_line(out, ex->text_b, ex->text_b_len);
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

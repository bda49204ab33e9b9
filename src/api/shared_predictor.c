/*
 * cloze_predictor: a trained run that any number of threads use at a time. The classifier is shared
 * and immutable; each call borrows a session (device, tape, batch storage) from a pool, which grows
 * to the largest number of calls that were ever in progress at once.
 */
#include <pthread.h>
#include <string.h>

#include "base/mem.h"
#include "train/metrics.h"
#include "train/session.h"

#define BATCH_SIZE 32

typedef struct pooled_session {
    session s;
    struct pooled_session *next;
} pooled_session;

struct cloze_predictor {
    classifier *c;
    bool bf16;
    int num_threads;
    pthread_mutex_t lock; /* of idle */
    pooled_session *idle;
};

cloze_status cloze_predictor_open(const char *run_dir, const cloze_predictor_options *options,
                                  cloze_predictor **out, cloze_error *err) {
    cloze_predictor *p;
    if (!out) CLOZE_FAIL(err, USAGE, "cloze_predictor_open: out is NULL");
    *out = NULL;
    if (!run_dir) CLOZE_FAIL(err, USAGE, "cloze_predictor_open: run_dir is NULL");
    if (options && options->num_threads < 0)
        CLOZE_FAIL(err, USAGE, "cloze_predictor_open: num_threads is %d", options->num_threads);
    MEM_NEW(err, p, 1);
    p->bf16 = options && options->bf16;
    p->num_threads = options ? options->num_threads : 0;
    cloze_status status = classifier_open(run_dir, NULL, &p->c, err);
    if (status == CLOZE_OK && pthread_mutex_init(&p->lock, NULL) != 0)
        status = error_set(err, CLOZE_ERR_MEMORY, "out of memory for a lock");
    if (status != CLOZE_OK) {
        classifier_destroy(p->c);
        mem_free(p);
        return status;
    }
    *out = p;
    return CLOZE_OK;
}

void cloze_predictor_close(cloze_predictor *p) {
    if (!p) return;
    while (p->idle) {
        pooled_session *next = p->idle->next;
        session_close(&p->idle->s);
        mem_free(p->idle);
        p->idle = next;
    }
    pthread_mutex_destroy(&p->lock);
    classifier_destroy(p->c);
    mem_free(p);
}

int32_t cloze_predictor_label_count(const cloze_predictor *p) {
    return p ? classifier_labels(p->c)->n : 0;
}

const char *cloze_predictor_label(const cloze_predictor *p, int32_t i) {
    if (!p || i < 0 || i >= classifier_labels(p->c)->n) return NULL;
    return classifier_labels(p->c)->entries[i].name;
}

/* ---- sessions ---- */

static cloze_status borrow_session(cloze_predictor *p, pooled_session **out, cloze_error *err) {
    pthread_mutex_lock(&p->lock);
    pooled_session *s = p->idle;
    if (s) p->idle = s->next;
    pthread_mutex_unlock(&p->lock);
    *out = s;
    if (s) return CLOZE_OK;
    MEM_NEW(err, s, 1);
    cloze_status status = session_open(&s->s, "cpu", p->num_threads, p->bf16, err);
    if (status != CLOZE_OK) {
        session_close(&s->s);
        mem_free(s);
        return status;
    }
    *out = s;
    return CLOZE_OK;
}

static void return_session(cloze_predictor *p, pooled_session *s) {
    pthread_mutex_lock(&p->lock);
    s->next = p->idle;
    p->idle = s;
    pthread_mutex_unlock(&p->lock);
}

/* ---- prediction ---- */

static cloze_status make_examples(const char *const *texts, const char *const *texts_b, size_t n,
                                  example **out, cloze_error *err) {
    example *examples;
    MEM_NEW(err, examples, n);
    *out = examples;
    for (size_t i = 0; i < n; i++) {
        const char *pair = texts_b ? texts_b[i] : NULL;
        if (!texts[i]) CLOZE_FAIL(err, USAGE, "cloze_predictor_run: texts[%zu] is NULL", i);
        examples[i] = (example){.text = texts[i],
                                .text_len = strlen(texts[i]),
                                .text_b = pair,
                                .text_b_len = pair ? strlen(pair) : 0,
                                .label = -1,
                                .line = (int64_t)i + 1};
    }
    return CLOZE_OK;
}

/* In place: logits (n,C) to probabilities. */
static cloze_status to_probabilities(float *values, size_t n, int32_t n_labels, cloze_error *err) {
    double *row;
    MEM_NEW(err, row, n_labels);
    for (size_t i = 0; i < n; i++, values += n_labels) {
        metrics_softmax(values, n_labels, row);
        for (int32_t l = 0; l < n_labels; l++) values[l] = (float)row[l];
    }
    mem_free(row);
    return CLOZE_OK;
}

static cloze_status run_examples(cloze_predictor *p, const example *examples, size_t n,
                                 float *probabilities, cloze_error *err) {
    pooled_session *s;
    encoded_views views;
    CLOZE_TRY(borrow_session(p, &s, err));
    cloze_status status = encoded_views_build(p->c, examples, (int64_t)n, &views, err);
    if (status == CLOZE_OK) {
        status = session_predict(&s->s, p->c, &views, BATCH_SIZE, probabilities, NULL, err);
        encoded_views_deinit(&views);
    }
    return_session(p, s);
    return status;
}

cloze_status cloze_predictor_run(cloze_predictor *p, const char *const *texts,
                                 const char *const *texts_b, size_t n, float *probabilities,
                                 cloze_error *err) {
    example *examples = NULL;
    if (!p) CLOZE_FAIL(err, USAGE, "cloze_predictor_run: the predictor is NULL");
    if (n == 0) return CLOZE_OK;
    if (!texts || !probabilities)
        CLOZE_FAIL(err, USAGE, "cloze_predictor_run: %s is NULL",
                   texts ? "probabilities" : "texts");
    if (n > INT32_MAX) CLOZE_FAIL(err, USAGE, "cloze_predictor_run: %zu texts in one call", n);
    cloze_status status = make_examples(texts, texts_b, n, &examples, err);
    if (status == CLOZE_OK) status = run_examples(p, examples, n, probabilities, err);
    mem_free(examples);
    if (status != CLOZE_OK) return status;
    return to_probabilities(probabilities, n, classifier_labels(p->c)->n, err);
}

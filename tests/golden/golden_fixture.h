/*
 * What the golden tests share: fixture directories that tools/export_golden.py wrote (their format
 * is described in tools/golden_reference.py), a tape over a backend, and how an error is measured:
 * the largest difference over the largest value of the reference. Included by one .c of each test.
 */
#ifndef CLOZE_TESTS_GOLDEN_FIXTURE_H
#define CLOZE_TESTS_GOLDEN_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "ckpt/checkpoint.h"
#include "model/model.h"

/* A call that must work; its message is the failure. */
#define MUST(call)                                                                                 \
    do {                                                                                           \
        cloze_error must_error_ = {0};                                                             \
        cloze_error *err = &must_error_;                                                           \
        if ((call) != CLOZE_OK) fail_msg("%s", must_error_.message);                               \
    } while (0)

typedef struct fixture {
    char *dir;
    const char *name; /* last part of dir */
    ckpt *values;     /* fixture.safetensors */
    cJSON *settings;  /* fixture.json */
    model_head head;
    nn_batch batch;  /* arrays owned */
    int32_t *labels; /* of the rows below; NULL for a bare encoder */
    int32_t *rows;   /* (n_rows) rows that the head runs on */
    int32_t n_rows;  /* R mask rows or B sequences */
} fixture;

static const ckpt_tensor *fixture_tensor(const fixture *f, const char *name) {
    const ckpt_tensor *t = ckpt_find(f->values, name);
    if (!t) fail_msg("%s: the fixture has no tensor %s", f->name, name);
    return t;
}

/* A tensor's numbers: mem_free them. */
static float *fixture_floats(const fixture *f, const char *name, int64_t *n) {
    const ckpt_tensor *t = fixture_tensor(f, name);
    float *values = mem_alloc((size_t)t->count * sizeof *values);
    assert_non_null(values);
    MUST(ckpt_read_f32(t, values, (size_t)t->count, err));
    *n = t->count;
    return values;
}

/* NULL when there is no such tensor. */
static int32_t *fixture_ints(const fixture *f, const char *name, int64_t *n) {
    const ckpt_tensor *t = ckpt_find(f->values, name);
    if (!t) return NULL;
    assert_int_equal(t->dtype, DTYPE_I32);
    int32_t *values = mem_alloc(t->bytes + sizeof *values);
    assert_non_null(values);
    MUST(ckpt_read_raw(t, values, t->bytes, err));
    *n = t->count;
    return values;
}

static const char *fixture_setting(const fixture *f, const char *key) {
    const char *value = NULL;
    MUST(json_get_string(f->settings, key, &value, err));
    if (!value) fail_msg("%s: fixture.json has no %s", f->name, key);
    return value;
}

/* The rows that a head runs on, and their labels. */
static void fixture_choose_rows(fixture *f, int64_t n_labels) {
    nn_batch *b = &f->batch;
    f->rows = mem_calloc((size_t)(b->n_tokens + b->n_seqs), sizeof *f->rows);
    assert_non_null(f->rows);
    if (f->head == MODEL_HEAD_SEQUENCE_CLASSIFICATION) {
        assert_int_equal(n_labels, b->n_seqs);
        model_first_rows(b, f->rows);
        f->n_rows = b->n_seqs;
    }
    if (f->head == MODEL_HEAD_MASKED_LM) {
        assert_int_equal(n_labels, b->n_tokens);
        for (int32_t i = 0; i < b->n_tokens; i++) {
            if (f->labels[i] == LABEL_IGNORE) continue;
            f->labels[f->n_rows] = f->labels[i];
            f->rows[f->n_rows++] = i;
        }
    }
}

static __attribute__((unused)) fixture *fixture_open(const char *dir) {
    int64_t n = 0, n_labels = 0;
    fixture *f = mem_calloc(1, sizeof *f);
    assert_non_null(f);
    f->dir = mem_strdup(dir);
    f->name = path_base(f->dir);
    char *path = path_join(dir, "fixture.safetensors"), *settings = path_join(dir, "fixture.json");
    MUST(ckpt_open(path, &f->values, err));
    MUST(json_parse_file(settings, 1 << 20, CLOZE_ERR_MODEL, &f->settings, err));
    mem_free(path);
    mem_free(settings);
    const char *head = fixture_setting(f, "head");
    f->head = strcmp(head, "masked_lm") == 0 ? MODEL_HEAD_MASKED_LM
              : strcmp(head, "bare") == 0    ? MODEL_HEAD_NONE
                                             : MODEL_HEAD_SEQUENCE_CLASSIFICATION;
    f->batch.offsets = fixture_ints(f, "offsets", &n);
    f->batch.n_seqs = (int32_t)n - 1;
    f->batch.input_ids = fixture_ints(f, "input_ids", &n);
    f->batch.n_tokens = (int32_t)n;
    f->batch.token_type_ids = fixture_ints(f, "token_type_ids", &n);
    f->batch.task_type_ids = fixture_ints(f, "task_type_ids", &n);
    f->labels = fixture_ints(f, "labels", &n_labels);
    fixture_choose_rows(f, n_labels);
    return f;
}

static __attribute__((unused)) void fixture_close(fixture *f) {
    if (!f) return;
    mem_free((void *)f->batch.offsets);
    mem_free((void *)f->batch.input_ids);
    mem_free((void *)f->batch.token_type_ids);
    mem_free((void *)f->batch.task_type_ids);
    mem_free(f->labels);
    mem_free(f->rows);
    ckpt_close(f->values);
    json_destroy(f->settings);
    mem_free(f->dir);
    mem_free(f);
}

static __attribute__((unused)) model *open_model(const char *dir, model_head head) {
    model *m = NULL;
    model_open_options options = {.head = head, .require_head = true};
    MUST(model_open(dir, &options, &m, err));
    model_set_dropout(m, 0.0, 0.0);
    return m;
}

/* A device and a tape over it. */
typedef struct engine {
    const backend *backend;
    backend_device *device;
    tape *tape;
} engine;

static engine engine_open(const backend *b, cloze_dtype dtype) {
    engine e = {.backend = b};
    MUST(b->device_open(0, 0, &e.device, err));
    tape_options options = {b, e.device, dtype};
    MUST(tape_create(&options, &e.tape, err));
    return e;
}

static void engine_close(engine *e) {
    tape_destroy(e->tape);
    e->backend->device_close(e->device);
}

/* Logits (R,V) or (B,C) at the rows that the fixture reads. */
static __attribute__((unused)) var *head_logits(const fixture *f, model *m, tape *t,
                                                bool checkpointing) {
    var *rows = model_encode_rows(t, m, &f->batch, f->rows, f->n_rows, checkpointing);
    if (f->head == MODEL_HEAD_SEQUENCE_CLASSIFICATION) return model_classify(t, m, rows);
    return model_masked_lm_logits(t, m, model_masked_lm_transform(t, m, rows), NULL, 0);
}

static void must_tape(const fixture *f, const tape *t) {
    cloze_error err = {0};
    if (tape_status(t, &err) != CLOZE_OK) fail_msg("%s: %s", f->name, err.message);
}

/* A var's numbers: mem_free them. */
static float *read_var(const fixture *f, tape *t, const var *v, int64_t *n) {
    must_tape(f, t);
    *n = v->t.rows * v->t.cols;
    float *values = mem_alloc((size_t)*n * sizeof *values);
    assert_non_null(values);
    MUST(tape_read(t, v, values, err));
    return values;
}

static double largest(const float *values, int64_t n) {
    double top = 0.0;
    for (int64_t i = 0; i < n; i++) top = fmax(top, fabs((double)values[i]));
    return top;
}

/* Largest difference over `top`; infinite when anything is not a number. */
static double deviation(const float *got, const float *want, int64_t n, double top) {
    double worst = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double difference = fabs((double)got[i] - (double)want[i]);
        if (!(difference <= worst)) worst = difference;
        if (!isfinite(got[i])) return INFINITY;
    }
    return top > 0.0 ? worst / top : worst;
}

#endif

/* What the tests of autograd share: devices, parameters, a deterministic source of numbers. */
#ifndef TESTS_AUTOGRAD_SUPPORT_H
#define TESTS_AUTOGRAD_SUPPORT_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/node.h"
#include "autograd/ops.h"
#include "base/mem.h"
#include "base/rng.h"

#define UNUSED __attribute__((unused))
#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

/* Fails the test with the error's message. */
#define MUST(call)                                                                                 \
    do {                                                                                           \
        cloze_error must_err_ = {0};                                                               \
        cloze_error *err = &must_err_;                                                             \
        if ((call) != CLOZE_OK) fail_msg("%s: %s", #call, must_err_.message);                      \
    } while (0)

static UNUSED void must_tape(const tape *t) {
    cloze_error err = {0};
    if (tape_status(t, &err) != CLOZE_OK) fail_msg("the tape failed: %s", err.message);
}

static UNUSED backend_device *open_device(const backend *be) {
    backend_device *dev = NULL;
    MUST(be->device_open(0, 2, &dev, err));
    return dev;
}

static UNUSED tape *open_tape(const backend *be, backend_device *dev, cloze_dtype compute) {
    tape *t = NULL;
    tape_options options = {.backend = be, .device = dev, .compute_dtype = compute};
    MUST(tape_create(&options, &t, err));
    return t;
}

/* Numbers in [-1, 1) that depend on (key, i) alone. */
static UNUSED float number(uint64_t key, int64_t i) {
    uint32_t out[4];
    rng_philox(key, (uint64_t)i, 0, out);
    return (float)(out[0] / 2147483648.0 - 1.0);
}

static UNUSED void fill(float *values, int64_t n, uint64_t key) {
    for (int64_t i = 0; i < n; i++) values[i] = number(key, i);
}

/* A parameter with owned random values. */
static UNUSED void make_param(param *p, const char *name, int64_t rows, int64_t cols,
                              uint64_t key) {
    *p = (param){0};
    p->name = mem_strdup(name);
    float *values = mem_calloc((size_t)(rows * cols), sizeof *values);
    assert_true(p->name && values);
    fill(values, rows * cols, key);
    p->owned = values;
    p->w.t = tensor_of(values, DTYPE_F32, rows, cols);
    p->w.version = 1;
    p->rank = rows == 1 ? 1 : 2;
    p->requires_grad = true;
}

static UNUSED void end_param(const backend *be, backend_device *dev, param *p) {
    be->weight_drop_packs(dev, &p->w);
    param_deinit(p);
}

static UNUSED int64_t param_n(const param *p) { return p->w.t.rows * p->w.t.cols; }

/* Same bits, so that -0 and 0 differ and NaN equals itself. */
static UNUSED void assert_same_bits(const float *a, const float *b, int64_t n, const char *what) {
    for (int64_t i = 0; i < n; i++) {
        if (memcmp(&a[i], &b[i], sizeof a[i]) != 0)
            fail_msg("%s: element %lld is %.9g and %.9g", what, (long long)i, (double)a[i],
                     (double)b[i]);
    }
}

/* Largest difference over the largest value of b. */
static UNUSED double relative_difference(const float *a, const float *b, int64_t n) {
    double worst = 0.0, largest = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= worst)) worst = d;
        if (fabs((double)b[i]) > largest) largest = fabs((double)b[i]);
    }
    return worst / (largest > 0.0 ? largest : 1.0);
}

#endif

/*
 * One call of one kernel, as data: named operands with guard zones, and the settings of the call.
 *
 * A case's `build` lists the operands, its `invoke` passes them to a backend. All else is common:
 * filling, running, comparing. Operands absent from the list are NULL arguments. Structure (sizes,
 * which operands) depends on rows, cols and variant only, so that the forward and the backward call
 * of a pair fit together; values, dtypes, strides and accumulation come from the random stream.
 *
 * The image of an operand is its whole allocation: guard, then capacity x ld elements of which the
 * tensor's columns are a part, then guard. What no kernel may read is NaN (all bits set); what none
 * may write must keep its bytes.
 */
#ifndef CLOZE_TESTS_OP_CALL_H
#define CLOZE_TESTS_OP_CALL_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "backend/ref/ref.h" /* ref_get, ref_set: elements as doubles */
#include "base/mem.h"
#include "base/rng.h"

#define OP_GUARD 256 /* bytes on either side */
#define OP_MAX_OPERANDS 20

/* Rounded operations besides those of a sum: a product and two or three scalings and additions; or
 * with these a few of the functions exp, erf, tanh, log, division and root. */
#define ROUNDINGS_PLAIN 4.0
#define ROUNDINGS_FUNCTIONS 16.0

typedef enum op_role {
    OP_IN,
    OP_IN_TAIL, /* an input whose rows beyond `rows` the kernel may overwrite */
    OP_OUT,     /* overwritten */
    OP_INOUT    /* added to */
} op_role;

typedef enum op_fill {
    FILL_NORMAL,      /* mean 0, sd 1 */
    FILL_WIDE,        /* normal over five orders of magnitude, up to about 100 */
    FILL_SPREAD,      /* neighbouring columns far apart: no row has a variance near zero */
    FILL_POSITIVE,    /* 0.5 .. 1.5 */
    FILL_UNIT,        /* 0 .. 1 */
    FILL_PROBABILITY, /* rows sum to 1 */
    FILL_LOG_PROBABILITY
} op_fill;

typedef struct op_operand {
    char name[16];
    op_role role;
    tensor t;              /* as the kernel sees it; data points into device memory during a run */
    bool is_array;         /* int32 or uint64 array: dtype and shape of t mean only its size */
    int64_t pad;           /* elements left of the tensor's columns */
    size_t bytes;          /* of the image, guards included */
    unsigned char *image;  /* before the run */
    unsigned char *result; /* after it */
    void *device;
    double *sizes; /* (rows, cols) sums of the absolute values of an element's terms: op_sizes.h */
    double terms;  /* how many terms are summed into an element */
    double roundings;      /* how many operations are rounded besides */
    double bf16_roundings; /* how many of its terms' factors are rounded to bf16 on the way */
    bool unspecified_inf; /* elements that are -inf in ref may be anything (queries without keys) */
} op_operand;

typedef struct op_call {
    int64_t rows, cols;
    int variant;
    bool as_backward;               /* rope and dropout are their own backward */
    bool exact;                     /* gradient check: f64 everywhere, dense, no accumulation */
    cloze_dtype in, out, aux, stat; /* activations in, out and others; parameters and statistics */
    bool strided, accumulate, accumulate_too;
    rng random;
    op_operand operands[OP_MAX_OPERANDS];
    int n_operands;
    /* settings of particular kernels */
    activation act;
    dropout_spec dropout;
    attention_spec attention;
    cross_entropy_spec cross_entropy;
    adamw_spec adamw;
    int32_t n_heads, rotary_dim;
    bool interleaved, inverse;
    float alpha;
    double host_out; /* sum_squares */
} op_call;

typedef struct op_case {
    const char *name;
    void (*build)(op_call *c);
    cloze_status (*invoke)(op_call *c, const backend *b, backend_device *dev, cloze_error *err);
    int n_variants;
    const char *forward; /* for a backward kernel: the kernel that it differentiates */
    void (*sizes)(
        op_call *c); /* fills the sizes of the outputs; NULL: by ref, on absolute values */
} op_case;

static inline int64_t op_below(op_call *c, int64_t n) {
    return (int64_t)rng_below(&c->random, (uint32_t)n);
}

/* ---- operands ------------------------------------------------------------------------------- */

static inline op_operand *op_find(op_call *c, const char *name) {
    for (int i = 0; i < c->n_operands; i++) {
        if (strcmp(c->operands[i].name, name) == 0) return &c->operands[i];
    }
    return NULL;
}

/* The tensor of an operand on the device; NULL when the call has none. */
static inline tensor *op_tensor_of(op_call *c, const char *name) {
    op_operand *o = op_find(c, name);
    return o ? &o->t : NULL;
}

static inline void *op_array_of(op_call *c, const char *name) {
    op_operand *o = op_find(c, name);
    return o ? o->t.data : NULL;
}
#define T(name) op_tensor_of(c, #name)
#define ARRAY(name) op_array_of(c, #name)

/* The operand's tensor over its image or its result. */
static inline tensor op_view(const op_operand *o, unsigned char *bytes) {
    tensor view = o->t;
    view.data = bytes + OP_GUARD + (size_t)o->pad * dtype_size(o->t.dtype);
    return view;
}

static inline op_operand *op_append(op_call *c, const char *name, op_role role, size_t payload) {
    assert_true(c->n_operands < OP_MAX_OPERANDS);
    op_operand *o = &c->operands[c->n_operands++];
    memset(o, 0, sizeof *o);
    snprintf(o->name, sizeof o->name, "%s", name);
    o->role = role;
    o->bytes = payload + 2 * OP_GUARD;
    o->image = mem_alloc(o->bytes);
    o->result = mem_alloc(o->bytes);
    assert_non_null(o->image);
    assert_non_null(o->result);
    memset(o->image, 0xff, o->bytes);
    o->terms = 1.0;
    o->roundings = ROUNDINGS_PLAIN;
    return o;
}

/* A result that exp, erf, tanh, log or a root enters: these are good to two ulp, four times u. */
static inline op_operand *op_with_functions(op_operand *o) {
    o->roundings = ROUNDINGS_FUNCTIONS;
    return o;
}

static inline double op_random_value(op_call *c, op_fill fill) {
    switch (fill) {
    case FILL_WIDE: return rng_normal(&c->random) * pow(10.0, 5.0 * rng_uniform(&c->random) - 3.0);
    case FILL_POSITIVE: return 0.5 + rng_uniform(&c->random);
    case FILL_UNIT: return rng_uniform(&c->random);
    case FILL_PROBABILITY: return exp(rng_normal(&c->random));
    case FILL_LOG_PROBABILITY: return rng_normal(&c->random);
    case FILL_SPREAD:
    case FILL_NORMAL: break;
    }
    return rng_normal(&c->random);
}

static inline void op_fill_rows(op_call *c, op_operand *o, op_fill fill) {
    tensor t = op_view(o, o->image);
    for (int64_t i = 0; i < t.rows; i++) {
        double sum = 0.0;
        for (int64_t k = 0; k < t.cols; k++) {
            double value = op_random_value(c, fill);
            if (fill == FILL_SPREAD) value = 0.3 * value + 2.0 * (double)(k % 4);
            sum += fill == FILL_LOG_PROBABILITY ? exp(value) : value;
            ref_set(&t, i, k, value);
        }
        for (int64_t k = 0; k < t.cols && fill == FILL_PROBABILITY; k++)
            ref_set(&t, i, k, ref_get(&t, i, k) / sum);
        for (int64_t k = 0; k < t.cols && fill == FILL_LOG_PROBABILITY; k++) {
            ref_set(&t, i, k, ref_get(&t, i, k) - log(sum));
        }
    }
    /* The tail is finite but large: a sum that takes it in is wrong for all to see. */
    for (int64_t i = t.rows; i < t.rows_capacity; i++) {
        for (int64_t k = 0; k < t.cols; k++)
            ref_set(&t, i, k, 1000.0 * (rng_uniform(&c->random) - 0.25));
    }
}

static inline op_operand *op_add(op_call *c, const char *name, op_role role, cloze_dtype dtype,
                                 int64_t rows, int64_t cols, op_fill fill, bool may_stride) {
    int64_t pad = 0, ld = cols, capacity = rows;
    if (may_stride && c->strided) {
        pad = op_below(c, 2) ? cols : 3; /* a part of a fused tensor, or oddly aligned */
        ld = pad + cols + (op_below(c, 2) ? cols : 2);
    }
    if (may_stride && !c->exact && op_below(c, 4) > 0) capacity = rows_round_up(rows);
    op_operand *o = op_append(c, name, role, (size_t)(capacity * ld) * dtype_size(dtype));
    o->pad = pad;
    o->t = (tensor){NULL, rows, capacity, cols, ld, dtype};
    bool zero = c->exact && role == OP_INOUT; /* a gradient check wants the sum alone */
    if (role != OP_OUT) op_fill_rows(c, o, fill);
    if (zero) memset(o->image + OP_GUARD, 0, o->bytes - 2 * OP_GUARD);
    return o;
}

/* An activation: it may be a strided view and have spare rows. */
static inline op_operand *op_rows(op_call *c, const char *name, op_role role, cloze_dtype dtype,
                                  int64_t rows, int64_t cols, op_fill fill) {
    return op_add(c, name, role, dtype, rows, cols, fill, true);
}

/* A parameter, statistic or table: dense, no spare rows. */
static inline op_operand *op_dense(op_call *c, const char *name, op_role role, cloze_dtype dtype,
                                   int64_t rows, int64_t cols, op_fill fill) {
    return op_add(c, name, role, dtype, rows, cols, fill, false);
}

/* An output that is overwritten, or added to when `accumulate`. */
static inline op_role op_out_role(bool accumulate) { return accumulate ? OP_INOUT : OP_OUT; }

/* An array of n int32 for the builder to fill. */
static inline int32_t *op_ints(op_call *c, const char *name, int64_t n) {
    op_operand *o = op_append(c, name, OP_IN, (size_t)n * sizeof(int32_t));
    o->is_array = true;
    o->t = (tensor){NULL, 1, 1, n, n, DTYPE_I32};
    return (int32_t *)(void *)(o->image + OP_GUARD);
}

/* n int32 in [0, limit). */
static inline void op_indices(op_call *c, const char *name, int64_t n, int64_t limit) {
    int32_t *ids = op_ints(c, name, n);
    for (int64_t i = 0; i < n; i++) ids[i] = (int32_t)op_below(c, limit);
}

/* Switches dropout on (p > 0) with one random key a row. */
static inline void op_dropout(op_call *c, float p, int64_t rows) {
    op_operand *o = op_append(c, "row_keys", OP_IN, (size_t)rows * sizeof(uint64_t));
    o->is_array = true;
    o->t = (tensor){NULL, 1, 1, rows, rows, DTYPE_I64};
    uint64_t *keys = (uint64_t *)(void *)(o->image + OP_GUARD);
    for (int64_t i = 0; i < rows; i++) keys[i] = rng_mix(rng_u32(&c->random), (uint64_t)i);
    c->dropout = (dropout_spec){p, 0x123456789abcdef0u + (uint64_t)c->variant, NULL};
}

/* The dropout argument of an invoke: NULL when the case has none. */
static inline const dropout_spec *op_dropout_of(op_call *c) {
    if (!op_find(c, "row_keys")) return NULL;
    c->dropout.row_keys = ARRAY(row_keys);
    return &c->dropout;
}

/*
 * Splits `rows` into sequences of lengths 0, 1, 7, ... that add up to it, as offsets (B+1) of which
 * there are at most `max` entries; returns B >= 1.
 */
static inline int32_t op_split(int64_t rows, int32_t *offsets, int max) {
    static const int32_t lengths[] = {1, 0, 7, 16, 2, 33, 3, 70};
    int32_t n = 0, used = 0;
    offsets[0] = 0;
    while (used < rows && n < max - 2) {
        int32_t len = lengths[n % 8] < rows - used ? lengths[n % 8] : (int32_t)rows - used;
        used += len;
        offsets[++n] = used;
    }
    offsets[++n] = (int32_t)rows; /* what is left: often nothing, an empty last sequence */
    return n;
}

/* ---- running -------------------------------------------------------------------------------- */

static inline void op_free(op_call *c) {
    for (int i = 0; i < c->n_operands; i++) {
        mem_free(c->operands[i].image);
        mem_free(c->operands[i].result);
        mem_free(c->operands[i].sizes);
    }
    c->n_operands = 0;
}

/* Uploads the images, calls the kernel, downloads into the results. */
static inline cloze_status op_run(const op_case *k, op_call *c, const backend *b,
                                  backend_device *dev, cloze_error *err) {
    for (int i = 0; i < c->n_operands; i++) {
        op_operand *o = &c->operands[i];
        assert_int_equal(b->mem_alloc(dev, o->bytes, &o->device, err), CLOZE_OK);
        assert_int_equal(b->upload(dev, o->device, o->image, o->bytes, err), CLOZE_OK);
        o->t = op_view(o, o->device);
    }
    c->host_out = NAN;
    cloze_status status = k->invoke(c, b, dev, err);
    if (status == CLOZE_OK) status = b->sync(dev, err);
    for (int i = 0; i < c->n_operands; i++) {
        op_operand *o = &c->operands[i];
        assert_int_equal(b->download(dev, o->result, o->device, o->bytes, err), CLOZE_OK);
        b->mem_free(dev, o->device, o->bytes);
        o->t.data = NULL;
    }
    return status;
}

/* Marks the bytes of the result that the kernel may have written: rows [first, last) of the tensor.
 */
static inline void op_mark_rows(const op_operand *o, unsigned char *writable, int64_t first,
                                int64_t last) {
    size_t size = dtype_size(o->t.dtype);
    for (int64_t i = first; i < last; i++) {
        memset(writable + OP_GUARD + (size_t)(i * o->t.ld + o->pad) * size, 1,
               (size_t)o->t.cols * size);
    }
}

/* Returns the offset of a byte that changed and must not have, or -1. */
static inline int64_t op_stray_write(const op_operand *o) {
    unsigned char *writable = mem_calloc(o->bytes, 1);
    int64_t stray = -1;
    assert_non_null(writable);
    if (o->role == OP_OUT || o->role == OP_INOUT) op_mark_rows(o, writable, 0, o->t.rows_capacity);
    if (o->role == OP_IN_TAIL) op_mark_rows(o, writable, o->t.rows, o->t.rows_capacity);
    for (size_t i = 0; i < o->bytes && stray < 0; i++) {
        if (!writable[i] && o->image[i] != o->result[i]) stray = (int64_t)i;
    }
    mem_free(writable);
    return stray;
}

/* Whether the meaningful parts of two results are the same bytes. */
static inline bool op_same_bytes(op_operand *a, const unsigned char *other) {
    size_t size = dtype_size(a->t.dtype);
    for (int64_t i = 0; i < a->t.rows; i++) {
        size_t at = OP_GUARD + (size_t)(i * a->t.ld + a->pad) * size;
        if (memcmp(a->result + at, other + at, (size_t)a->t.cols * size) != 0) return false;
    }
    return true;
}

/* ---- comparing ------------------------------------------------------------------------------ */

#define F32_ROUNDING                                                                               \
    5.9604644775390625e-8        /* u = 2^-24: an f32 operation errs by so much of its result */
#define BF16_ROUNDING 0.00390625 /* 2^-8 */
#define F32_TINY 1e-36           /* below it kernels may flush to zero */

/*
 * What an element may differ by from ref: u (roundings + sqrt(terms)) size, the probabilistic bound
 * of rounding errors (Higham and Mary 2019), whatever the order of summation. size is the sum of
 * the absolute values of the element's terms, so nothing depends on how much they cancel. Roundings
 * to bf16 on the way count likewise. In a bf16 result two near numbers may round to neighbours,
 * which are up to four roundings apart.
 */
static inline double op_allowed(const op_operand *o, double want, double size) {
    double allowed = F32_ROUNDING * (o->roundings + sqrt(o->terms)) * size + F32_TINY;
    allowed += BF16_ROUNDING * o->bf16_roundings * size;
    if (o->t.dtype == DTYPE_BF16) allowed += 2.02 * BF16_ROUNDING * (fabs(want) + allowed);
    return allowed;
}

typedef struct op_difference {
    double error; /* the largest, in units of what is allowed; INFINITY for a NaN on one side */
    int64_t row, col;
    double expected, got, allowed;
    int64_t n_flips; /* bf16 elements of some size that differ at all */
} op_difference;

static inline double op_largest(const tensor *t) {
    double largest = 1e-30;
    for (int64_t i = 0; i < t->rows; i++) {
        for (int64_t k = 0; k < t->cols; k++) {
            double value = fabs(ref_get(t, i, k));
            if (isfinite(value)) largest = fmax(largest, value);
        }
    }
    return largest;
}

static inline op_difference op_compare(op_operand *expected, op_operand *got) {
    tensor e = op_view(expected, expected->result), g = op_view(got, got->result);
    op_difference worst = {0};
    double largest = op_largest(&e);
    int64_t n_flips = 0;
    for (int64_t i = 0; i < e.rows; i++) {
        for (int64_t k = 0; k < e.cols; k++) {
            double want = ref_get(&e, i, k), have = ref_get(&g, i, k);
            if (want == have || (isnan(want) && isnan(have))) continue;
            if (isinf(want) && expected->unspecified_inf) continue;
            n_flips += e.dtype == DTYPE_BF16 && expected->bf16_roundings == 0.0 &&
                       fabs(want) > 0.01 * largest;
            double allowed = op_allowed(expected, want, expected->sizes[i * e.cols + k]),
                   error = fabs(want - have) / allowed;
            if (!isfinite(error)) error = INFINITY;
            if (error > worst.error) worst = (op_difference){error, i, k, want, have, allowed, 0};
        }
    }
    worst.n_flips = n_flips;
    return worst;
}

#endif

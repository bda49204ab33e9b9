/* A device with a tape for tests above autograd, and gradients against central differences. */
#ifndef CLOZE_TESTS_TAPE_SUPPORT_H
#define CLOZE_TESTS_TAPE_SUPPORT_H

#include "autograd/ops.h"
#include "unit/unit_support.h"

typedef struct engine {
    const backend *backend;
    backend_device *device;
    tape *tape;
} engine;

static UNUSED engine engine_open(const backend *be, cloze_dtype compute) {
    engine e = {.backend = be};
    MUST(be->device_open(0, 1, &e.device, err));
    tape_options o = {be, e.device, compute};
    MUST(tape_create(&o, &e.tape, err));
    return e;
}

static UNUSED void engine_close(engine *e) {
    tape_destroy(e->tape);
    e->backend->device_close(e->device);
}

static UNUSED void must_tape(const engine *e) { MUST(tape_status(e->tape, err)); }

/* The value of v, dense f32, mem_free. */
static UNUSED float *read_var(const engine *e, const var *v) {
    must_tape(e);
    float *values = mem_alloc((size_t)(v->t.rows * v->t.cols) * sizeof *values);
    assert_non_null(values);
    MUST(tape_read(e->tape, v, values, err));
    return values;
}

static UNUSED double read_scalar(const engine *e, const var *v) {
    float *value = read_var(e, v);
    double result = value[0];
    mem_free(value);
    return result;
}

/* A constant whose numbers depend on key alone. */
static UNUSED var *random_input(const engine *e, int64_t rows, int64_t cols, uint64_t key) {
    float *values = mem_alloc((size_t)(rows * cols) * sizeof *values);
    assert_non_null(values);
    for (int64_t i = 0; i < rows * cols; i++) values[i] = number(key, i);
    var *v = tape_input(e->tape, values, rows, cols);
    mem_free(values);
    return v;
}

/* The scalar that a test differentiates: makes a step of its own, gives its root. */
typedef var *(*loss_graph)(void *ctx, bool with_grad);

static UNUSED double graph_value(const engine *e, loss_graph graph, void *ctx) {
    return read_scalar(e, graph(ctx, false));
}

/* d loss / d p[i] by central differences, extrapolated (Richardson): the error is of order h^4. */
static UNUSED double numeric_gradient(const engine *e, loss_graph graph, void *ctx, param *p,
                                      int64_t i) {
    float *x = (float *)p->w.t.data + i, kept = *x;
    double slopes[2];
    for (int k = 0; k < 2; k++) {
        float h = k ? 0.02f : 0.04f;
        *x = kept + h;
        p->w.version++;
        double up = graph_value(e, graph, ctx), upper = *x;
        *x = kept - h;
        p->w.version++;
        double down = graph_value(e, graph, ctx);
        slopes[k] = (up - down) / (upper - *x);
    }
    *x = kept;
    p->w.version++;
    return (4.0 * slopes[1] - slopes[0]) / 3.0;
}

/* Compares p's gradient (of a backward pass that has run) with differences at n places that are
 * spread over it, those in `places` first. */
static UNUSED void check_gradient(const engine *e, loss_graph graph, void *ctx, param *p,
                                  const int64_t *places, int n_places) {
    assert_non_null(p->grad.data);
    const float *grad = p->grad.data;
    int64_t n = p->w.t.rows * p->w.t.cols;
    for (int k = 0; k < n_places + 4; k++) {
        int64_t i = k < n_places ? places[k] : (int64_t)(k - n_places) * (n - 1) / 3;
        double want = numeric_gradient(e, graph, ctx, p, i);
        if (!(fabs(grad[i] - want) <= 2e-4 + 2e-3 * fabs(want)))
            fail_msg("%s: gradient %lld is %.6g, differences give %.6g", p->name, (long long)i,
                     (double)grad[i], want);
    }
}

#endif

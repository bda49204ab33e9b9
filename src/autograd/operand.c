/* What ops ask about their operands: compute precision, parameters as f32, and dropout keys. */
#include "autograd/node.h"
#include "base/rng.h"

bool tape_operand(tape *t, var *x, tensor *out, tape_buffer **buffer) {
    *out = x->t;
    *buffer = x->t_buffer;
    if (t->compute == DTYPE_F32) {
        /* Only a bf16 constant can get here; products of f32 mode are f32. */
        return x->t.dtype == DTYPE_F32 ||
               tape_fail(t, CLOZE_ERR_INTERNAL, "a bf16 value in a step that computes in f32");
    }
    if (x->t.dtype == DTYPE_BF16) return true;
    if (!x->low.data) {
        if (!tape_new_tensor(t, x->t.rows, x->t.cols, DTYPE_BF16, &x->low, &x->low_buffer))
            return false;
        if (!TAPE_RUN(t, axpy, 1.0f, &x->t, false, &x->low)) return false;
    }
    *out = x->low;
    *buffer = x->low_buffer;
    return true;
}

bool tape_param_f32(tape *t, const param *p, tensor *out) {
    *out = p->w.t;
    if (p->w.t.dtype == DTYPE_F32) return t->status == CLOZE_OK;
    int64_t rows = p->w.t.rows, cols = p->w.t.cols;
    /* embedding_forward reads every float type: row i of the result is row i of the parameter. */
    int32_t *ids = tape_host_alloc(t, (size_t)rows * sizeof *ids);
    if (!ids) return false;
    for (int64_t i = 0; i < rows; i++) ids[i] = (int32_t)i;
    const tensor *tables[1] = {&p->w.t};
    const int32_t *device_ids[1] = {tape_upload_i32(t, ids, rows)};
    void *data = tape_step_alloc(t, (size_t)(rows * cols) * sizeof(float));
    *out = tensor_of(data, DTYPE_F32, rows, cols);
    return data && TAPE_RUN(t, embedding_forward, 1, tables, device_ids, out);
}

bool tape_keys_make(tape *t, const uint64_t *host, int64_t n, const row_keys **out) {
    row_keys *keys = tape_host_alloc(t, sizeof *keys);
    if (!keys) return false;
    keys->n = n;
    keys->batch = t->keys ? t->keys : keys;
    keys->host = tape_host_copy(t, host, (size_t)n * sizeof *host);
    keys->device = tape_step_copy(t, host, (size_t)n * sizeof *host);
    *out = keys;
    return keys->host && keys->device;
}

void tape_set_row_keys(tape *t, const uint64_t *values, int64_t n_rows) {
    t->keys = NULL;
    if (values && t->status == CLOZE_OK) tape_keys_make(t, values, n_rows, &t->keys);
}

bool tape_keys(tape *t, const var *v, const row_keys **out) {
    *out = NULL;
    if (!t->keys) return true;
    /* Keys that came with the rows, unless the batch's were replaced by as many since. */
    bool fits = v->t.rows == t->keys->n;
    if (v->keys && (v->keys->batch == t->keys || !fits))
        *out = v->keys;
    else if (fits)
        *out = t->keys;
    if (*out) return true;
    /* Rows of no example (parameters, constants): numbered. */
    uint64_t *host = tape_host_alloc(t, (size_t)v->t.rows * sizeof *host);
    if (!host) return false;
    for (int64_t i = 0; i < v->t.rows; i++) host[i] = rng_mix(0, (uint64_t)i);
    return tape_keys_make(t, host, v->t.rows, out);
}

bool tape_dropout(tape *t, const var *v, float p, uint64_t site, const dropout_spec **out) {
    *out = NULL;
    if (!(p > 0.0f) || !t->keys) return true;
    const row_keys *keys;
    if (!tape_keys(t, v, &keys)) return false;
    dropout_spec *spec = tape_host_alloc(t, sizeof *spec);
    if (!spec) return false;
    *spec = (dropout_spec){.p = p, .key = rng_mix(t->dropout_key, site), .row_keys = keys->device};
    *out = spec;
    return true;
}

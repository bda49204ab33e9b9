/*
 * The tape's life: steps, sticky errors, memory, vars, scopes, and values in and out.
 * Gradients are in backward.c, what ops ask about operands and dropout in operand.c.
 */
#include "autograd/tape.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "autograd/node.h"

#define ARENA_BLOCK_BYTES ((size_t)256 << 10)
#define STEP_PIECE_BYTES ((size_t)64 << 10)

cloze_status tape_create(const tape_options *options, tape **out, cloze_error *err) {
    *out = NULL;
    if (options->compute_dtype != DTYPE_F32 && options->compute_dtype != DTYPE_BF16)
        CLOZE_FAIL(err, USAGE, "a model computes in F32 or BF16, not in %s",
                   dtype_name(options->compute_dtype));
    CLOZE_TRY(backend_check(options->backend, err));
    tape *t;
    MEM_NEW(err, t, 1);
    t->be = options->backend;
    t->dev = options->device;
    t->compute = options->compute_dtype;
    arena_init(&t->arena, ARENA_BLOCK_BYTES);
    pool_init(&t->pool, t->be, t->dev, &t->arena);
    t->scope = &t->root_scope;
    *out = t;
    return CLOZE_OK;
}

/* Packs are the backend's, and the weights that own them go with the arena. */
static void step_weights_drop(tape *t) {
    for (step_weight *w = t->weights; w; w = w->next) t->be->weight_drop_packs(t->dev, &w->w);
    t->weights = NULL;
}

void tape_destroy(tape *t) {
    if (!t) return;
    step_weights_drop(t);
    pool_deinit(&t->pool);
    arena_deinit(&t->arena);
    mem_free(t);
}

void tape_begin_step(tape *t, bool with_grad, uint64_t dropout_key, const uint64_t *row_key_values,
                     int64_t n_rows) {
    backend_mark(t->be, t->dev, with_grad ? PHASE_FORWARD : PHASE_PREDICT);
    step_weights_drop(t);
    arena_reset(&t->arena);
    t->status = CLOZE_OK;
    t->error = (cloze_error){0};
    t->nodes = NULL;
    t->root_scope = (tape_scope){0};
    t->scope = &t->root_scope;
    t->step_data = NULL;
    t->step_left = 0;
    t->with_grad = t->recording = with_grad;
    t->dropout_key = dropout_key;
    tape_check(t, pool_reset(&t->pool, &t->error));
    tape_set_row_keys(t, row_key_values, n_rows);
}

/* ---- sticky errors ---- */

bool tape_check(tape *t, cloze_status status) {
    if (status == CLOZE_OK) return true;
    if (t->status == CLOZE_OK) {
        t->status = t->error.code = status;
        if (!t->error.message[0]) error_set(&t->error, status, "%s", cloze_status_text(status));
    }
    return false;
}

var *tape_fail(tape *t, cloze_status code, const char *fmt, ...) {
    if (t->status != CLOZE_OK) return NULL;
    char message[sizeof t->error.message];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    tape_check(t, error_set(&t->error, code, "%s", message));
    return NULL;
}

cloze_status tape_status(const tape *t, cloze_error *err) {
    if (t->status != CLOZE_OK && err) *err = t->error;
    return t->status;
}

bool tape_failed(const tape *t) { return t->status != CLOZE_OK; }

bool tape_use(tape *t, const var *v, const char *op) {
    if (t->status != CLOZE_OK) return false;
    if (!v) {
        tape_fail(t, CLOZE_ERR_INTERNAL, "%s was given no input, though nothing had failed before",
                  op);
    } else if (v->released) {
        tape_fail(t, CLOZE_ERR_INTERNAL,
                  "%s reads a (%lld, %lld) value whose scope has ended: keep it there", op,
                  (long long)v->t.rows, (long long)v->t.cols);
    }
    return t->status == CLOZE_OK;
}

/* ---- memory ---- */

void *tape_host_alloc(tape *t, size_t bytes) {
    void *p = t->status == CLOZE_OK ? arena_alloc(&t->arena, bytes) : NULL;
    if (!p)
        tape_fail(t, CLOZE_ERR_MEMORY, "out of memory for the tape's bookkeeping (%zu bytes)",
                  bytes);
    return p;
}

void *tape_host_copy(tape *t, const void *data, size_t bytes) {
    void *p = tape_host_alloc(t, bytes);
    if (p && bytes) memcpy(p, data, bytes);
    return p;
}

void *tape_step_alloc(tape *t, size_t bytes) {
    if (t->status != CLOZE_OK) return NULL;
    bytes = (bytes + MEM_ALIGN - 1) / MEM_ALIGN * MEM_ALIGN;
    if (bytes > t->step_left) {
        tape_buffer *piece; /* its one reference is the step's: pool_reset takes it back */
        size_t wanted = bytes > STEP_PIECE_BYTES ? bytes : STEP_PIECE_BYTES;
        if (!tape_check(t, pool_acquire(&t->pool, wanted, &piece, &t->error))) return NULL;
        t->step_data = piece->data;
        t->step_left = piece->bytes;
    }
    void *p = t->step_data;
    t->step_data += bytes;
    t->step_left -= bytes;
    return p;
}

void *tape_step_copy(tape *t, const void *host, size_t bytes) {
    void *p = tape_step_alloc(t, bytes);
    if (!p || bytes == 0) return p;
    return TAPE_RUN(t, upload, p, host, bytes) ? p : NULL;
}

const int32_t *tape_upload_i32(tape *t, const int32_t *values, int64_t n) {
    return tape_step_copy(t, values, (size_t)n * sizeof *values);
}

const float *tape_upload_f32(tape *t, const float *values, int64_t n) {
    return tape_step_copy(t, values, (size_t)n * sizeof *values);
}

bool tape_new_tensor(tape *t, int64_t rows, int64_t cols, cloze_dtype dtype, tensor *out,
                     tape_buffer **buffer) {
    *buffer = NULL;
    *out = (tensor){0};
    if (t->status != CLOZE_OK) return false;
    if (rows <= 0 || cols <= 0) {
        tape_fail(t, CLOZE_ERR_INTERNAL, "an op makes an empty value (%lld, %lld)", (long long)rows,
                  (long long)cols);
        return false;
    }
    int64_t capacity = rows == 1 ? 1 : rows_round_up(rows);
    size_t bytes = (size_t)capacity * (size_t)cols * dtype_size(dtype);
    if (!tape_check(t, pool_acquire(&t->pool, bytes, buffer, &t->error))) return false;
    *out = (tensor){(*buffer)->data, rows, capacity, cols, cols, dtype};
    return true;
}

void tape_drop(tape *t, tape_buffer *buffer) { pool_unref(&t->pool, buffer); }

bool tape_zero(tape *t, const tensor *dense) {
    return TAPE_RUN(t, zero, dense->data,
                    (size_t)(dense->rows * dense->ld) * dtype_size(dense->dtype));
}

size_t tape_pool_bytes(const tape *t) { return t->pool.held; }
size_t tape_pool_peak_bytes(const tape *t) { return t->pool.peak; }

/* ---- vars and scopes ---- */

var *tape_new_view(tape *t) {
    var *v = tape_host_alloc(t, sizeof *v);
    if (!v) return NULL;
    v->scope_next = t->scope->vars;
    t->scope->vars = v;
    return v;
}

var *tape_new_var(tape *t, int64_t rows, int64_t cols, cloze_dtype dtype) {
    var *v = tape_new_view(t);
    return v && tape_new_tensor(t, rows, cols, dtype, &v->t, &v->t_buffer) ? v : NULL;
}

void tape_scope_begin(tape *t) {
    tape_scope *scope = tape_host_alloc(t, sizeof *scope);
    if (!scope) return;
    scope->outer = t->scope;
    t->scope = scope;
}

void tape_release(tape *t, var *v) {
    if (!v || t->status != CLOZE_OK) return;
    tape_drop(t, v->t_buffer);
    tape_drop(t, v->low_buffer);
    v->t_buffer = v->low_buffer = NULL;
    v->released = true;
}

void tape_scope_end(tape *t, var *const keep[], int n_keep) {
    if (t->status != CLOZE_OK) return;
    tape_scope *scope = t->scope;
    if (!scope->outer) {
        tape_fail(t, CLOZE_ERR_INTERNAL, "tape_scope_end without tape_scope_begin");
        return;
    }
    t->scope = scope->outer;
    for (var *v = scope->vars, *next; v; v = next) {
        next = v->scope_next;
        bool kept = false;
        for (int i = 0; i < n_keep; i++) kept = kept || keep[i] == v;
        if (kept) {
            v->scope_next = t->scope->vars;
            t->scope->vars = v;
        } else {
            tape_release(t, v);
        }
    }
}

/* ---- values in and out ---- */

var *tape_input(tape *t, const float *values, int64_t rows, int64_t cols) {
    var *v = tape_new_var(t, rows, cols, DTYPE_F32);
    size_t bytes = (size_t)(rows * cols) * sizeof *values;
    return v && TAPE_RUN(t, upload, v->t.data, values, bytes) ? v : NULL;
}

/* A frozen f16 parameter is converted, because activations are f32 or bf16. */
var *tape_param(tape *t, param *p) {
    var *v = tape_new_view(t);
    if (!v) return NULL;
    v->source = p;
    v->requires_grad = param_needs_grad(t, p);
    if (p->w.t.dtype == DTYPE_F16 || (p->w.t.dtype == DTYPE_BF16 && t->compute == DTYPE_F32)) {
        if (!tape_param_f32(t, p, &v->t)) return NULL;
    } else {
        v->t = p->w.t;
    }
    if (v->requires_grad) {
        param_grad_fill(p);
        v->grad = p->grad;
    }
    return tape_result(t, v);
}

/* Downloads x (rows, cols) as dense f32. */
static bool read_tensor(tape *t, const tensor *x, float *out) {
    tensor dense = *x;
    tape_buffer *temp = NULL;
    bool ok = true;
    if (x->dtype != DTYPE_F32 || x->ld != x->cols) {
        ok = tape_new_tensor(t, x->rows, x->cols, DTYPE_F32, &dense, &temp) &&
             TAPE_RUN(t, axpy, 1.0f, x, false, &dense);
    }
    ok = ok && TAPE_RUN(t, download, out, dense.data, (size_t)(x->rows * x->cols) * sizeof *out) &&
         tape_check(t, t->be->sync(t->dev, &t->error));
    tape_drop(t, temp);
    return ok;
}

cloze_status tape_read(tape *t, const var *v, float *out, cloze_error *err) {
    if (tape_use(t, v, "tape_read")) read_tensor(t, &v->t, out);
    return tape_status(t, err);
}

cloze_status tape_read_grad(tape *t, const var *v, float *out, cloze_error *err) {
    if (t->status == CLOZE_OK && !v)
        tape_fail(t, CLOZE_ERR_INTERNAL, "tape_read_grad was given no var");
    if (t->status != CLOZE_OK) return tape_status(t, err);
    if (v->grad.data)
        read_tensor(t, &v->grad, out);
    else
        memset(out, 0, (size_t)(v->t.rows * v->t.cols) * sizeof *out);
    return tape_status(t, err);
}

const backend *tape_backend(const tape *t) { return t->be; }
backend_device *tape_device(const tape *t) { return t->dev; }
cloze_dtype tape_compute_dtype(const tape *t) { return t->compute; }
bool tape_with_grad(const tape *t) { return t->with_grad; }

void *tape_alloc(tape *t, size_t bytes) { return tape_host_alloc(t, bytes); }

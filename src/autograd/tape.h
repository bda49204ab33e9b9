/*
 * The tape: eager, define-by-run, of coarse ops with hand-written backward passes.
 *
 * Errors are sticky: an op that fails poisons the tape and returns NULL, an op given a NULL var
 * returns NULL, and tape_status() tells at the end what happened first. So model code reads as
 * mathematics. One tape belongs to one thread.
 *
 * Memory. Vars and nodes live in the step arena. Activations come from a pool of reference-counted
 * buffers: a var holds one reference and each node that needs a tensor for its backward another.
 * tape_scope_begin/end drop the vars' references of a block, so that without gradients the peak is
 * one block's, and with gradients only what backward needs stays. After the first steps nothing is
 * allocated. What needs no gradient prunes itself: an op records a node only when an input or a
 * parameter requires a gradient, and saves only what that gradient needs.
 */
#ifndef CLOZE_AUTOGRAD_TAPE_H
#define CLOZE_AUTOGRAD_TAPE_H

#include <stdbool.h>

#include "autograd/param.h"
#include "backend/backend.h"

typedef struct tape tape;
typedef struct tape_buffer tape_buffer; /* reference-counted activation memory */
typedef struct row_keys row_keys;       /* dropout keys of a var's rows */

typedef struct var {
    tensor t;    /* the value: f32 or bf16 */
    tensor low;  /* a bf16 copy of an f32 value, for products; data NULL when there is none */
    tensor grad; /* dtype and shape of t; data NULL until the first contribution */
    bool requires_grad;
    bool released;        /* its scope has ended: t may only be read by nodes that saved it */
    bool retain_grad;     /* grad is kept after its node has run */
    bool consumed;        /* its node has run: no gradient may reach it any more */
    const row_keys *keys; /* NULL: the packed batch's keys when it has as many rows */
    param *source;        /* the parameter that it views, or NULL */
    tape_buffer *t_buffer, *low_buffer, *grad_buffer;
    struct var *scope_next;
} var;

typedef struct tape_options {
    const backend *backend;
    backend_device *device;    /* borrowed */
    cloze_dtype compute_dtype; /* DTYPE_F32, or DTYPE_BF16: products, saved activations */
} tape_options;

cloze_status tape_create(const tape_options *options, tape **out, cloze_error *err);
void tape_destroy(tape *t);

/* Forgets the last step's vars and starts one. with_grad false: inference, no node is recorded.
 * dropout_key: seed, step, micro-batch and pass mixed (rng_mix); row_keys (N, host memory, copied)
 * one key a packed row. Dropout is active exactly when row_keys is not NULL, with or without
 * gradients. Gathered, pooled and concatenated rows carry the keys of the rows they come from. */
void tape_begin_step(tape *t, bool with_grad, uint64_t dropout_key, const uint64_t *row_keys,
                     int64_t n_rows);
/* Other dropout keys from here on in this step (rows of another view, gathered rows); NULL = no
 * dropout. Nodes made before keep theirs, also when a checkpointed block runs again. */
void tape_set_row_keys(tape *t, const uint64_t *row_keys, int64_t n_rows);
/* OK, or the first error since tape_begin_step, copied to err. */
cloze_status tape_status(const tape *t, cloze_error *err);
bool tape_failed(const tape *t);
/* Poisons the tape from outside an op (model code that fails between ops); the first error stays.
 * Always NULL, so that `return tape_fail(...)` works where a var is due. */
var *tape_fail(tape *t, cloze_status code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Copies host memory into step memory of the device; valid until the next tape_begin_step. NULL
 * when poisoned. */
const int32_t *tape_upload_i32(tape *t, const int32_t *values, int64_t n);
const float *tape_upload_f32(tape *t, const float *values, int64_t n);
/* Zeroed host memory from the step arena: lives until the next tape_begin_step. NULL poisons the
 * tape. */
void *tape_alloc(tape *t, size_t bytes);
/* A constant var over host data (rows, cols), copied. */
var *tape_input(tape *t, const float *values, int64_t rows, int64_t cols);
/* A var that views a parameter: its gradient goes to the parameter's. */
var *tape_param(tape *t, param *p);
/* Copies v's value as f32 to host memory, dense (rows, cols). */
cloze_status tape_read(tape *t, const var *v, float *out, cloze_error *err);
/* The same for v's gradient; zeros when it received none. Before the next step begins. */
cloze_status tape_read_grad(tape *t, const var *v, float *out, cloze_error *err);
/* Asks that v's gradient be made and kept after backward (tests, explanation): v requires one from
 * now on, also when it is a constant or comes from frozen parameters. Call it before v is used. */
void tape_retain_grad(tape *t, var *v);

/* Frees, at its end, the values of all vars made since begin but `keep` (may be NULL). They nest.
 */
void tape_scope_begin(tape *t);
void tape_scope_end(tape *t, var *const keep[], int n_keep);
/* The same for one var now: its reader is the last (a block's input, once the next block has run).
 * NULL is accepted. */
void tape_release(tape *t, var *v);

/* Runs block(t, ctx, x) without keeping its activations; backward runs it again (gradient
 * checkpointing). ctx must live until backward, and so must vars other than x that the block reads
 * (they may not be of a scope that ends before). Without gradients it is a plain call. */
typedef var *(*tape_block)(tape *t, void *ctx, var *x);
var *tape_checkpoint(tape *t, tape_block block, void *ctx, var *x);

/* Backward from one or several (1,1) roots (their gradient starts at `seeds[i]`, 1 when seeds is
 * NULL): adds to the gradients of parameters. What a node saved is freed once it has run, so a
 * second call in a step must not reach the nodes of the first (that is an error); others it runs.
 */
cloze_status tape_backward(tape *t, var *const roots[], const float *seeds, int n_roots,
                           cloze_error *err);

/* What ops and modules ask of a tape. */
const backend *tape_backend(const tape *t);
backend_device *tape_device(const tape *t);
cloze_dtype tape_compute_dtype(const tape *t);
bool tape_with_grad(const tape *t);
size_t tape_pool_bytes(const tape *t);      /* activation memory held, for reports */
size_t tape_pool_peak_bytes(const tape *t); /* the most of it in use at once since the tape began */

#endif

/*
 * What the files of ops/ share: the tape's inside, and the helpers that keep an op short.
 *
 * An op looks like this:
 *
 *     if (!tape_use(t, x, "op_name")) return NULL;            sticky errors, released vars
 *     var *y = tape_new_var(t, rows, cols, dtype);
 *     if (!y || !TAPE_RUN(t, kernel, ..., &y->t)) return NULL;
 *     y->requires_grad = ...;
 *     op_node *n = tape_node(t, y, backward, sizeof *n);      NULL: no gradient wanted, or poisoned
 *     if (n) { fill n; tape_save(t, &n->base, buffer of every tensor that backward reads); }
 *     return tape_result(t, y);
 *
 * and its backward gets the node, whose out->grad is there, and adds to its inputs' gradients.
 * Invariant: a node's saved tensors are copies of the struct (pointer and shape) with a reference
 * on the buffer, so they outlive the var they came from.
 */
#ifndef CLOZE_AUTOGRAD_NODE_H
#define CLOZE_AUTOGRAD_NODE_H

#include "autograd/ops.h"
#include "autograd/pool.h"
#include "autograd/tape.h"

#define NODE_MAX_SAVED 8

typedef struct node node;
/* false: failed, and the tape is poisoned. */
typedef bool (*node_backward)(tape *t, node *n);
struct node {
    node_backward backward;
    var *out;
    tape_buffer *saved[NODE_MAX_SAVED];
    int n_saved;
    node *older;
};

/* Dropout keys of some rows: the packed batch's, or those gathered from it. */
struct row_keys {
    const uint64_t *host;   /* (n) */
    const uint64_t *device; /* (n) */
    int64_t n;
    const row_keys *batch; /* the packed keys that they were taken from; themselves for those */
};

typedef struct tape_scope {
    var *vars; /* made in it, newest first */
    struct tape_scope *outer;
} tape_scope;

/* A weight made within a step, whose packed copies must go with it. */
typedef struct step_weight {
    weight w;
    struct step_weight *next;
} step_weight;

struct tape {
    const backend *be;
    backend_device *dev;
    cloze_dtype compute;
    arena arena;     /* vars, nodes, host copies */
    pool pool;       /* activations, gradients, uploads */
    char *step_data; /* what is left of the current piece of step memory */
    size_t step_left;
    bool with_grad;
    bool recording; /* with_grad, and not inside a checkpoint's first run */
    uint64_t dropout_key;
    const row_keys *keys; /* of the packed batch; NULL = no dropout */
    node *nodes;          /* newest first */
    tape_scope root_scope, *scope;
    step_weight *weights;
    cloze_status status;
    cloze_error error;
};

/* Notes a failed status (t->error holds the message); true when it is OK. */
bool tape_check(tape *t, cloze_status status);
#define TAPE_RUN(t, kernel, ...)                                                                   \
    tape_check((t), (t)->be->kernel((t)->dev, __VA_ARGS__, &(t)->error))

/* v can be read by op: it is there and its scope has not ended. */
bool tape_use(tape *t, const var *v, const char *op);

/* Memory of the step (host, zeroed). NULL: poisoned. */
void *tape_host_alloc(tape *t, size_t bytes);
void *tape_host_copy(tape *t, const void *data, size_t bytes);
/* Device memory until the next step begins. NULL: poisoned. */
void *tape_step_alloc(tape *t, size_t bytes);
void *tape_step_copy(tape *t, const void *host, size_t bytes);

/* A var of this scope without memory; NULL: poisoned. */
var *tape_new_view(tape *t);
/* A var with its own memory, rows_round_up(rows) rows of it. */
var *tape_new_var(tape *t, int64_t rows, int64_t cols, cloze_dtype dtype);
/* A tensor of the same kind that is no var; the caller ends *buffer with tape_drop. */
bool tape_new_tensor(tape *t, int64_t rows, int64_t cols, cloze_dtype dtype, tensor *out,
                     tape_buffer **buffer);
void tape_drop(tape *t, tape_buffer *buffer);
bool tape_zero(tape *t, const tensor *dense);

/* Whether to ask a kernel for what backward wants of it. True in a checkpoint's first run as well,
 * although nothing is kept there: the second run must take the same path through the kernels. */
bool tape_saves(const tape *t, bool needs_grad);
/* A node of size bytes (its struct begins with a node) for y, which requires a gradient from now on
 * when needs_grad; NULL when none is recorded. */
void *tape_node(tape *t, var *y, bool needs_grad, node_backward backward, size_t size);
/* Keeps buffer (may be NULL: memory that outlives the step) until n has run. */
void tape_save(node *n, tape_buffer *buffer);
/* y, or NULL when something failed on the way. */
var *tape_result(tape *t, var *y);

/* Whether v (may be NULL) or p (may be NULL) takes part in gradients. */
bool var_needs_grad(const var *v);
/* Fails the tape when p asks for a gradient that has no place. */
bool param_needs_grad(tape *t, const param *p);

/* The gradient of v, made on first use; *accumulate tells whether it holds something already. */
tensor *tape_grad(tape *t, var *v, bool *accumulate);
/* The gradient of v, zeros on first use: for kernels that only add. */
tensor *tape_grad_zeroed(tape *t, var *v);
/* v's gradient += alpha * g, converting. */
bool tape_grad_add(tape *t, var *v, float alpha, const tensor *g);
/* The same from out's gradient, whose memory v may take over: out's node must not read it after. */
bool tape_grad_pass(tape *t, var *out, var *v);

/* Where a kernel that overwrites puts v's gradient: v's own on first use, else a temporary that
 * close adds. t.data is NULL when v (may be NULL) needs none. */
typedef struct grad_slot {
    tensor t;
    tape_buffer *temp;
} grad_slot;
bool tape_grad_open(tape *t, var *v, cloze_dtype dtype, grad_slot *slot);
bool tape_grad_close(tape *t, var *v, grad_slot *slot);
/* slot's tensor, or NULL: as kernels want it. */
static inline tensor *grad_slot_tensor(grad_slot *slot) { return slot->t.data ? &slot->t : NULL; }

/* x as a product reads it: f32 in f32 mode, in bf16 mode its bf16 value (kept as x->low). */
bool tape_operand(tape *t, var *x, tensor *out, tape_buffer **buffer);
/* A parameter's value as f32 (a bf16 or f16 one is converted for the step). */
bool tape_param_f32(tape *t, const param *p, tensor *out);
/* The active dropout for rows like v's, or NULL in *out. */
bool tape_dropout(tape *t, const var *v, float p, uint64_t site, const dropout_spec **out);
/* The keys of v's rows, whatever they are; NULL when no dropout is active. false: poisoned. */
bool tape_keys(tape *t, const var *v, const row_keys **out);
bool tape_keys_make(tape *t, const uint64_t *host, int64_t n, const row_keys **out);

/* Products of a linear's backward: from dy (N,M) to dx, dw and dbias. x is read only for dw. */
typedef struct linear_grads {
    weight *w;
    const tensor *x;     /* (N,K), or NULL when dw is */
    cloze_dtype operand; /* dtype of the forward's operand: dy is cast to it */
    var *x_var;          /* gets dx when it requires a gradient */
    tensor *dw, *dbias;  /* NULL: frozen */
    bool dw_accumulate;  /* add to dw: else it is overwritten */
} linear_grads;
bool tape_linear_grads(tape *t, const linear_grads *g, const tensor *dy);

/* p's gradient as kernels take it, noting the rows that it reaches (all): NULL when frozen. */
tensor *param_grad_all(param *p);
/* The same for a kernel that can overwrite, and must when *accumulate is false. */
tensor *param_grad_overwritable(param *p, bool *accumulate);

#endif

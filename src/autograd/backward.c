/* Nodes and gradients: recording, accumulation, the backward sweep, and gradient checkpointing. */
#include <string.h>

#include "autograd/node.h"

/* ---- recording ---- */

bool tape_saves(const tape *t, bool needs_grad) { return t->with_grad && needs_grad; }

void *tape_node(tape *t, var *y, bool needs_grad, node_backward backward, size_t size) {
    y->requires_grad = t->with_grad && needs_grad;
    if (!t->recording || !needs_grad) return NULL;
    node *n = tape_host_alloc(t, size);
    if (!n) return NULL;
    n->backward = backward;
    n->out = y;
    n->older = t->nodes;
    t->nodes = n;
    return n;
}

void tape_save(node *n, tape_buffer *buffer) {
    if (!buffer) return;
    pool_ref(buffer);
    n->saved[n->n_saved++] = buffer; /* no op saves more than NODE_MAX_SAVED */
}

var *tape_result(tape *t, var *y) { return t->status == CLOZE_OK ? y : NULL; }

bool var_needs_grad(const var *v) { return v && v->requires_grad; }

bool param_needs_grad(tape *t, const param *p) {
    if (!p || !p->requires_grad || !t->with_grad) return false;
    if (!p->grad.data)
        tape_fail(t, CLOZE_ERR_INTERNAL, "%s requires a gradient but is in no parameter block",
                  p->name ? p->name : "a parameter");
    return p->grad.data != NULL;
}

tensor *param_grad_all(param *p) {
    if (!p || !p->requires_grad || !p->grad.data) return NULL;
    param_grad_fill(p);
    param_touch_all(p);
    return &p->grad;
}

tensor *param_grad_overwritable(param *p, bool *accumulate) {
    *accumulate = true;
    if (p && p->requires_grad && p->grad_empty) {
        *accumulate = false;
        p->grad_empty = false; /* so that param_grad_all does not fill it */
    }
    return param_grad_all(p);
}

void tape_retain_grad(tape *t, var *v) {
    if (!v || t->status != CLOZE_OK) return;
    v->requires_grad = v->requires_grad || t->with_grad;
    v->retain_grad = true;
}

/* ---- gradients of vars ---- */

tensor *tape_grad(tape *t, var *v, bool *accumulate) {
    if (t->status != CLOZE_OK) return NULL;
    if (v->consumed) {
        tape_fail(t, CLOZE_ERR_INTERNAL,
                  "a gradient reaches a (%lld, %lld) value that backward has passed already",
                  (long long)v->t.rows, (long long)v->t.cols);
        return NULL;
    }
    *accumulate = v->grad.data != NULL;
    if (v->source && v->grad.data) param_touch_all(v->source);
    if (v->grad.data) return &v->grad;
    return tape_new_tensor(t, v->t.rows, v->t.cols, v->t.dtype, &v->grad, &v->grad_buffer)
               ? &v->grad
               : NULL;
}

tensor *tape_grad_zeroed(tape *t, var *v) {
    bool accumulate;
    tensor *g = tape_grad(t, v, &accumulate);
    return g && (accumulate || tape_zero(t, g)) ? g : NULL;
}

bool tape_grad_add(tape *t, var *v, float alpha, const tensor *g) {
    bool accumulate;
    tensor *sum = tape_grad(t, v, &accumulate);
    return sum && TAPE_RUN(t, axpy, alpha, g, accumulate, sum);
}

bool tape_grad_pass(tape *t, var *out, var *v) {
    bool movable = !v->grad.data && !v->consumed && !out->retain_grad && out->grad_buffer &&
                   out->grad.dtype == v->t.dtype && out->grad.ld == v->t.cols;
    if (!movable) return tape_grad_add(t, v, 1.0f, &out->grad);
    v->grad = out->grad;
    v->grad_buffer = out->grad_buffer;
    out->grad = (tensor){0};
    out->grad_buffer = NULL;
    return true;
}

bool tape_grad_open(tape *t, var *v, cloze_dtype dtype, grad_slot *slot) {
    *slot = (grad_slot){0};
    if (!var_needs_grad(v)) return true;
    if (v->grad.data || v->t.dtype != dtype)
        return tape_new_tensor(t, v->t.rows, v->t.cols, dtype, &slot->t, &slot->temp);
    bool accumulate;
    if (!tape_grad(t, v, &accumulate)) return false;
    slot->t = v->grad;
    return true;
}

bool tape_grad_close(tape *t, var *v, grad_slot *slot) {
    if (!slot->temp) return true;
    bool ok = tape_grad_add(t, v, 1.0f, &slot->t);
    tape_drop(t, slot->temp);
    return ok;
}

/* ---- the sweep ---- */

static void grad_release(tape *t, var *v) {
    if (v->retain_grad || v->source) return;
    tape_drop(t, v->grad_buffer);
    v->grad = (tensor){0};
    v->grad_buffer = NULL;
}

/* Runs the nodes whose output has a gradient, newest first, and unlinks them. */
static bool run_nodes(tape *t) {
    node **link = &t->nodes;
    while (*link) {
        node *n = *link;
        if (!n->out->grad.data) { /* not reached: another backward may still want it */
            link = &n->older;
            continue;
        }
        if (!n->backward(t, n)) return false;
        n->out->consumed = true;
        grad_release(t, n->out);
        for (int i = 0; i < n->n_saved; i++) tape_drop(t, n->saved[i]);
        *link = n->older;
    }
    return true;
}

/* root's gradient += seed */
static bool root_seed(tape *t, var *root, float seed) {
    if (!tape_use(t, root, "tape_backward")) return false;
    if (root->t.rows != 1 || root->t.cols != 1) {
        tape_fail(t, CLOZE_ERR_INTERNAL, "backward starts at (1, 1) values, not at (%lld, %lld)",
                  (long long)root->t.rows, (long long)root->t.cols);
        return false;
    }
    if (!root->requires_grad) return true;
    void *data = tape_step_copy(t, &seed, sizeof seed);
    if (!data) return false;
    tensor start = tensor_of(data, DTYPE_F32, 1, 1);
    return tape_grad_add(t, root, 1.0f, &start);
}

cloze_status tape_backward(tape *t, var *const roots[], const float *seeds, int n_roots,
                           cloze_error *err) {
    if (t->status == CLOZE_OK && !t->with_grad)
        tape_fail(t, CLOZE_ERR_INTERNAL, "backward in a step that was begun without gradients");
    backend_mark(t->be, t->dev, PHASE_BACKWARD);
    bool ok = t->status == CLOZE_OK;
    for (int i = 0; ok && i < n_roots; i++) ok = root_seed(t, roots[i], seeds ? seeds[i] : 1.0f);
    if (ok) run_nodes(t);
    return tape_status(t, err);
}

/* ---- gradient checkpointing ---- */

typedef struct checkpoint_node {
    node base;
    tape_block block;
    void *ctx;
    var *x;
    tensor t, low;        /* of x, as they were */
    const row_keys *keys; /* of the batch, then */
} checkpoint_node;

static void grad_move(var *from, var *to) {
    to->grad = from->grad;
    to->grad_buffer = from->grad_buffer;
    from->grad = (tensor){0};
    from->grad_buffer = NULL;
}

/* Records block(x) again on a list of its own and sweeps it. The copy of x takes x's gradient
 * along, so that contributions are added in the order that they have without a checkpoint. */
static bool checkpoint_backward(tape *t, node *base) {
    checkpoint_node *n = (checkpoint_node *)base;
    tape_scope_begin(t);
    var *x = tape_new_view(t);
    if (!x) return false;
    var *next = x->scope_next;
    *x = *n->x;
    x->scope_next = next;
    x->t = n->t;
    x->low = n->low;
    x->released = x->consumed = x->retain_grad = false;
    x->t_buffer = x->low_buffer = NULL; /* the node's references keep both alive */
    if (n->x->consumed && x->requires_grad) {
        bool accumulate;
        return tape_grad(t, n->x, &accumulate) != NULL; /* says why not */
    }
    if (!n->x->source) grad_move(n->x, x);

    node *outer = t->nodes;
    const row_keys *keys = t->keys;
    t->nodes = NULL;
    t->keys = n->keys;
    var *y = n->block(t, n->ctx, x);
    bool ok = tape_use(t, y, "tape_checkpoint");
    if (ok && y->requires_grad) {
        if (base->out->retain_grad)
            ok = tape_grad_add(t, y, 1.0f, &base->out->grad);
        else
            grad_move(base->out, y);
        ok = ok && run_nodes(t);
    }
    t->nodes = outer;
    t->keys = keys;
    if (!n->x->source) grad_move(x, n->x);
    tape_scope_end(t, NULL, 0);
    return ok;
}

var *tape_checkpoint(tape *t, tape_block block, void *ctx, var *x) {
    if (!tape_use(t, x, "tape_checkpoint")) return NULL;
    if (!t->recording) return block(t, ctx, x);
    const row_keys *keys = t->keys;
    tape_scope_begin(t);
    t->recording = false;
    var *y = block(t, ctx, x);
    t->recording = true;
    bool made_here = false;
    for (var *v = t->scope->vars; v && !made_here; v = v->scope_next) made_here = v == y;
    tape_scope_end(t, &y, 1);
    if (!tape_use(t, y, "tape_checkpoint")) return NULL;
    if (!made_here) return y; /* the block returned what it was given */
    checkpoint_node *n = tape_node(t, y, y->requires_grad, checkpoint_backward, sizeof *n);
    if (n) {
        n->block = block;
        n->ctx = ctx;
        n->x = x;
        n->t = x->t;
        n->low = x->low;
        n->keys = keys;
        tape_save(&n->base, x->t_buffer);
        tape_save(&n->base, x->low_buffer);
    }
    return tape_result(t, y);
}

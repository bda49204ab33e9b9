/* Ops that treat elements one by one: activation, dropout, add, scale, mul, gated linear unit,
 * rope. */
#include "autograd/node.h"

static bool same_shape(tape *t, const var *a, const var *b, const char *op) {
    if (a->t.rows == b->t.rows && a->t.cols == b->t.cols) return true;
    tape_fail(t, CLOZE_ERR_INTERNAL, "%s: (%lld, %lld) and (%lld, %lld) do not match", op,
              (long long)a->t.rows, (long long)a->t.cols, (long long)b->t.rows,
              (long long)b->t.cols);
    return false;
}

static cloze_dtype wider(const var *a, const var *b) {
    return a->t.dtype == b->t.dtype ? a->t.dtype : DTYPE_F32;
}

/* ---- activation ---- */

typedef struct activation_node {
    node base;
    var *x;
    tensor saved; /* x */
    activation act;
} activation_node;

/* y = act(x)  =>  dx = act'(x) dy */
static bool activation_backward(tape *t, node *base) {
    activation_node *n = (activation_node *)base;
    bool accumulate;
    tensor *dx = tape_grad(t, n->x, &accumulate);
    return dx &&
           TAPE_RUN(t, activation_backward, n->act, &n->saved, &base->out->grad, accumulate, dx);
}

var *op_activation(tape *t, var *x, activation act) {
    if (!tape_use(t, x, "op_activation")) return NULL;
    if (act == ACT_NONE) return x;
    var *y = tape_new_var(t, x->t.rows, x->t.cols, x->t.dtype);
    if (!y || !TAPE_RUN(t, activation_forward, act, &x->t, &y->t)) return NULL;
    y->keys = x->keys;
    activation_node *n = tape_node(t, y, x->requires_grad, activation_backward, sizeof *n);
    if (n) {
        n->x = x;
        n->saved = x->t;
        n->act = act;
        tape_save(&n->base, x->t_buffer);
    }
    return tape_result(t, y);
}

/* ---- dropout ---- */

typedef struct dropout_node {
    node base;
    var *x;
    const dropout_spec *spec;
} dropout_node;

/* y = keep x / (1-p)  =>  dx = keep dy / (1-p): the mask comes from the key again */
static bool dropout_backward(tape *t, node *base) {
    dropout_node *n = (dropout_node *)base;
    bool accumulate;
    tensor *dx = tape_grad(t, n->x, &accumulate);
    return dx && TAPE_RUN(t, dropout, &base->out->grad, n->spec, accumulate, dx, NULL);
}

var *op_dropout(tape *t, var *x, float p, uint64_t site) {
    const dropout_spec *spec;
    if (!tape_use(t, x, "op_dropout") || !tape_dropout(t, x, p, site, &spec)) return NULL;
    if (!spec) return x;
    var *y = tape_new_var(t, x->t.rows, x->t.cols, x->t.dtype);
    if (!y) return NULL;
    bool low = t->compute == DTYPE_BF16 && x->t.dtype == DTYPE_F32;
    if (low && !tape_new_tensor(t, x->t.rows, x->t.cols, DTYPE_BF16, &y->low, &y->low_buffer))
        return NULL;
    if (!TAPE_RUN(t, dropout, &x->t, spec, false, &y->t, low ? &y->low : NULL)) return NULL;
    y->keys = x->keys;
    dropout_node *n = tape_node(t, y, x->requires_grad, dropout_backward, sizeof *n);
    if (n) {
        n->x = x;
        n->spec = spec;
    }
    return tape_result(t, y);
}

/* ---- add, scale ---- */

typedef struct add_node {
    node base;
    var *a, *b; /* b NULL: scale */
    float alpha;
} add_node;

/* y = a + b  =>  da = dy, db = dy; the last of them takes dy's memory over */
static bool add_backward(tape *t, node *base) {
    add_node *n = (add_node *)base;
    bool da = var_needs_grad(n->a), db = var_needs_grad(n->b);
    if (db && da && !tape_grad_add(t, n->b, 1.0f, &base->out->grad)) return false;
    return tape_grad_pass(t, base->out, da ? n->a : n->b);
}

var *op_add(tape *t, var *a, var *b) {
    if (!tape_use(t, a, "op_add") || !tape_use(t, b, "op_add") || !same_shape(t, a, b, "op_add"))
        return NULL;
    var *y = tape_new_var(t, a->t.rows, a->t.cols, wider(a, b));
    if (!y || !TAPE_RUN(t, axpy, 1.0f, &a->t, false, &y->t) ||
        !TAPE_RUN(t, axpy, 1.0f, &b->t, true, &y->t))
        return NULL;
    y->keys = a->keys ? a->keys : b->keys;
    add_node *n = tape_node(t, y, a->requires_grad || b->requires_grad, add_backward, sizeof *n);
    if (n) {
        n->a = a;
        n->b = b;
    }
    return tape_result(t, y);
}

/* y = alpha x  =>  dx = alpha dy */
static bool scale_backward(tape *t, node *base) {
    add_node *n = (add_node *)base;
    return tape_grad_add(t, n->a, n->alpha, &base->out->grad);
}

var *op_scale(tape *t, var *x, float alpha) {
    if (!tape_use(t, x, "op_scale")) return NULL;
    var *y = tape_new_var(t, x->t.rows, x->t.cols, x->t.dtype);
    if (!y || !TAPE_RUN(t, axpy, alpha, &x->t, false, &y->t)) return NULL;
    y->keys = x->keys;
    add_node *n = tape_node(t, y, x->requires_grad, scale_backward, sizeof *n);
    if (n) {
        n->a = x;
        n->alpha = alpha;
    }
    return tape_result(t, y);
}

/* ---- mul ---- */

typedef struct mul_node {
    node base;
    var *a, *b;
    tensor saved_a, saved_b; /* kept where the other factor needs a gradient */
} mul_node;

/* y_rc = a_rc b_c  =>  db_c = sum_r dy_rc a_rc */
static bool mul_backward_row(tape *t, mul_node *n, const tensor *dy) {
    tensor product, sum;
    tape_buffer *product_buffer, *sum_buffer = NULL;
    bool ok = tape_new_tensor(t, dy->rows, dy->cols, DTYPE_F32, &product, &product_buffer) &&
              tape_new_tensor(t, 1, dy->cols, DTYPE_F32, &sum, &sum_buffer) && tape_zero(t, &sum) &&
              TAPE_RUN(t, mul, dy, &n->saved_a, false, &product) &&
              TAPE_RUN(t, sum_rows, &product, &sum) && tape_grad_add(t, n->b, 1.0f, &sum);
    tape_drop(t, product_buffer);
    tape_drop(t, sum_buffer);
    return ok;
}

/* y = a b  =>  da = dy b, db = dy a */
static bool mul_backward(tape *t, node *base) {
    mul_node *n = (mul_node *)base;
    const tensor *dy = &base->out->grad;
    bool accumulate;
    if (var_needs_grad(n->a)) {
        tensor *da = tape_grad(t, n->a, &accumulate);
        if (!da || !TAPE_RUN(t, mul, dy, &n->saved_b, accumulate, da)) return false;
    }
    if (!var_needs_grad(n->b)) return true;
    if (n->b->t.rows != dy->rows) return mul_backward_row(t, n, dy);
    tensor *db = tape_grad(t, n->b, &accumulate);
    return db && TAPE_RUN(t, mul, dy, &n->saved_a, accumulate, db);
}

var *op_mul(tape *t, var *a, var *b) {
    if (!tape_use(t, a, "op_mul") || !tape_use(t, b, "op_mul")) return NULL;
    bool broadcast = b->t.rows == 1 && b->t.cols == a->t.cols;
    if (!broadcast && !same_shape(t, a, b, "op_mul")) return NULL;
    var *y = tape_new_var(t, a->t.rows, a->t.cols, wider(a, b));
    if (!y || !TAPE_RUN(t, mul, &a->t, &b->t, false, &y->t)) return NULL;
    y->keys = a->keys;
    mul_node *n = tape_node(t, y, a->requires_grad || b->requires_grad, mul_backward, sizeof *n);
    if (n) {
        *n = (mul_node){n->base, a, b, a->t, b->t};
        if (b->requires_grad) tape_save(&n->base, a->t_buffer);
        if (a->requires_grad) tape_save(&n->base, b->t_buffer);
    }
    return tape_result(t, y);
}

/* ---- gated linear unit ---- */

/* y = act(x1) x2 for x = [x1 x2]: the kernel gives both halves of dx */
static bool glu_backward(tape *t, node *base) {
    activation_node *n = (activation_node *)base;
    grad_slot dx;
    return tape_grad_open(t, n->x, n->x->t.dtype, &dx) &&
           TAPE_RUN(t, glu_backward, n->act, &n->saved, &base->out->grad, &dx.t) &&
           tape_grad_close(t, n->x, &dx);
}

var *op_glu(tape *t, var *x, activation act) {
    if (!tape_use(t, x, "op_glu")) return NULL;
    if (x->t.cols % 2 != 0)
        return tape_fail(t, CLOZE_ERR_INTERNAL, "op_glu halves %lld columns", (long long)x->t.cols);
    var *y = tape_new_var(t, x->t.rows, x->t.cols / 2, x->t.dtype);
    if (!y || !TAPE_RUN(t, glu_forward, act, &x->t, &y->t)) return NULL;
    y->keys = x->keys;
    activation_node *n = tape_node(t, y, x->requires_grad, glu_backward, sizeof *n);
    if (n) {
        n->x = x;
        n->saved = x->t;
        n->act = act;
        tape_save(&n->base, x->t_buffer);
    }
    return tape_result(t, y);
}

/* ---- rotary position embedding ---- */

typedef struct rope_node {
    node base;
    var *x;
    const int32_t *positions; /* (N) device */
    int32_t n_heads, rotary_dim;
    float freq_base;
    bool interleaved;
} rope_node;

/* y = R x with R orthogonal  =>  dx = R^T dy, the inverse rotation */
static bool rope_backward(tape *t, node *base) {
    rope_node *n = (rope_node *)base;
    grad_slot dx;
    return tape_grad_open(t, n->x, n->x->t.dtype, &dx) &&
           TAPE_RUN(t, rope, &base->out->grad, n->positions, n->n_heads, n->rotary_dim,
                    n->freq_base, n->interleaved, true, &dx.t) &&
           tape_grad_close(t, n->x, &dx);
}

var *op_rope(tape *t, var *x, const int32_t *positions, int32_t n_heads, int32_t rotary_dim,
             float base, bool interleaved) {
    if (!tape_use(t, x, "op_rope")) return NULL;
    if (n_heads <= 0 || x->t.cols % n_heads != 0 || rotary_dim % 2 != 0 ||
        rotary_dim > x->t.cols / n_heads)
        return tape_fail(t, CLOZE_ERR_INTERNAL,
                         "op_rope: %d heads of %d rotary columns do not fit %lld columns",
                         (int)n_heads, (int)rotary_dim, (long long)x->t.cols);
    const int32_t *device_positions = tape_upload_i32(t, positions, x->t.rows);
    var *y = tape_new_var(t, x->t.rows, x->t.cols, x->t.dtype);
    if (!y || !TAPE_RUN(t, rope, &x->t, device_positions, n_heads, rotary_dim, base, interleaved,
                        false, &y->t))
        return NULL;
    y->keys = x->keys;
    rope_node *n = tape_node(t, y, x->requires_grad, rope_backward, sizeof *n);
    if (n) *n = (rope_node){n->base, x, device_positions, n_heads, rotary_dim, base, interleaved};
    return tape_result(t, y);
}

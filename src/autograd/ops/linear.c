/*
 * The matrix products: y = act(x W^T + bias), and their backward, which op_linear_rows and op_lstm
 * share. In bf16 mode the operands are bf16; logits come out as f32 all the same.
 */
#include "autograd/node.h"

typedef struct linear_node {
    node base;
    var *x;
    param *w, *bias;
    tensor operand; /* (N,K) what the product read; kept only for dw */
    tensor pre;     /* (N,M) before the activation; kept only with one */
    activation act;
} linear_node;

/* y = x W^T + b  =>  dx = dy W, dw = dy^T x, db = sum of dy's rows */
bool tape_linear_grads(tape *t, const linear_grads *g, const tensor *dy) {
    tensor d = *dy; /* (N,M) */
    tape_buffer *cast = NULL;
    bool ok = true;
    if (d.dtype != g->operand) { /* both factors of a product have one type */
        ok = tape_new_tensor(t, d.rows, d.cols, g->operand, &d, &cast) &&
             TAPE_RUN(t, axpy, 1.0f, dy, false, &d);
    }
    if (ok && g->dw) {
        tensor x = *g->x;
        ok = TAPE_RUN(t, linear_backward_weight, &d, &x, g->dw_accumulate, g->dw, g->dbias);
    } else if (ok && g->dbias) {
        ok = TAPE_RUN(t, sum_rows, dy, g->dbias);
    }
    if (ok && var_needs_grad(g->x_var)) {
        bool accumulate;
        tensor *dx = tape_grad(t, g->x_var, &accumulate);
        ok = dx && TAPE_RUN(t, linear_backward_input, &d, g->w, accumulate, dx);
    }
    tape_drop(t, cast);
    return ok;
}

static bool linear_backward(tape *t, node *base) {
    linear_node *n = (linear_node *)base;
    tensor dpre = base->out->grad; /* (N,M) */
    tape_buffer *temp = NULL;
    /* y = act(pre)  =>  dpre = act'(pre) dy, in dy's own place unless somebody else reads that */
    if (n->act != ACT_NONE) {
        bool shared = base->out->retain_grad || base->out->grad_buffer->refs > 1;
        if (shared && !tape_new_tensor(t, dpre.rows, dpre.cols, dpre.dtype, &dpre, &temp))
            return false;
        if (!TAPE_RUN(t, activation_backward, n->act, &n->pre, &base->out->grad, false, &dpre))
            return false;
    }
    linear_grads g = {
        .w = &n->w->w,
        .x = &n->operand,
        .operand = n->operand.dtype,
        .x_var = n->x,
        .dbias = param_grad_all(n->bias),
    };
    g.dw = param_grad_overwritable(n->w, &g.dw_accumulate);
    bool ok = tape_linear_grads(t, &g, &dpre);
    tape_drop(t, temp);
    return ok;
}

static bool check_shapes(tape *t, const var *x, const param *w, const param *bias) {
    if (x->t.cols == w->w.t.cols && (!bias || bias->w.t.rows * bias->w.t.cols == w->w.t.rows))
        return true;
    tape_fail(t, CLOZE_ERR_INTERNAL,
              "%s (%lld, %lld) does not fit an input of %lld columns and its bias",
              w->name ? w->name : "a weight", (long long)w->w.t.rows, (long long)w->w.t.cols,
              (long long)x->t.cols);
    return false;
}

/* exact: the product in f32 in both precisions. */
static var *linear(tape *t, var *x, param *w, param *bias, activation act, cloze_dtype out_dtype,
                   bool exact) {
    if (!tape_use(t, x, "op_linear") || !check_shapes(t, x, w, bias)) return NULL;
    tensor operand, b = {0}, pre = {0};
    tape_buffer *operand_buffer = x->t_buffer, *pre_buffer = NULL;
    operand = x->t;
    bool as_it_is = exact && x->t.dtype == DTYPE_F32;
    if (!as_it_is && !tape_operand(t, x, &operand, &operand_buffer)) return NULL;
    if (bias && !tape_param_f32(t, bias, &b)) return NULL;
    bool dw = param_needs_grad(t, w), db = param_needs_grad(t, bias);
    bool needs = dw || db || var_needs_grad(x);
    int64_t rows = x->t.rows, cols = w->w.t.rows;
    if (act != ACT_NONE && tape_saves(t, needs) &&
        !tape_new_tensor(t, rows, cols, out_dtype, &pre, &pre_buffer))
        return NULL;
    var *y = tape_new_var(t, rows, cols, out_dtype);
    if (!y || !TAPE_RUN(t, linear_forward, &operand, &w->w, bias ? &b : NULL, act,
                        pre.data ? &pre : NULL, &y->t))
        return NULL;
    y->keys = x->keys;
    linear_node *n = tape_node(t, y, needs, linear_backward, sizeof *n);
    if (n) {
        n->x = x;
        n->w = w;
        n->bias = bias;
        n->operand = operand;
        n->pre = pre;
        n->act = act;
        if (dw) tape_save(&n->base, operand_buffer);
        tape_save(&n->base, pre_buffer);
    }
    tape_drop(t, pre_buffer);
    return tape_result(t, y);
}

var *op_linear(tape *t, var *x, param *w, param *bias, activation act) {
    return linear(t, x, w, bias, act, t->compute, false);
}

var *op_linear_logits(tape *t, var *x, param *w, param *bias) {
    return linear(t, x, w, bias, ACT_NONE, DTYPE_F32, false);
}

var *op_linear_exact(tape *t, var *x, param *w, param *bias) {
    return linear(t, x, w, bias, ACT_NONE, DTYPE_F32, true);
}

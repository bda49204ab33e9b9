/* Reshape: the same dense numbers under another shape, without a copy of the value. */
#include "autograd/node.h"

typedef struct reshape_node {
    node base;
    var *x;
} reshape_node;

/* y = x, row by row  =>  dx = dy, row by row */
static bool reshape_backward(tape *t, node *base) {
    reshape_node *n = (reshape_node *)base;
    tensor dy = base->out->grad; /* dense: made for a dense var */
    tensor as_x = tensor_of(dy.data, dy.dtype, n->x->t.rows, n->x->t.cols);
    return tape_grad_add(t, n->x, 1.0f, &as_x);
}

var *op_reshape(tape *t, var *x, int64_t rows, int64_t cols) {
    if (!tape_use(t, x, "op_reshape")) return NULL;
    if (x->t.ld != x->t.cols || rows * cols != x->t.rows * x->t.cols)
        return tape_fail(t, CLOZE_ERR_INTERNAL,
                         "op_reshape: (%lld, %lld) of row stride %lld cannot become (%lld, %lld)",
                         (long long)x->t.rows, (long long)x->t.cols, (long long)x->t.ld,
                         (long long)rows, (long long)cols);
    var *y = tape_new_view(t);
    if (!y) return NULL;
    y->t = tensor_of(x->t.data, x->t.dtype, rows, cols);
    y->t.rows_capacity = x->t.rows_capacity * x->t.cols / cols;
    y->t_buffer = x->t_buffer;
    pool_ref(y->t_buffer);
    reshape_node *n = tape_node(t, y, x->requires_grad, reshape_backward, sizeof *n);
    if (n) n->x = x;
    return tape_result(t, y);
}

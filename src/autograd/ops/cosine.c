/* Cosine of every row of a with every row of b: prototypes and similarity verbalizers. f32 result.
 */
#include "autograd/node.h"

typedef struct cosine_node {
    node base;
    var *a, *b;
    tensor saved_a, saved_b, y; /* (R,H), (Q,H), (R,Q) */
    float eps;
} cosine_node;

/* y_rq = <a_r, b_q> / (|a_r| |b_q|)  =>  da_r = sum_q dy_rq (b_q/|b_q| - y_rq a_r/|a_r|) / |a_r| */
static bool cosine_backward(tape *t, node *base) {
    cosine_node *n = (cosine_node *)base;
    grad_slot da, db;
    if (!tape_grad_open(t, n->a, n->a->t.dtype, &da) ||
        !tape_grad_open(t, n->b, n->b->t.dtype, &db))
        return false;
    return TAPE_RUN(t, cosine_backward, &n->saved_a, &n->saved_b, n->eps, &n->y, &base->out->grad,
                    grad_slot_tensor(&da), grad_slot_tensor(&db)) &&
           tape_grad_close(t, n->a, &da) && tape_grad_close(t, n->b, &db);
}

var *op_cosine(tape *t, var *a, var *b, float eps) {
    if (!tape_use(t, a, "op_cosine") || !tape_use(t, b, "op_cosine")) return NULL;
    if (a->t.cols != b->t.cols)
        return tape_fail(t, CLOZE_ERR_INTERNAL, "op_cosine: rows of %lld and %lld numbers",
                         (long long)a->t.cols, (long long)b->t.cols);
    var *y = tape_new_var(t, a->t.rows, b->t.rows, DTYPE_F32);
    if (!y || !TAPE_RUN(t, cosine_forward, &a->t, &b->t, eps, &y->t)) return NULL;
    y->keys = a->keys;
    cosine_node *n =
        tape_node(t, y, a->requires_grad || b->requires_grad, cosine_backward, sizeof *n);
    if (n) {
        *n = (cosine_node){n->base, a, b, a->t, b->t, y->t, eps};
        tape_save(&n->base, a->t_buffer);
        tape_save(&n->base, b->t_buffer);
        tape_save(&n->base, y->t_buffer);
    }
    return tape_result(t, y);
}

/* log_softmax over all columns, and log-sum-exp over groups of columns. Results are f32. */
#include "autograd/node.h"

typedef struct softmax_node {
    node base;
    var *x;
    tensor x_saved, y_saved;
    const int32_t *groups; /* (G+1) device */
} softmax_node;

/* y = x - log sum exp x  =>  dx = dy - exp(y) sum(dy) */
static bool log_softmax_backward(tape *t, node *base) {
    softmax_node *n = (softmax_node *)base;
    bool accumulate;
    tensor *dx = tape_grad(t, n->x, &accumulate);
    return dx && TAPE_RUN(t, log_softmax_backward, &n->y_saved, &base->out->grad, accumulate, dx);
}

var *op_log_softmax(tape *t, var *x) {
    if (!tape_use(t, x, "op_log_softmax")) return NULL;
    var *y = tape_new_var(t, x->t.rows, x->t.cols, DTYPE_F32);
    if (!y || !TAPE_RUN(t, log_softmax_forward, &x->t, &y->t)) return NULL;
    y->keys = x->keys;
    softmax_node *n = tape_node(t, y, x->requires_grad, log_softmax_backward, sizeof *n);
    if (n) {
        n->x = x;
        n->y_saved = y->t;
        tape_save(&n->base, y->t_buffer);
    }
    return tape_result(t, y);
}

/* y_g = log sum over group g of exp(x_c)  =>  dx_c = dy_g exp(x_c - y_g) */
static bool logsumexp_backward(tape *t, node *base) {
    softmax_node *n = (softmax_node *)base;
    bool accumulate;
    tensor *dx = tape_grad(t, n->x, &accumulate);
    return dx && TAPE_RUN(t, logsumexp_backward, &n->x_saved, &n->y_saved, n->groups,
                          &base->out->grad, accumulate, dx);
}

var *op_logsumexp(tape *t, var *x, const int32_t *groups, int32_t n_groups) {
    if (!tape_use(t, x, "op_logsumexp")) return NULL;
    bool good = n_groups > 0 && groups[0] == 0 && groups[n_groups] == x->t.cols;
    for (int32_t g = 0; good && g < n_groups; g++) good = groups[g] < groups[g + 1];
    if (!good)
        return tape_fail(t, CLOZE_ERR_INTERNAL, "op_logsumexp: groups do not divide %lld columns",
                         (long long)x->t.cols);
    const int32_t *device_groups = tape_upload_i32(t, groups, n_groups + 1);
    var *y = tape_new_var(t, x->t.rows, n_groups, DTYPE_F32);
    if (!y || !TAPE_RUN(t, logsumexp_forward, &x->t, device_groups, &y->t)) return NULL;
    y->keys = x->keys;
    softmax_node *n = tape_node(t, y, x->requires_grad, logsumexp_backward, sizeof *n);
    if (n) {
        *n = (softmax_node){n->base, x, x->t, y->t, device_groups};
        tape_save(&n->base, x->t_buffer);
        tape_save(&n->base, y->t_buffer);
    }
    return tape_result(t, y);
}

/* Losses, (1,1) f32 each: cross-entropy (hard and soft labels), binary cross-entropy, KL, and sum.
 */
#include "autograd/node.h"

/* ---- cross-entropy ---- */

typedef struct cross_entropy_node {
    node base;
    var *logits;
    tensor saved, lse;  /* (R,C), (R,1) */
    tensor soft_labels; /* (R,C) */
    cross_entropy_spec spec;
} cross_entropy_node;

/* loss = scale sum_r (lse_r - <q_r, logits_r>)  =>  dlogits = dloss scale (softmax - q) */
static bool cross_entropy_backward(tape *t, node *base) {
    cross_entropy_node *n = (cross_entropy_node *)base;
    bool accumulate;
    tensor *d = tape_grad(t, n->logits, &accumulate);
    return d && TAPE_RUN(t, cross_entropy_backward, &n->saved, &n->spec, &n->lse, &base->out->grad,
                         accumulate, d);
}

static bool upload_labels(tape *t, const var *logits, const cross_entropy_options *o,
                          cross_entropy_spec *spec, tensor *soft) {
    int64_t rows = logits->t.rows, cols = logits->t.cols;
    *spec = (cross_entropy_spec){.label_smoothing = o->label_smoothing, .scale = o->scale};
    if (!o->labels == !o->soft_labels) {
        tape_fail(t, CLOZE_ERR_INTERNAL, "op_cross_entropy wants labels or soft labels");
        return false;
    }
    for (int64_t r = 0; o->labels && r < rows; r++) {
        int32_t label = o->labels[r];
        if (label == LABEL_IGNORE || (label >= 0 && label < cols)) continue;
        tape_fail(t, CLOZE_ERR_INTERNAL, "op_cross_entropy: label %d of %lld classes", (int)label,
                  (long long)cols);
        return false;
    }
    if (o->labels && !(spec->labels = tape_upload_i32(t, o->labels, rows))) return false;
    if (o->class_weights && !(spec->class_weights = tape_upload_f32(t, o->class_weights, cols)))
        return false;
    if (!o->soft_labels) return true;
    void *data = tape_step_copy(t, o->soft_labels, (size_t)(rows * cols) * sizeof(float));
    *soft = tensor_of(data, DTYPE_F32, rows, cols);
    return data != NULL;
}

var *op_cross_entropy(tape *t, var *logits, const cross_entropy_options *options) {
    cross_entropy_spec spec;
    tensor soft = {0}, lse = {0};
    tape_buffer *lse_buffer = NULL;
    if (!tape_use(t, logits, "op_cross_entropy") ||
        !upload_labels(t, logits, options, &spec, &soft))
        return NULL;
    if (soft.data) spec.soft_labels = &soft;
    bool save = tape_saves(t, logits->requires_grad);
    if (save && !tape_new_tensor(t, logits->t.rows, 1, DTYPE_F32, &lse, &lse_buffer)) return NULL;
    var *loss = tape_new_var(t, 1, 1, DTYPE_F32);
    if (!loss ||
        !TAPE_RUN(t, cross_entropy_forward, &logits->t, &spec, save ? &lse : NULL, &loss->t))
        return NULL;
    cross_entropy_node *n =
        tape_node(t, loss, logits->requires_grad, cross_entropy_backward, sizeof *n);
    if (n) {
        *n = (cross_entropy_node){n->base, logits, logits->t, lse, soft, spec};
        if (soft.data) n->spec.soft_labels = &n->soft_labels;
        tape_save(&n->base, logits->t_buffer);
        tape_save(&n->base, lse_buffer);
    }
    tape_drop(t, lse_buffer);
    return tape_result(t, loss);
}

/* ---- binary cross-entropy, KL, sum ---- */

typedef struct loss_node {
    node base;
    var *a, *b;              /* b NULL but for kl */
    tensor saved_a, saved_b; /* (R,C): inputs; saved_b is bce's targets */
    float scale;
} loss_node;

/* loss = scale sum softplus(z) - y z  =>  dz = dloss scale (sigmoid(z) - y) */
static bool bce_backward(tape *t, node *base) {
    loss_node *n = (loss_node *)base;
    bool accumulate;
    tensor *d = tape_grad(t, n->a, &accumulate);
    return d && TAPE_RUN(t, bce_backward, &n->saved_a, &n->saved_b, n->scale, &base->out->grad,
                         accumulate, d);
}

var *op_bce(tape *t, var *logits, const float *targets, float scale) {
    if (!tape_use(t, logits, "op_bce")) return NULL;
    int64_t rows = logits->t.rows, cols = logits->t.cols;
    void *data = tape_step_copy(t, targets, (size_t)(rows * cols) * sizeof *targets);
    tensor y = tensor_of(data, DTYPE_F32, rows, cols);
    var *loss = tape_new_var(t, 1, 1, DTYPE_F32);
    if (!loss || !TAPE_RUN(t, bce_forward, &logits->t, &y, scale, &loss->t)) return NULL;
    loss_node *n = tape_node(t, loss, logits->requires_grad, bce_backward, sizeof *n);
    if (n) {
        *n = (loss_node){n->base, logits, NULL, logits->t, y, scale};
        tape_save(&n->base, logits->t_buffer);
    }
    return tape_result(t, loss);
}

/* loss = scale sum exp(q)(q - p)  =>  dp = -dloss scale exp(q), dq = dloss scale exp(q)(q - p + 1)
 */
static bool kl_backward(tape *t, node *base) {
    loss_node *n = (loss_node *)base;
    const tensor *dloss = &base->out->grad;
    bool accumulate;
    if (var_needs_grad(n->a)) {
        tensor *dp = tape_grad(t, n->a, &accumulate);
        if (!dp || !TAPE_RUN(t, kl_backward, &n->saved_a, &n->saved_b, n->scale, dloss, accumulate,
                             dp, NULL))
            return false;
    }
    if (!var_needs_grad(n->b)) return true;
    tensor *dq = tape_grad(t, n->b, &accumulate);
    return dq && TAPE_RUN(t, kl_backward, &n->saved_a, &n->saved_b, n->scale, dloss, accumulate,
                          NULL, dq);
}

var *op_kl(tape *t, var *p, var *q, float scale) {
    if (!tape_use(t, p, "op_kl") || !tape_use(t, q, "op_kl")) return NULL;
    if (p->t.rows != q->t.rows || p->t.cols != q->t.cols)
        return tape_fail(t, CLOZE_ERR_INTERNAL, "op_kl: the two distributions differ in shape");
    var *loss = tape_new_var(t, 1, 1, DTYPE_F32);
    if (!loss || !TAPE_RUN(t, kl_forward, &p->t, &q->t, scale, &loss->t)) return NULL;
    loss_node *n = tape_node(t, loss, p->requires_grad || q->requires_grad, kl_backward, sizeof *n);
    if (n) {
        *n = (loss_node){n->base, p, q, p->t, q->t, scale};
        tape_save(&n->base, p->t_buffer);
        tape_save(&n->base, q->t_buffer);
    }
    return tape_result(t, loss);
}

/* loss = alpha sum x  =>  dx = alpha dloss everywhere. dloss (1,1) is spread by gathering row 0. */
static bool sum_backward(tape *t, node *base) {
    loss_node *n = (loss_node *)base;
    int64_t rows = n->a->t.rows, cols = n->a->t.cols, most = rows > cols ? rows : cols;
    int32_t *zeros = tape_host_alloc(t, (size_t)most * sizeof *zeros);
    const int32_t *index = zeros ? tape_upload_i32(t, zeros, most) : NULL;
    tensor row, all;
    tape_buffer *row_buffer, *all_buffer = NULL;
    if (!index || !tape_new_tensor(t, 1, cols, DTYPE_F32, &row, &row_buffer) ||
        !tape_new_tensor(t, rows, cols, DTYPE_F32, &all, &all_buffer))
        return false;
    tensor column = tensor_of(row.data, DTYPE_F32, cols, 1); /* the same numbers, one a row */
    bool ok = TAPE_RUN(t, gather_rows, &base->out->grad, index, &column) &&
              TAPE_RUN(t, gather_rows, &row, index, &all) && tape_grad_add(t, n->a, n->scale, &all);
    tape_drop(t, row_buffer);
    tape_drop(t, all_buffer);
    return ok;
}

var *op_sum(tape *t, var *x, float alpha) {
    if (!tape_use(t, x, "op_sum")) return NULL;
    var *loss = tape_new_var(t, 1, 1, DTYPE_F32);
    if (!loss || !TAPE_RUN(t, sum_all, alpha, &x->t, false, &loss->t)) return NULL;
    loss_node *n = tape_node(t, loss, x->requires_grad, sum_backward, sizeof *n);
    if (n) {
        n->a = x;
        n->scale = alpha;
    }
    return tape_result(t, loss);
}

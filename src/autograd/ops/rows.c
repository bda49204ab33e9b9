/* Ops that move rows: gather (mask positions, [CLS]) and the mean over each sequence. */
#include "autograd/node.h"

typedef struct rows_node {
    node base;
    var *x;
    const int32_t *index; /* device: rows (R), or offsets (B+1) */
} rows_node;

/* y = x with other dropout keys: those of rows[i], so that a head's dropout does not depend on
 * packing */
static bool take_keys(tape *t, const var *x, const int32_t *rows, int64_t n_rows, var *y) {
    const row_keys *keys;
    if (!tape_keys(t, x, &keys) || !keys) return t->status == CLOZE_OK;
    uint64_t *host = tape_host_alloc(t, (size_t)n_rows * sizeof *host);
    if (!host) return false;
    for (int64_t i = 0; i < n_rows; i++) host[i] = keys->host[rows[i]];
    return tape_keys_make(t, host, n_rows, &y->keys);
}

/* y_i = x_rows[i]  =>  dx_rows[i] += dy_i */
static bool gather_backward(tape *t, node *base) {
    rows_node *n = (rows_node *)base;
    tensor *dx = tape_grad_zeroed(t, n->x);
    return dx && TAPE_RUN(t, scatter_add_rows, &base->out->grad, n->index, dx);
}

var *op_gather_rows(tape *t, var *x, const int32_t *rows, int64_t n_rows) {
    if (!tape_use(t, x, "op_gather_rows")) return NULL;
    for (int64_t i = 0; i < n_rows; i++)
        if (rows[i] < 0 || rows[i] >= x->t.rows)
            return tape_fail(t, CLOZE_ERR_INTERNAL, "op_gather_rows: row %d of %lld", (int)rows[i],
                             (long long)x->t.rows);
    const int32_t *index = tape_upload_i32(t, rows, n_rows);
    var *y = tape_new_var(t, n_rows, x->t.cols, x->t.dtype);
    if (!y || !take_keys(t, x, rows, n_rows, y)) return NULL;
    if (!TAPE_RUN(t, gather_rows, &x->t, index, &y->t)) return NULL;
    rows_node *n = tape_node(t, y, x->requires_grad, gather_backward, sizeof *n);
    if (n) {
        n->x = x;
        n->index = index;
    }
    return tape_result(t, y);
}

/* y_b = mean of x over sequence b  =>  dx_i = dy_b / length_b */
static bool mean_pool_backward(tape *t, node *base) {
    rows_node *n = (rows_node *)base;
    bool accumulate;
    tensor *dx = tape_grad(t, n->x, &accumulate);
    return dx && TAPE_RUN(t, mean_pool_backward, &base->out->grad, n->index, accumulate, dx);
}

var *op_mean_pool(tape *t, var *x, const int32_t *offsets, int32_t n_seqs) {
    if (!tape_use(t, x, "op_mean_pool")) return NULL;
    bool good = n_seqs > 0 && offsets[0] == 0 && offsets[n_seqs] == x->t.rows;
    for (int32_t i = 0; good && i < n_seqs; i++) good = offsets[i] < offsets[i + 1];
    if (!good)
        return tape_fail(t, CLOZE_ERR_INTERNAL,
                         "op_mean_pool: offsets do not divide %lld rows into sequences",
                         (long long)x->t.rows);
    const int32_t *index = tape_upload_i32(t, offsets, n_seqs + 1);
    var *y = tape_new_var(t, n_seqs, x->t.cols, DTYPE_F32);
    if (!y || !take_keys(t, x, offsets, n_seqs, y)) return NULL;
    if (!TAPE_RUN(t, mean_pool_forward, &x->t, index, &y->t)) return NULL;
    rows_node *n = tape_node(t, y, x->requires_grad, mean_pool_backward, sizeof *n);
    if (n) {
        n->x = x;
        n->index = index;
    }
    return tape_result(t, y);
}

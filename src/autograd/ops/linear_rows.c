/*
 * Logits over some rows of a weight: the label words' rows of a vocabulary matrix. The rows are
 * gathered into a weight of the step, and its gradient is scattered back to the rows it came from.
 */
#include "autograd/node.h"

typedef struct linear_rows_node {
    node base;
    var *x;
    param *w, *bias;
    step_weight *gathered;    /* (R,K) */
    tensor operand;           /* (N,K), kept only for dw */
    const int32_t *rows;      /* (R) device */
    const int32_t *host_rows; /* (R) */
} linear_rows_node;

/* A row vector (1,n) as a column (n,1), so that its elements are rows. */
static tensor as_column(const tensor *vector) {
    return tensor_of(vector->data, vector->dtype, vector->rows * vector->cols, 1);
}

/* w_rows = w[rows]  =>  dw[rows] += dw_rows; the bias likewise */
static bool linear_rows_backward(tape *t, node *base) {
    linear_rows_node *n = (linear_rows_node *)base;
    const tensor *dy = &base->out->grad; /* (N,R) */
    bool want_dw = param_needs_grad(t, n->w), want_db = param_needs_grad(t, n->bias);
    tensor dw = {0}, db = {0}; /* (R,K), (1,R) */
    tape_buffer *dw_buffer = NULL, *db_buffer = NULL;
    bool ok = true;
    if (want_dw) ok = tape_new_tensor(t, dy->cols, n->operand.cols, DTYPE_F32, &dw, &dw_buffer);
    if (ok && want_db)
        ok = tape_new_tensor(t, 1, dy->cols, DTYPE_F32, &db, &db_buffer) && tape_zero(t, &db);
    linear_grads g = {
        .w = &n->gathered->w,
        .x = &n->operand,
        .operand = n->operand.dtype,
        .x_var = n->x,
        .dw = want_dw ? &dw : NULL,
        .dbias = want_db ? &db : NULL,
    };
    ok = ok && tape_linear_grads(t, &g, dy);
    t->be->weight_drop_packs(t->dev, &n->gathered->w);
    if (ok && want_dw) {
        param_grad_fill(n->w);
        param_touch_rows(n->w, n->host_rows, dy->cols);
        ok = TAPE_RUN(t, embedding_backward, &dw, n->rows, &n->w->grad);
    }
    if (ok && want_db) {
        tensor d = as_column(&db), sum = as_column(&n->bias->grad);
        param_touch_all(n->bias);
        ok = TAPE_RUN(t, embedding_backward, &d, n->rows, &sum);
    }
    tape_drop(t, dw_buffer);
    tape_drop(t, db_buffer);
    return ok;
}

static bool check_rows(tape *t, const param *w, const int32_t *rows, int64_t n_rows) {
    for (int64_t i = 0; i < n_rows; i++) {
        if (rows[i] >= 0 && rows[i] < w->w.t.rows) continue;
        tape_fail(t, CLOZE_ERR_MODEL, "row %d is outside %s, which has %lld rows", (int)rows[i],
                  w->name ? w->name : "the weight", (long long)w->w.t.rows);
        return false;
    }
    return true;
}

/* table[rows] as f32, whatever the table's type. embedding_forward reads them all. */
static bool gather(tape *t, const tensor *table, const int32_t *rows, tensor *out) {
    const tensor *tables[1] = {table};
    const int32_t *ids[1] = {rows};
    return TAPE_RUN(t, embedding_forward, 1, tables, ids, out);
}

/* A weight of the step with its own memory in y's scope: (R,K). */
static step_weight *gather_weight(tape *t, const param *w, const int32_t *rows, int64_t n_rows,
                                  tape_buffer **buffer) {
    step_weight *g = tape_host_alloc(t, sizeof *g);
    if (!g || !tape_new_tensor(t, n_rows, w->w.t.cols, DTYPE_F32, &g->w.t, buffer)) return NULL;
    g->w.t.rows_capacity = n_rows; /* a weight has no tail */
    g->w.version = 1;
    g->w.trained = true; /* gone with the step: copies are not kept */
    g->next = t->weights;
    t->weights = g;
    return gather(t, &w->w.t, rows, &g->w.t) ? g : NULL;
}

var *op_linear_rows(tape *t, var *x, param *w, param *bias, const int32_t *rows, int64_t n_rows) {
    if (!tape_use(t, x, "op_linear_rows") || !check_rows(t, w, rows, n_rows)) return NULL;
    if (x->t.cols != w->w.t.cols)
        return tape_fail(t, CLOZE_ERR_INTERNAL,
                         "op_linear_rows: %lld columns meet a weight of %lld", (long long)x->t.cols,
                         (long long)w->w.t.cols);
    tensor operand, b = {0};
    tape_buffer *operand_buffer, *weight_buffer = NULL, *bias_buffer = NULL;
    const int32_t *device_rows = tape_upload_i32(t, rows, n_rows);
    if (!device_rows || !tape_operand(t, x, &operand, &operand_buffer)) return NULL;
    step_weight *g = gather_weight(t, w, device_rows, n_rows, &weight_buffer);
    if (!g) return NULL;
    if (bias) {
        if (!tape_new_tensor(t, 1, n_rows, DTYPE_F32, &b, &bias_buffer)) return NULL;
        tensor all = as_column(&bias->w.t), some = as_column(&b);
        if (!gather(t, &all, device_rows, &some)) return NULL;
    }
    var *y = tape_new_var(t, x->t.rows, n_rows, DTYPE_F32);
    if (!y ||
        !TAPE_RUN(t, linear_forward, &operand, &g->w, bias ? &b : NULL, ACT_NONE, NULL, &y->t))
        return NULL;
    y->keys = x->keys;
    bool dw = param_needs_grad(t, w);
    bool needs = dw || param_needs_grad(t, bias) || var_needs_grad(x);
    linear_rows_node *n = tape_node(t, y, needs, linear_rows_backward, sizeof *n);
    if (n) {
        *n = (linear_rows_node){
            n->base, x,       w,           bias,
            g,       operand, device_rows, tape_host_copy(t, rows, (size_t)n_rows * sizeof *rows)};
        if (dw) tape_save(&n->base, operand_buffer);
        tape_save(&n->base, weight_buffer);
    } else {
        t->be->weight_drop_packs(t->dev, &g->w);
    }
    tape_drop(t, weight_buffer);
    tape_drop(t, bias_buffer);
    return tape_result(t, y);
}

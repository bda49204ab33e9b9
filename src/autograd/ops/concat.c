/* Joining and cutting: concat by rows or columns, a slice of columns (a view), and adding a part.
 */
#include "autograd/node.h"

typedef struct concat_node {
    node base;
    var **parts;
    int n;
    bool by_rows;
} concat_node;

/* The place of part i in y, which begins at row or column `at`. */
static tensor concat_place(const tensor *y, const tensor *part, bool by_rows, int64_t at) {
    return by_rows ? tensor_rows(y, at, part->rows) : tensor_columns(y, at, part->cols);
}

/* y = [x_0 x_1 ...]  =>  dx_i = the part of dy at x_i's place */
static bool concat_backward(tape *t, node *base) {
    concat_node *n = (concat_node *)base;
    int64_t at = 0;
    for (int i = 0; i < n->n; i++) {
        var *x = n->parts[i];
        tensor dy = concat_place(&base->out->grad, &x->t, n->by_rows, at);
        if (var_needs_grad(x) && !tape_grad_add(t, x, 1.0f, &dy)) return false;
        at += n->by_rows ? x->t.rows : x->t.cols;
    }
    return true;
}

/* Joined rows keep the keys of their parts; joined columns have the first part's. */
static bool concat_keys(tape *t, var *const parts[], int n, bool by_rows, var *y) {
    y->keys = parts[0]->keys;
    if (!by_rows || !t->keys) return true;
    uint64_t *host = tape_host_alloc(t, (size_t)y->t.rows * sizeof *host);
    if (!host) return false;
    int64_t at = 0;
    for (int i = 0; i < n; i++) {
        const row_keys *keys;
        if (!tape_keys(t, parts[i], &keys)) return false;
        for (int64_t r = 0; r < parts[i]->t.rows; r++) host[at++] = keys->host[r];
    }
    return tape_keys_make(t, host, y->t.rows, &y->keys);
}

static var *concat(tape *t, var *const parts[], int n_parts, bool by_rows, const char *op) {
    int64_t rows = 0, cols = 0;
    bool needs = false;
    for (int i = 0; i < n_parts; i++) {
        if (!tape_use(t, parts[i], op)) return NULL;
        if (by_rows ? parts[i]->t.cols != parts[0]->t.cols : parts[i]->t.rows != parts[0]->t.rows)
            return tape_fail(t, CLOZE_ERR_INTERNAL, "%s: part %d does not match the first", op, i);
        rows = by_rows ? rows + parts[i]->t.rows : parts[i]->t.rows;
        cols = by_rows ? parts[i]->t.cols : cols + parts[i]->t.cols;
        needs = needs || parts[i]->requires_grad;
    }
    if (n_parts < 1) return tape_fail(t, CLOZE_ERR_INTERNAL, "%s of nothing", op);
    cloze_dtype dtype = parts[0]->t.dtype;
    for (int i = 1; i < n_parts; i++)
        if (parts[i]->t.dtype != dtype) dtype = DTYPE_F32;
    var *y = tape_new_var(t, rows, cols, dtype);
    if (!y || !concat_keys(t, parts, n_parts, by_rows, y)) return NULL;
    int64_t at = 0;
    for (int i = 0; i < n_parts; i++) {
        tensor place = concat_place(&y->t, &parts[i]->t, by_rows, at);
        if (!TAPE_RUN(t, axpy, 1.0f, &parts[i]->t, false, &place)) return NULL;
        at += by_rows ? parts[i]->t.rows : parts[i]->t.cols;
    }
    concat_node *n = tape_node(t, y, needs, concat_backward, sizeof *n);
    if (n) {
        n->parts = tape_host_copy(t, parts, (size_t)n_parts * sizeof *parts);
        n->n = n_parts;
        n->by_rows = by_rows;
    }
    return tape_result(t, y);
}

var *op_concat_rows(tape *t, var *const parts[], int n) {
    return concat(t, parts, n, true, "op_concat_rows");
}

var *op_concat_columns(tape *t, var *const parts[], int n) {
    return concat(t, parts, n, false, "op_concat_columns");
}

/* ---- columns [begin, begin + n) ---- */

typedef struct columns_node {
    node base;
    var *x, *part;
    int64_t begin;
} columns_node;

static bool check_columns(tape *t, const var *x, int64_t begin, int64_t n, const char *op) {
    if (begin >= 0 && n > 0 && begin <= x->t.cols && n <= x->t.cols - begin) return true;
    tape_fail(t, CLOZE_ERR_INTERNAL, "%s: columns %lld + %lld of %lld", op, (long long)begin,
              (long long)n, (long long)x->t.cols);
    return false;
}

/* y = x[:, begin:begin+n]  =>  those columns of dx += dy, the others have no part */
static bool slice_backward(tape *t, node *base) {
    columns_node *n = (columns_node *)base;
    tensor *dx = tape_grad_zeroed(t, n->x);
    if (!dx) return false;
    tensor place = tensor_columns(dx, n->begin, base->out->grad.cols);
    return TAPE_RUN(t, axpy, 1.0f, &base->out->grad, true, &place);
}

var *op_slice_columns(tape *t, var *x, int64_t begin, int64_t n_cols) {
    if (!tape_use(t, x, "op_slice_columns") ||
        !check_columns(t, x, begin, n_cols, "op_slice_columns"))
        return NULL;
    var *y = tape_new_view(t);
    if (!y) return NULL;
    y->t = tensor_columns(&x->t, begin, n_cols);
    y->t_buffer = x->t_buffer;
    pool_ref(y->t_buffer);
    if (x->low.data) {
        y->low = tensor_columns(&x->low, begin, n_cols);
        y->low_buffer = x->low_buffer;
        pool_ref(y->low_buffer);
    }
    y->keys = x->keys;
    columns_node *n = tape_node(t, y, x->requires_grad, slice_backward, sizeof *n);
    if (n) {
        n->x = x;
        n->begin = begin;
    }
    return tape_result(t, y);
}

/* y = x + [0 part 0]  =>  dpart = those columns of dy, dx = dy */
static bool add_columns_backward(tape *t, node *base) {
    columns_node *n = (columns_node *)base;
    tensor dy = tensor_columns(&base->out->grad, n->begin, n->part->t.cols);
    if (var_needs_grad(n->part) && !tape_grad_add(t, n->part, 1.0f, &dy)) return false;
    return !var_needs_grad(n->x) || tape_grad_pass(t, base->out, n->x);
}

var *op_add_columns(tape *t, var *x, var *part, int64_t begin) {
    if (!tape_use(t, x, "op_add_columns") || !tape_use(t, part, "op_add_columns")) return NULL;
    if (!check_columns(t, x, begin, part->t.cols, "op_add_columns")) return NULL;
    if (part->t.rows != x->t.rows)
        return tape_fail(t, CLOZE_ERR_INTERNAL, "op_add_columns: %lld rows join %lld",
                         (long long)part->t.rows, (long long)x->t.rows);
    var *y = tape_new_var(t, x->t.rows, x->t.cols, x->t.dtype);
    if (!y || !TAPE_RUN(t, axpy, 1.0f, &x->t, false, &y->t)) return NULL;
    tensor place = tensor_columns(&y->t, begin, part->t.cols);
    if (!TAPE_RUN(t, axpy, 1.0f, &part->t, true, &place)) return NULL;
    y->keys = x->keys;
    columns_node *n =
        tape_node(t, y, x->requires_grad || part->requires_grad, add_columns_backward, sizeof *n);
    if (n) *n = (columns_node){n->base, x, part, begin};
    return tape_result(t, y);
}

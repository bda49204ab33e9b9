/* One direction of an LSTM layer over packed sequences. The input products of all time steps are
 * one matrix product in front of the recurrence; states and gates are f32. */
#include "autograd/node.h"

typedef struct lstm_node {
    node base;
    var *x;
    param *w_ih, *w_hh, *b_ih, *b_hh;
    tensor operand;         /* (N,K) what the input product read; kept only for dw_ih */
    tensor h, cell, gates;  /* (N,D), (N,D), (N,4D) */
    const int32_t *offsets; /* (B+1) device */
    int32_t n_seqs;
    bool reverse;
} lstm_node;

/* xproj = x W_ih^T + b_ih + b_hh goes into the gates: dxproj gives x, W_ih and both biases theirs
 */
static bool lstm_backward(tape *t, node *base) {
    lstm_node *n = (lstm_node *)base;
    tensor dxproj; /* (N,4D) */
    tape_buffer *buffer;
    if (!tape_new_tensor(t, n->gates.rows, n->gates.cols, DTYPE_F32, &dxproj, &buffer))
        return false;
    if (!TAPE_RUN(t, lstm_backward, &base->out->grad, &n->h, &n->cell, &n->gates, &n->w_hh->w,
                  n->n_seqs, n->offsets, n->reverse, &dxproj, param_grad_all(n->w_hh)))
        return false;
    tensor *db_hh = param_grad_all(n->b_hh);
    if (db_hh && !TAPE_RUN(t, sum_rows, &dxproj, db_hh)) return false;
    linear_grads g = {
        .w = &n->w_ih->w,
        .x = &n->operand,
        .operand = n->operand.dtype,
        .x_var = n->x,
        .dw = param_grad_all(n->w_ih),
        .dw_accumulate = true,
        .dbias = param_grad_all(n->b_ih),
    };
    bool ok = tape_linear_grads(t, &g, &dxproj);
    tape_drop(t, buffer);
    return ok;
}

/* (1,4D) = b_ih + b_hh for the step */
static bool sum_biases(tape *t, const param *b_ih, const param *b_hh, tensor *out) {
    tensor a, b;
    if (!tape_param_f32(t, b_ih, &a) || !tape_param_f32(t, b_hh, &b)) return false;
    *out = tensor_of(tape_step_alloc(t, (size_t)a.cols * sizeof(float)), DTYPE_F32, 1, a.cols);
    return out->data && TAPE_RUN(t, axpy, 1.0f, &a, false, out) &&
           TAPE_RUN(t, axpy, 1.0f, &b, true, out);
}

static bool check_lstm(tape *t, const var *x, const param *w_ih, const param *w_hh,
                       const param *b_ih, const param *b_hh, int32_t n_seqs,
                       const int32_t *offsets) {
    int64_t d = w_hh->w.t.cols;
    bool good = w_hh->w.t.rows == 4 * d && w_ih->w.t.rows == 4 * d && w_ih->w.t.cols == x->t.cols &&
                b_ih->w.t.cols == 4 * d && b_hh->w.t.cols == 4 * d && n_seqs > 0 &&
                offsets[0] == 0 && offsets[n_seqs] == x->t.rows;
    for (int32_t i = 0; good && i < n_seqs; i++) good = offsets[i] <= offsets[i + 1];
    if (!good)
        tape_fail(t, CLOZE_ERR_INTERNAL,
                  "op_lstm: weights, biases, input and offsets do not fit together");
    return good;
}

var *op_lstm(tape *t, var *x, param *w_ih, param *w_hh, param *b_ih, param *b_hh, int32_t n_seqs,
             const int32_t *offsets, bool reverse) {
    if (!tape_use(t, x, "op_lstm") || !check_lstm(t, x, w_ih, w_hh, b_ih, b_hh, n_seqs, offsets))
        return NULL;
    int64_t rows = x->t.rows, d = w_hh->w.t.cols;
    tensor operand, bias, xproj, cell, gates;
    tape_buffer *operand_buffer, *xproj_buffer, *cell_buffer, *gates_buffer;
    const int32_t *device_offsets = tape_upload_i32(t, offsets, n_seqs + 1);
    if (!device_offsets || !tape_operand(t, x, &operand, &operand_buffer) ||
        !sum_biases(t, b_ih, b_hh, &bias) ||
        !tape_new_tensor(t, rows, 4 * d, DTYPE_F32, &xproj, &xproj_buffer) ||
        !tape_new_tensor(t, rows, d, DTYPE_F32, &cell, &cell_buffer) ||
        !tape_new_tensor(t, rows, 4 * d, DTYPE_F32, &gates, &gates_buffer))
        return NULL;
    var *h = tape_new_var(t, rows, d, DTYPE_F32);
    if (!h || !TAPE_RUN(t, linear_forward, &operand, &w_ih->w, &bias, ACT_NONE, NULL, &xproj) ||
        !TAPE_RUN(t, lstm_forward, &xproj, &w_hh->w, n_seqs, device_offsets, reverse, &h->t, &cell,
                  &gates))
        return NULL;
    h->keys = x->keys;
    bool dw = param_needs_grad(t, w_ih);
    bool needs = dw | param_needs_grad(t, w_hh) | param_needs_grad(t, b_ih) |
                 param_needs_grad(t, b_hh) | var_needs_grad(x);
    lstm_node *n = tape_node(t, h, needs, lstm_backward, sizeof *n);
    if (n) {
        *n = (lstm_node){n->base, x,    w_ih,  w_hh,           b_ih,   b_hh,   operand,
                         h->t,    cell, gates, device_offsets, n_seqs, reverse};
        if (dw) tape_save(&n->base, operand_buffer);
        tape_save(&n->base, h->t_buffer);
        tape_save(&n->base, cell_buffer);
        tape_save(&n->base, gates_buffer);
    }
    tape_drop(t, xproj_buffer);
    tape_drop(t, cell_buffer);
    tape_drop(t, gates_buffer);
    return tape_result(t, h);
}

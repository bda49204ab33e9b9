/*
 * One direction of an LSTM layer over packed sequences (Hochreiter and Schmidhuber 1997, with the
 * forget gate), gates in the order i, f, g, o. The state between time steps is what the tensors h
 * and cell hold, so that backward sees the same numbers.
 */
#include <math.h>

#include "backend/ref/ref.h"

static double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

/* The row of time step t of a sequence, in the order in which it is read. */
static int64_t row_at(const int32_t *offsets, int64_t seq, int64_t t, bool reverse) {
    return reverse ? offsets[seq + 1] - 1 - t : offsets[seq] + t;
}

static void forward_row(const tensor *xproj, const tensor *w_hh, int64_t row, int64_t previous,
                        tensor *h, tensor *cell, tensor *gates) {
    int64_t dim = h->cols; /* D */
    for (int64_t m = 0; m < 4 * dim; m++) {
        double sum = ref_get(xproj, row, m);
        for (int64_t k = 0; previous >= 0 && k < dim; k++)
            sum += ref_get(w_hh, m, k) * ref_get(h, previous, k);
        ref_set(gates, row, m, m / dim == 2 ? tanh(sum) : sigmoid(sum));
    }
    for (int64_t d = 0; d < dim; d++) {
        double c = ref_get(gates, row, d) * ref_get(gates, row, 2 * dim + d);
        if (previous >= 0) c += ref_get(gates, row, dim + d) * ref_get(cell, previous, d);
        ref_set(cell, row, d, c);
        ref_set(h, row, d, ref_get(gates, row, 3 * dim + d) * tanh(c));
    }
}

cloze_status ref_lstm_forward(backend_device *dev, const tensor *xproj, const weight *w_hh,
                              int32_t n_seqs, const int32_t *offsets, bool reverse, tensor *h,
                              tensor *cell, tensor *gates, cloze_error *err) {
    REF_SHAPE(xproj, h->rows, 4 * h->cols);
    REF_SHAPE(&w_hh->t, 4 * h->cols, h->cols);
    REF_SHAPE(cell, h->rows, h->cols);
    REF_SHAPE(gates, h->rows, 4 * h->cols);
    for (int64_t seq = 0; seq < n_seqs; seq++) {
        for (int64_t t = 0; t < offsets[seq + 1] - offsets[seq]; t++) {
            int64_t previous = t > 0 ? row_at(offsets, seq, t - 1, reverse) : -1;
            forward_row(xproj, &w_hh->t, row_at(offsets, seq, t, reverse), previous, h, cell,
                        gates);
        }
    }
    return CLOZE_OK;
}

/* dh (D) comes in and is replaced by the gradient of the previous h; dc (D) likewise; da (4D):
 * gates before act. */
static void backward_row(const tensor *cell, const tensor *gates, const tensor *w_hh, int64_t row,
                         int64_t previous, double *dh, double *dc, double *da) {
    int64_t dim = cell->cols;
    for (int64_t d = 0; d < dim; d++) {
        double i = ref_get(gates, row, d), f = ref_get(gates, row, dim + d);
        double g = ref_get(gates, row, 2 * dim + d), o = ref_get(gates, row, 3 * dim + d);
        double tanh_c = tanh(ref_get(cell, row, d));
        double dcell = dc[d] + dh[d] * o * (1.0 - tanh_c * tanh_c); /* h = o tanh(c) */
        da[3 * dim + d] = dh[d] * tanh_c * o * (1.0 - o);
        da[d] = dcell * g * i * (1.0 - i); /* c = f c_prev + i g */
        da[dim + d] = previous < 0 ? 0.0 : dcell * ref_get(cell, previous, d) * f * (1.0 - f);
        da[2 * dim + d] = dcell * i * (1.0 - g * g);
        dc[d] = dcell * f;
    }
    for (int64_t k = 0; k < dim; k++) {
        dh[k] = 0.0;
        for (int64_t m = 0; m < 4 * dim; m++)
            dh[k] += ref_get(w_hh, m, k) * da[m]; /* a = ... + W h_prev */
    }
}

cloze_status ref_lstm_backward(backend_device *dev, const tensor *dh, const tensor *h,
                               const tensor *cell, const tensor *gates, const weight *w_hh,
                               int32_t n_seqs, const int32_t *offsets, bool reverse, tensor *dxproj,
                               tensor *dw_hh, cloze_error *err) {
    int64_t dim = h->cols; /* D */
    REF_SHAPE(dh, h->rows, dim);
    REF_SHAPE(cell, h->rows, dim);
    REF_SHAPE(gates, h->rows, 4 * dim);
    REF_SHAPE(&w_hh->t, 4 * dim, dim);
    REF_SHAPE(dxproj, h->rows, 4 * dim);
    REF_SHAPE(dw_hh, 4 * dim, dim);
    double *scratch;
    CLOZE_TRY(ref_scratch(dev, 6 * dim + 4 * dim * dim, &scratch, err));
    double *dh_row = scratch, *dc = scratch + dim, *da = scratch + 2 * dim; /* (D), (D), (4D) */
    double *dw_sum = scratch + 6 * dim;                                     /* (4D,D) */
    for (int64_t seq = 0; seq < n_seqs; seq++) {
        for (int64_t d = 0; d < 2 * dim; d++) scratch[d] = 0.0;
        for (int64_t t = offsets[seq + 1] - offsets[seq] - 1; t >= 0; t--) {
            int64_t row = row_at(offsets, seq, t, reverse);
            int64_t previous = t > 0 ? row_at(offsets, seq, t - 1, reverse) : -1;
            for (int64_t d = 0; d < dim; d++) dh_row[d] += ref_get(dh, row, d);
            backward_row(cell, gates, &w_hh->t, row, previous, dh_row, dc, da);
            for (int64_t m = 0; m < 4 * dim; m++) {
                ref_set(dxproj, row, m, da[m]);
                for (int64_t k = 0; previous >= 0 && k < dim; k++)
                    dw_sum[m * dim + k] += da[m] * ref_get(h, previous, k);
            }
        }
    }
    for (int64_t m = 0; dw_hh && m < 4 * dim; m++) {
        for (int64_t k = 0; k < dim; k++) ref_put(dw_hh, m, k, true, dw_sum[m * dim + k]);
    }
    return CLOZE_OK;
}

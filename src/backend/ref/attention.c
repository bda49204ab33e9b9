/*
 * Attention over packed sequences, one (sequence, head) at a time. The keys of a sequence are its P
 * prefix rows followed by its own rows; a causal mask lets query i of q_len see its own keys
 * j <= i + (kv_len - q_len), and the prefix always. A query that sees no key gives a zero context.
 */
#include <math.h>

#include "backend/ref/ref.h"

/* One sequence and one head of a call. */
typedef struct head_view {
    const attention_spec *spec;
    const attention_inputs *in;
    int64_t head, q_begin, kv_begin, n_q, n_kv, prefix_begin;
} head_view;

static head_view head_view_of(const attention_spec *spec, const attention_inputs *in, int64_t seq,
                              int64_t head) {
    head_view h = {spec, in, head, spec->q_offsets[seq], spec->kv_offsets[seq], 0, 0, 0};
    h.n_q = spec->q_offsets[seq + 1] - h.q_begin;
    h.n_kv = spec->kv_offsets[seq + 1] - h.kv_begin;
    h.prefix_begin = spec->prefix_per_seq ? seq * spec->n_prefix : 0;
    return h;
}

/* Column d of this head in key (or value, ...) j of the sequence: prefix first, then own rows. */
static double key_get(const head_view *h, const tensor *prefix, const tensor *own, int64_t j,
                      int64_t d) {
    int64_t col = h->head * h->spec->head_dim + d;
    if (j < h->spec->n_prefix) return ref_get(prefix, h->prefix_begin + j, col);
    return ref_get(own, h->kv_begin + j - h->spec->n_prefix, col);
}

static void key_set(const head_view *h, tensor *prefix, tensor *own, int64_t j, int64_t d,
                    double value) {
    int64_t col = h->head * h->spec->head_dim + d;
    if (j < h->spec->n_prefix) {
        if (prefix) ref_set(prefix, h->prefix_begin + j, col, value);
    } else if (own) {
        ref_set(own, h->kv_begin + j - h->spec->n_prefix, col, value);
    }
}

/* How many keys query i sees: they are always the first ones. */
static int64_t visible_keys(const head_view *h, int64_t i) {
    int64_t own = h->n_kv;
    if (h->spec->mask == ATTENTION_CAUSAL) own = i + 1 + h->n_kv - h->n_q;
    return h->spec->n_prefix + (own < 0 ? 0 : own);
}

/* scores[j] = scale * q_i . k_j over the visible keys */
static void scores_of(const head_view *h, int64_t i, double *scores) {
    for (int64_t j = 0; j < visible_keys(h, i); j++) {
        double dot = 0.0;
        for (int64_t d = 0; d < h->spec->head_dim; d++) {
            dot += ref_get(h->in->q, h->q_begin + i, h->head * h->spec->head_dim + d) *
                   key_get(h, h->in->prefix_k, h->in->k, j, d);
        }
        scores[j] = dot * h->spec->scale;
    }
}

static double factor_of(const head_view *h, int64_t i, int64_t j) {
    uint64_t channel = (uint64_t)(h->head * ATTENTION_DROPOUT_STRIDE + j);
    return dropout_factor(h->spec->dropout, h->q_begin + i, channel);
}

static double log_sum_exp(const double *x, int64_t n) {
    double max = -INFINITY, sum = 0.0;
    for (int64_t j = 0; j < n; j++) max = fmax(max, x[j]);
    for (int64_t j = 0; j < n; j++) sum += exp(x[j] - max);
    return n > 0 ? max + log(sum) : -INFINITY;
}

static cloze_status check_attention(const attention_spec *spec, const attention_inputs *in,
                                    cloze_error *err) {
    int64_t width = (int64_t)spec->n_heads * spec->head_dim;
    int64_t prefix_rows =
        spec->prefix_per_seq ? (int64_t)spec->n_seqs * spec->n_prefix : spec->n_prefix;
    REF_SHAPE(in->q, in->q->rows, width);
    REF_SHAPE(in->k, in->k->rows, width);
    REF_SHAPE(in->v, in->k->rows, width);
    if (spec->n_prefix > 0) {
        REF_SHAPE(in->prefix_k, prefix_rows, width);
        REF_SHAPE(in->prefix_v, prefix_rows, width);
    }
    for (int32_t b = 0; b < spec->n_seqs; b++) {
        int64_t n_q = spec->q_offsets[b + 1] - spec->q_offsets[b];
        int64_t n_kv = spec->kv_offsets[b + 1] - spec->kv_offsets[b];
        if (n_q < 0 || n_kv < 0 || n_q > spec->max_q || n_kv > spec->max_kv) {
            CLOZE_FAIL(
                err, INTERNAL,
                "attention: sequence %d has %lld queries (at most %d) and %lld keys (at most %d)",
                (int)b, (long long)n_q, (int)spec->max_q, (long long)n_kv, (int)spec->max_kv);
        }
    }
    if (spec->q_offsets[spec->n_seqs] > in->q->rows ||
        spec->kv_offsets[spec->n_seqs] > in->k->rows) {
        CLOZE_FAIL(err, INTERNAL, "attention: offsets end after the last row");
    }
    return CLOZE_OK;
}

static void forward_query(const head_view *h, int64_t i, double *scores, tensor *ctx, tensor *lse) {
    int64_t n_keys = visible_keys(h, i);
    scores_of(h, i, scores);
    double log_denominator = log_sum_exp(scores, n_keys);
    for (int64_t j = 0; j < n_keys; j++)
        scores[j] = exp(scores[j] - log_denominator) * factor_of(h, i, j);
    for (int64_t d = 0; d < h->spec->head_dim; d++) {
        double sum = 0.0;
        for (int64_t j = 0; j < n_keys; j++)
            sum += scores[j] * key_get(h, h->in->prefix_v, h->in->v, j, d);
        ref_set(ctx, h->q_begin + i, h->head * h->spec->head_dim + d, sum);
    }
    if (lse) ref_set(lse, h->q_begin + i, h->head, log_denominator);
}

cloze_status ref_attention_forward(backend_device *dev, const attention_spec *spec,
                                   const attention_inputs *in, tensor *ctx, tensor *lse,
                                   cloze_error *err) {
    CLOZE_TRY(check_attention(spec, in, err));
    REF_SHAPE(ctx, in->q->rows, in->q->cols);
    REF_SHAPE(lse, in->q->rows, spec->n_heads);
    double *scores; /* (P + S) */
    CLOZE_TRY(ref_scratch(dev, spec->n_prefix + spec->max_kv, &scores, err));
    for (int64_t seq = 0; seq < spec->n_seqs; seq++) {
        for (int64_t head = 0; head < spec->n_heads; head++) {
            head_view h = head_view_of(spec, in, seq, head);
            for (int64_t i = 0; i < h.n_q; i++) forward_query(&h, i, scores, ctx, lse);
        }
    }
    return CLOZE_OK;
}

/* Gradients of one head's keys and values, in double. */
typedef struct key_sums {
    double *p, *dp;  /* (P + S) probabilities of one query, and their gradients */
    double *dk, *dv; /* (P + S, D) */
} key_sums;

static void backward_query(const head_view *h, int64_t i, const tensor *lse, const tensor *dctx,
                           tensor *dq, const key_sums *s) {
    int64_t n_keys = visible_keys(h, i), dim = h->spec->head_dim, row = h->q_begin + i,
            col = h->head * dim;
    double mean_dp = 0.0; /* sum of p dp: what the softmax takes off */
    scores_of(h, i, s->p);
    for (int64_t j = 0; j < n_keys; j++) {
        double factor = factor_of(h, i, j);
        s->p[j] = exp(s->p[j] - ref_get(lse, row, h->head));
        s->dp[j] = 0.0;
        for (int64_t d = 0; d < dim; d++) {
            double g = ref_get(dctx, row, col + d);
            s->dp[j] += factor * g * key_get(h, h->in->prefix_v, h->in->v, j, d);
            s->dv[j * dim + d] += factor * s->p[j] * g;
        }
        mean_dp += s->p[j] * s->dp[j];
    }
    for (int64_t d = 0; d < dim; d++) {
        double sum = 0.0;
        for (int64_t j = 0; j < n_keys; j++) {
            double ds = s->p[j] * (s->dp[j] - mean_dp) * h->spec->scale;
            sum += ds * key_get(h, h->in->prefix_k, h->in->k, j, d);
            s->dk[j * dim + d] += ds * ref_get(h->in->q, row, col + d);
        }
        if (dq) ref_set(dq, row, col + d, sum);
    }
}

/* Stores the sums of keys [begin, end) and starts them anew. */
static void flush_keys(const head_view *h, const attention_grads *grads, const key_sums *s,
                       int64_t begin, int64_t end) {
    for (int64_t j = begin; j < end; j++) {
        for (int64_t d = 0; d < h->spec->head_dim; d++) {
            double *dk = &s->dk[j * h->spec->head_dim + d], *dv = &s->dv[j * h->spec->head_dim + d];
            key_set(h, grads->dprefix_k, grads->dk, j, d, *dk);
            key_set(h, grads->dprefix_v, grads->dv, j, d, *dv);
            *dk = *dv = 0.0;
        }
    }
}

cloze_status ref_attention_backward(backend_device *dev, const attention_spec *spec,
                                    const attention_inputs *in, const tensor *ctx,
                                    const tensor *lse, const tensor *dctx,
                                    const attention_grads *grads, cloze_error *err) {
    CLOZE_TRY(check_attention(spec, in, err));
    REF_SHAPE(ctx, in->q->rows, in->q->cols);
    REF_SHAPE(dctx, in->q->rows, in->q->cols);
    REF_SHAPE(lse, in->q->rows, spec->n_heads);
    REF_SHAPE(grads->dq, in->q->rows, in->q->cols);
    REF_SHAPE(grads->dk, in->k->rows, in->k->cols);
    REF_SHAPE(grads->dv, in->v->rows, in->v->cols);
    if (spec->n_prefix > 0) {
        REF_SHAPE(grads->dprefix_k, in->prefix_k->rows, in->prefix_k->cols);
        REF_SHAPE(grads->dprefix_v, in->prefix_v->rows, in->prefix_v->cols);
    }
    int64_t n_keys = spec->n_prefix + spec->max_kv, dim = spec->head_dim;
    double *scratch;
    CLOZE_TRY(ref_scratch(dev, n_keys * (2 + 2 * dim), &scratch, err));
    key_sums s = {scratch, scratch + n_keys, scratch + 2 * n_keys, scratch + (2 + dim) * n_keys};
    bool shared_prefix =
        spec->n_prefix > 0 && !spec->prefix_per_seq; /* its sums run over the batch */
    for (int64_t head = 0; head < spec->n_heads; head++) {
        for (int64_t seq = 0; seq < spec->n_seqs; seq++) {
            head_view h = head_view_of(spec, in, seq, head);
            for (int64_t i = 0; i < h.n_q; i++) backward_query(&h, i, lse, dctx, grads->dq, &s);
            flush_keys(&h, grads, &s, shared_prefix ? spec->n_prefix : 0, spec->n_prefix + h.n_kv);
        }
        if (shared_prefix) {
            head_view h = {spec, in, head, 0, 0, 0, 0, 0};
            flush_keys(&h, grads, &s, 0, spec->n_prefix);
        }
    }
    return CLOZE_OK;
}

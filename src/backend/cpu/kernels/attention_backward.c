/*
 * Attention, backward. The probabilities are computed again from q, k and the forward's log
 * denominators. With p the probabilities, m the dropout multipliers, g = dctx v^T m:
 *   dv = (p m)^T dctx,  ds = p (g - sum_j p g) scale,  dq = ds k,  dk = ds^T q.
 * A prefix shared by the batch gets its gradient as partial sums of every sequence, added in order.
 */
#include "backend/cpu/kernels/attention.h"
#include "base/error.h"

/* A thread's memory for one task. S: keys rounded up to VEC, W: D rounded up to VEC. */
typedef struct backward_scratch {
    float *keys, *dk, *dv;      /* (S, W) */
    float *keys_t, *values_t;   /* (W, S) */
    float *queries, *dctx, *dq; /* (QUERY_BLOCK, W) */
    float *scores, *slopes;     /* (QUERY_BLOCK, S) p m, and ds */
    float *kept;                /* (S) dropout */
    int64_t width;
} backward_scratch;

static size_t backward_scratch_floats(int64_t keys, int64_t width) {
    return (size_t)(5 * keys * width + 3 * QUERY_BLOCK * width + 2 * QUERY_BLOCK * keys + keys);
}

static backward_scratch backward_scratch_at(float *memory, int64_t keys, int64_t width) {
    backward_scratch s = {.keys = memory, .width = width};
    s.dk = s.keys + keys * width;
    s.dv = s.dk + keys * width;
    s.keys_t = s.dv + keys * width;
    s.values_t = s.keys_t + keys * width;
    s.queries = s.values_t + keys * width;
    s.dctx = s.queries + QUERY_BLOCK * width;
    s.dq = s.dctx + QUERY_BLOCK * width;
    s.scores = s.dq + QUERY_BLOCK * width;
    s.slopes = s.scores + QUERY_BLOCK * keys;
    s.kept = s.slopes + QUERY_BLOCK * keys;
    return s;
}

/* One call's arguments. */
typedef struct backward_call {
    const attention_inputs *in;
    const tensor *lse, *dctx;
    const attention_grads *grads;
    dropout_plan plan;
    float *prefix_sums; /* (B, 2, P, A*D) of dprefix_k and dprefix_v, NULL when not shared */
} backward_call;

/*
 * scores (n) become p m and slopes (n) ds; columns n..n_padded (whole vectors) become 0. kept is
 * NULL without dropout.
 */
static void slope_row(float *scores, float *slopes, float *kept, int64_t n, int64_t n_padded,
                      float scale, float lse) {
    vec sum = {0};
    if (n_padded % VEC != 0) __builtin_unreachable();
    for (int64_t j = n; j < n_padded; j++) slopes[j] = 0.0f;
    if (kept) {
        for (int64_t j = n; j < n_padded; j++) kept[j] = 0.0f;
#pragma omp simd
        for (int64_t j = 0; j < n_padded; j++) slopes[j] *= kept[j];
    }
#pragma omp simd
    for (int64_t j = 0; j < n_padded; j++) scores[j] = scores[j] * scale - lse;
    for (int64_t j = n; j < n_padded; j++) scores[j] = -INFINITY;
#pragma omp simd
    for (int64_t j = 0; j < n_padded; j++) scores[j] = exp_f32(scores[j]);
    for (int64_t j = 0; j < n_padded; j += VEC) sum += vec_load(scores + j) * vec_load(slopes + j);
    float mean = vec_sum(sum);
#pragma omp simd
    for (int64_t j = 0; j < n_padded; j++) slopes[j] = scores[j] * (slopes[j] - mean) * scale;
    if (!kept) return;
#pragma omp simd
    for (int64_t j = 0; j < n_padded; j++) scores[j] *= kept[j];
}

/* Queries [begin, begin + n) of a task; dk and dv of its keys gain their part. */
static void backward_block(const backward_call *call, const head_task *t, int64_t begin, int64_t n,
                           int64_t keys_pad, const backward_scratch *s) {
    int64_t width = s->width, dim = t->spec->head_dim, first = t->q_begin + begin;
    int64_t n_seen = head_visible(t, begin + n - 1), n_cols = round_up(n_seen, VEC);
    head_pack(call->in->q, first, n, t, s->queries, width);
    head_pack(call->dctx, first, n, t, s->dctx, width);
    gemm_args scores = {s->queries, width, 1,      s->keys_t, keys_pad, s->scores,
                        keys_pad,   n,     n_cols, dim,       false};
    gemm(&scores);
    gemm_args slopes = {s->dctx,  width, 1,      s->values_t, keys_pad, s->slopes,
                        keys_pad, n,     n_cols, dim,         false};
    gemm(&slopes);
    for (int64_t i = 0; i < n; i++) {
        float lse;
        int64_t seen = head_visible(t, begin + i);
        row_copy(call->lse, first + i, t->head, 1, &lse);
        if (call->plan.on) head_dropout(&call->plan, t, begin + i, seen, s->kept);
        slope_row(s->scores + i * keys_pad, s->slopes + i * keys_pad,
                  call->plan.on ? s->kept : NULL, seen, n_cols, t->spec->scale, lse);
    }
    gemm_args dv = {s->scores, 1, keys_pad, s->dctx, width, s->dv, width, n_seen, width, n, true};
    gemm(&dv);
    gemm_args dk = {s->slopes, 1,      keys_pad, s->queries, width, s->dk,
                    width,     n_seen, width,    n,          true};
    gemm(&dk);
    if (!has_data(call->grads->dq)) return;
    gemm_args dq = {s->slopes, keys_pad, 1, s->keys, width, s->dq, width, n, width, n_seen, false};
    gemm(&dq);
    head_unpack(call->grads->dq, first, n, t, s->dq, width);
}

/* Brings a task's dk or dv (which = 0 or 1) to the prefix's and the sequence's own rows. */
static void store_key_grads(const backward_call *call, const head_task *t, const float *grad,
                            int64_t width, int which) {
    const attention_grads *g = call->grads;
    const tensor *own = which ? g->dv : g->dk, *prefix = which ? g->dprefix_v : g->dprefix_k;
    int64_t n_prefix = t->spec->n_prefix,
            total_width = (int64_t)t->spec->n_heads * t->spec->head_dim;
    if (n_prefix > 0 && call->prefix_sums) {
        float *rows = call->prefix_sums + (t->seq * 2 + which) * n_prefix * total_width;
        tensor partial = tensor_of(rows, DTYPE_F32, n_prefix, total_width);
        head_unpack(&partial, 0, n_prefix, t, grad, width);
    } else if (n_prefix > 0 && has_data(prefix)) {
        head_unpack(prefix, t->prefix_begin, n_prefix, t, grad, width);
    }
    if (has_data(own)) head_unpack(own, t->kv_begin, t->n_kv, t, grad + n_prefix * width, width);
}

static void backward_task(const backward_call *call, const head_task *t,
                          const backward_scratch *s) {
    int64_t width = s->width, keys_pad = round_up(t->n_keys, VEC);
    size_t bytes = (size_t)(t->n_keys * width) * sizeof(float);
    head_pack_keys(call->in->prefix_v, call->in->v, t, s->keys, width);
    head_transpose(s->keys, t->n_keys, width, s->values_t, keys_pad);
    head_pack_keys(call->in->prefix_k, call->in->k, t, s->keys, width);
    head_transpose(s->keys, t->n_keys, width, s->keys_t, keys_pad);
    memset(s->dk, 0, bytes);
    memset(s->dv, 0, bytes);
    for (int64_t begin = 0; begin < t->n_q; begin += QUERY_BLOCK) {
        backward_block(call, t, begin, min_i64(QUERY_BLOCK, t->n_q - begin), keys_pad, s);
    }
    store_key_grads(call, t, s->dk, width, 0);
    store_key_grads(call, t, s->dv, width, 1);
}

/* dprefix (P, A*D) = sum over sequences of their partial sums */
static void add_prefix_sums(backend_device *dev, const attention_spec *spec, const float *sums,
                            int which, const tensor *dprefix) {
    int64_t n_chunks = chunk_count(dprefix), size = (int64_t)spec->n_prefix * dprefix->cols;
#pragma omp parallel for schedule(static) num_threads(device_threads(dev, spec->n_seqs *size))
    for (int64_t i = 0; i < n_chunks; i++) {
        float total[CHUNK] = {0};
        chunk c = chunk_get(dprefix, i);
        for (int64_t seq = 0; seq < spec->n_seqs; seq++) {
            const float *part = sums + (seq * 2 + which) * size + c.row * dprefix->cols + c.col;
#pragma omp simd
            for (int64_t j = 0; j < c.n; j++) total[j] += part[j];
        }
        row_store(dprefix, c.row, c.col, c.n, total);
    }
}

cloze_status KFN(attention_backward)(backend_device *dev, const attention_spec *spec,
                                     const attention_inputs *in, const tensor *ctx,
                                     const tensor *lse, const tensor *dctx,
                                     const attention_grads *grads, cloze_error *err) {
    int64_t n_tasks = (int64_t)spec->n_seqs * spec->n_heads;
    int64_t max_keys = round_up(spec->n_prefix + spec->max_kv, VEC),
            width = round_up(spec->head_dim, VEC);
    int threads = device_threads(dev, 3 * attention_work(spec, in->q));
    size_t floats = (size_t)round_up((int64_t)backward_scratch_floats(max_keys, width), 16),
           prefix_floats = 0;
    bool shared_prefix = spec->n_prefix > 0 && !spec->prefix_per_seq &&
                         (has_data(grads->dprefix_k) || has_data(grads->dprefix_v));
    if (shared_prefix)
        prefix_floats = 2 * (size_t)n_tasks * (size_t)spec->n_prefix * (size_t)spec->head_dim;
    int at_once = attention_tasks_at_once(n_tasks, threads);
    void *memory;
    CLOZE_TRY(device_scratch(dev, (floats * (size_t)threads + prefix_floats) * sizeof(float),
                             &memory, err));
    float *prefix_sums = (float *)memory + floats * (size_t)threads;
    backward_call call = {
        in, lse, dctx, grads, dropout_plan_of(spec->dropout), shared_prefix ? prefix_sums : NULL};
#pragma omp parallel num_threads(threads)
    {
        float *mine = (float *)memory + floats * (size_t)omp_get_thread_num();
        backward_scratch s = backward_scratch_at(mine, max_keys, width);
#pragma omp for schedule(dynamic, at_once)
        for (int64_t index = 0; index < n_tasks; index++) {
            head_task t = head_task_get(spec, index);
            backward_task(&call, &t, &s);
        }
    }
    if (shared_prefix && has_data(grads->dprefix_k))
        add_prefix_sums(dev, spec, prefix_sums, 0, grads->dprefix_k);
    if (shared_prefix && has_data(grads->dprefix_v))
        add_prefix_sums(dev, spec, prefix_sums, 1, grads->dprefix_v);
    return CLOZE_OK;
}

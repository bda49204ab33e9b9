/* Attention, forward: scores, softmax, dropout and context of one (sequence, head) at a time. */
#include "backend/cpu/kernels/attention.h"
#include "base/error.h"

/* A thread's memory for one task. S: keys rounded up to VEC, W: D rounded up to VEC. */
typedef struct forward_scratch {
    float *keys;    /* (S, W) keys, and then values */
    float *keys_t;  /* (W, S) */
    float *queries; /* (QUERY_BLOCK, W), and then the context */
    float *scores;  /* (QUERY_BLOCK, S) */
    float *kept;    /* (S) dropout */
    int64_t width;
} forward_scratch;

static size_t forward_scratch_floats(int64_t keys, int64_t width) {
    return (size_t)(2 * keys * width + QUERY_BLOCK * width + QUERY_BLOCK * keys + keys);
}

static forward_scratch forward_scratch_at(float *memory, int64_t keys, int64_t width) {
    forward_scratch s = {.keys = memory, .width = width};
    s.keys_t = s.keys + keys * width;
    s.queries = s.keys_t + keys * width;
    s.scores = s.queries + QUERY_BLOCK * width;
    s.kept = s.scores + QUERY_BLOCK * keys;
    return s;
}

/*
 * Scores (n) of a row become exp(scale s - max), and columns n..n_padded (whole vectors) 0; returns
 * the sum, and the maximum of scale s. n >= 1.
 */
static float softmax_row(float *s, int64_t n, int64_t n_padded, float scale, float *max_out) {
    float max = -INFINITY;
    vec sum = {0};
    if (n_padded % VEC != 0) __builtin_unreachable();
#pragma omp simd
    for (int64_t j = 0; j < n_padded; j++) s[j] *= scale;
    for (int64_t j = n; j < n_padded; j++) s[j] = -INFINITY;
#pragma omp simd reduction(max : max)
    for (int64_t j = 0; j < n_padded; j++) max = s[j] > max ? s[j] : max;
#pragma omp simd
    for (int64_t j = 0; j < n_padded; j++) s[j] = exp_f32(s[j] - max);
    for (int64_t j = 0; j < n_padded; j += VEC) sum += vec_load(s + j);
    *max_out = max;
    return vec_sum(sum);
}

/* s (n, whole vectors) becomes s inverse kept; kept is NULL without dropout. */
static void normalise_row(float *s, const float *kept, int64_t n, float inverse) {
    if (n % VEC != 0) __builtin_unreachable();
    if (kept) {
#pragma omp simd
        for (int64_t j = 0; j < n; j++) s[j] *= kept[j] * inverse;
    } else {
#pragma omp simd
        for (int64_t j = 0; j < n; j++) s[j] *= inverse;
    }
}

/* Queries [begin, begin + n) of a task: context to ctx, log of the denominator to lse. */
static void forward_block(const head_task *t, const attention_inputs *in, const dropout_plan *plan,
                          int64_t begin, int64_t n, int64_t keys_pad, const forward_scratch *s,
                          const float *values, const tensor *ctx, const tensor *lse) {
    int64_t width = s->width, n_seen = head_visible(t, begin + n - 1),
            n_cols = round_up(n_seen, VEC);
    head_pack(in->q, t->q_begin + begin, n, t, s->queries, width);
    gemm_args scores = {s->queries, width, 1,      s->keys_t,         keys_pad, s->scores,
                        keys_pad,   n,     n_cols, t->spec->head_dim, false};
    gemm(&scores);
    for (int64_t i = 0; i < n; i++) {
        int64_t seen = head_visible(t, begin + i);
        float *row = s->scores + i * keys_pad, max = 0.0f, sum = 0.0f;
        if (seen > 0)
            sum = softmax_row(row, seen, n_cols, t->spec->scale, &max);
        else
            memset(row, 0, (size_t)n_cols * sizeof *row);
        if (has_data(lse)) {
            float log_sum = seen > 0 ? max + logf(sum) : -INFINITY;
            row_store(lse, t->q_begin + begin + i, t->head, 1, &log_sum);
        }
        if (plan->on) head_dropout(plan, t, begin + i, n_cols, s->kept);
        normalise_row(row, plan->on ? s->kept : NULL, n_cols, seen > 0 ? 1.0f / sum : 0.0f);
    }
    gemm_args context = {s->scores, keys_pad, 1,     values, width, s->queries,
                         width,     n,        width, n_seen, false};
    gemm(&context);
    head_unpack(ctx, t->q_begin + begin, n, t, s->queries, width);
}

cloze_status KFN(attention_forward)(backend_device *dev, const attention_spec *spec,
                                    const attention_inputs *in, tensor *ctx, tensor *lse,
                                    cloze_error *err) {
    dropout_plan plan = dropout_plan_of(spec->dropout);
    int64_t n_tasks = (int64_t)spec->n_seqs * spec->n_heads;
    int64_t max_keys = round_up(spec->n_prefix + spec->max_kv, VEC),
            width = round_up(spec->head_dim, VEC);
    int threads = device_threads(dev, attention_work(spec, in->q));
    size_t floats = (size_t)round_up((int64_t)forward_scratch_floats(max_keys, width), 16);
    int at_once = attention_tasks_at_once(n_tasks, threads);
    void *memory;
    CLOZE_TRY(device_scratch(dev, floats * (size_t)threads * sizeof(float), &memory, err));
#pragma omp parallel num_threads(threads)
    {
        float *mine = (float *)memory + floats * (size_t)omp_get_thread_num();
        forward_scratch s = forward_scratch_at(mine, max_keys, width);
#pragma omp for schedule(dynamic, at_once)
        for (int64_t index = 0; index < n_tasks; index++) {
            head_task t = head_task_get(spec, index);
            int64_t keys_pad = round_up(t.n_keys, VEC);
            head_pack_keys(in->prefix_k, in->k, &t, s.keys, width);
            head_transpose(s.keys, t.n_keys, width, s.keys_t, keys_pad);
            head_pack_keys(in->prefix_v, in->v, &t, s.keys, width);
            for (int64_t begin = 0; begin < t.n_q; begin += QUERY_BLOCK) {
                int64_t n = min_i64(QUERY_BLOCK, t.n_q - begin);
                forward_block(&t, in, &plan, begin, n, keys_pad, &s, s.keys, ctx, lse);
            }
        }
    }
    return CLOZE_OK;
}

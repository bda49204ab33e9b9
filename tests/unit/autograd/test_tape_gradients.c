/*
 * Gradient check of every op through the tape, against central differences, for each backend.
 *
 * The loss is L = sum over uses of <c, y>, with fixed random c, summed on the host in double from
 * the f32 results. With the four-point formula and step h = 0.03 the truncation error is h^4/30 of
 * the fifth derivative (3e-8 for values of order 1) and the rounding error about 1.5 eps |y| / h
 * times a few elements (1e-5), so 2e-4 of the largest gradient has room for a factor of ten and is
 * still far below any wrong formula. Every op runs once (gradients are written) and twice on the
 * same inputs (they are added to), and with each input trainable alone (the others are pruned).
 */
#include "unit/autograd/autograd_support.h"

#define MAX_PARAMS 5
#define STEP 0.03
#define TOLERANCE 2e-4
#define N_ROWS 6 /* N */

typedef var *(*op_build)(tape *t, param *const p[], var *const x[]);
typedef struct op_case {
    const char *name;
    op_build build;
    int shapes[MAX_PARAMS][2];
    bool lazy;      /* the first parameter is row-lazy */
    bool keep_away; /* inputs at least 0.2 from 0, where the function has a kink */
} op_case;

static const int32_t offsets[] = {0, 2, 6}; /* B = 2, N = 6 */
static const int32_t kv_offsets[] = {0, 3, 5};
static const int32_t ids[] = {3, 0, 3, 1, 4, 3};
static const int32_t other_ids[] = {0, 0, 1, 0, 1, 1};
static const int32_t rows[] = {4, 1, 4};
static const int32_t positions[] = {0, 1, 0, 1, 2, 3};

static attention_layout layout(attention_mask mask, float dropout_p, int32_t n_prefix,
                               bool per_seq) {
    return (attention_layout){.n_seqs = 2,
                              .q_offsets = offsets,
                              .kv_offsets = offsets,
                              .n_heads = 2,
                              .head_dim = 3,
                              .scale = 0.6f,
                              .mask = mask,
                              .dropout_p = dropout_p,
                              .site = 5,
                              .n_prefix = n_prefix,
                              .prefix_per_seq = per_seq};
}

#define BUILD(name) static var *name(tape *t, param *const p[], var *const x[])

BUILD(embedding) {
    param *tables[] = {p[0], p[1]};
    const int32_t *table_ids[] = {ids, other_ids};
    return op_embedding(t, tables, table_ids, 2, N_ROWS);
}
BUILD(linear_none) { return op_linear(t, x[0], p[1], p[2], ACT_NONE); }
BUILD(linear_no_bias) { return op_linear(t, x[0], p[1], NULL, ACT_NONE); }
BUILD(linear_gelu_erf) { return op_linear(t, x[0], p[1], p[2], ACT_GELU_ERF); }
BUILD(linear_gelu_tanh) { return op_linear(t, x[0], p[1], p[2], ACT_GELU_TANH); }
BUILD(linear_silu) { return op_linear(t, x[0], p[1], p[2], ACT_SILU); }
BUILD(linear_tanh) { return op_linear(t, x[0], p[1], p[2], ACT_TANH); }
BUILD(linear_logits) { return op_linear_logits(t, x[0], p[1], p[2]); }
BUILD(linear_tied) { return op_linear(t, x[1], p[0], p[2], ACT_NONE); }
BUILD(linear_rows) { return op_linear_rows(t, x[1], p[0], p[2], rows, 3); }
BUILD(activation_relu) { return op_activation(t, x[0], ACT_RELU); }
BUILD(activation_gelu) { return op_activation(t, x[0], ACT_GELU_ERF); }
BUILD(activation_gelu_tanh) { return op_activation(t, x[0], ACT_GELU_TANH); }
BUILD(activation_silu) { return op_activation(t, x[0], ACT_SILU); }
BUILD(activation_tanh) { return op_activation(t, x[0], ACT_TANH); }
BUILD(layer_norm) { return op_layer_norm(t, x[0], NULL, 0.0f, 1, p[1], p[2], 1e-3f); }
BUILD(layer_norm_residual) { return op_layer_norm(t, x[0], x[3], 0.4f, 1, p[1], p[2], 1e-3f); }
BUILD(layer_norm_itself) { return op_layer_norm(t, x[0], x[0], 0.4f, 1, p[1], p[2], 1e-3f); }
BUILD(rms_norm) { return op_rms_norm(t, x[0], p[1], 1e-3f); }
BUILD(dropout) { return op_dropout(t, x[0], 0.3f, 9); }
BUILD(add) { return op_add(t, x[0], x[1]); }
BUILD(add_itself) { return op_add(t, x[0], x[0]); }
BUILD(scale) { return op_scale(t, x[0], -1.7f); }
BUILD(mul) { return op_mul(t, x[0], x[1]); }
BUILD(mul_itself) { return op_mul(t, x[0], x[0]); }
BUILD(mul_row) { return op_mul(t, x[0], x[1]); }
BUILD(glu_silu) { return op_glu(t, x[0], ACT_SILU); }
BUILD(glu_gelu) { return op_glu(t, x[0], ACT_GELU_TANH); }
BUILD(rope_halves) { return op_rope(t, x[0], positions, 2, 4, 100.0f, false); }
BUILD(rope_pairs) { return op_rope(t, x[0], positions, 2, 2, 100.0f, true); }
BUILD(attention_full) {
    attention_layout l = layout(ATTENTION_FULL, 0.0f, 0, false);
    return op_attention_qkv(t, x[0], NULL, NULL, &l);
}
BUILD(attention_causal_dropout) {
    attention_layout l = layout(ATTENTION_CAUSAL, 0.3f, 0, false);
    return op_attention_qkv(t, x[0], NULL, NULL, &l);
}
BUILD(attention_prefix) {
    attention_layout l = layout(ATTENTION_FULL, 0.2f, 2, false);
    return op_attention_qkv(t, x[0], x[1], x[2], &l);
}
BUILD(attention_prefix_per_seq) {
    attention_layout l = layout(ATTENTION_CAUSAL, 0.0f, 2, true);
    return op_attention_qkv(t, x[0], x[1], x[2], &l);
}
BUILD(attention_cross) {
    attention_layout l = layout(ATTENTION_FULL, 0.0f, 0, false);
    l.kv_offsets = kv_offsets;
    return op_attention(t, x[0], x[1], x[2], NULL, NULL, &l);
}
BUILD(attention_same_key_value) {
    attention_layout l = layout(ATTENTION_FULL, 0.0f, 0, false);
    return op_attention(t, x[0], x[1], x[1], NULL, NULL, &l);
}
BUILD(gather) { return op_gather_rows(t, x[0], rows, 3); }
BUILD(concat_rows) { return op_concat_rows(t, (var *[]){x[0], x[1], x[0]}, 3); }
BUILD(concat_columns) { return op_concat_columns(t, (var *[]){x[0], x[1]}, 2); }
BUILD(slice_columns) { return op_slice_columns(t, x[0], 1, 2); }
BUILD(slice_then_linear) {
    return op_linear(t, op_slice_columns(t, x[0], 1, 3), p[1], NULL, ACT_NONE);
}
BUILD(add_columns) { return op_add_columns(t, x[0], x[1], 2); }
BUILD(mean_pool) { return op_mean_pool(t, x[0], offsets, 2); }
BUILD(log_softmax) { return op_log_softmax(t, x[0]); }
BUILD(logsumexp) { return op_logsumexp(t, x[0], (const int32_t[]){0, 2, 5}, 2); }
BUILD(cross_entropy) {
    static const int32_t labels[] = {2, LABEL_IGNORE, 0, 4, 1, 3};
    static const float weights[] = {0.5f, 1.0f, 2.0f, 0.1f, 1.5f};
    cross_entropy_options o = {
        .labels = labels, .class_weights = weights, .label_smoothing = 0.1f, .scale = 0.4f};
    return op_cross_entropy(t, x[0], &o);
}
BUILD(cross_entropy_soft) {
    float soft[N_ROWS * 5];
    for (int i = 0; i < N_ROWS * 5; i++) soft[i] = (float)(1 + i % 5) / 15.0f;
    cross_entropy_options o = {.soft_labels = soft, .scale = 0.4f};
    return op_cross_entropy(t, x[0], &o);
}
BUILD(bce) {
    float targets[N_ROWS * 5];
    for (int i = 0; i < N_ROWS * 5; i++) targets[i] = (float)(i % 3 == 0);
    return op_bce(t, x[0], targets, 0.5f);
}
BUILD(kl) { return op_kl(t, x[0], x[1], 0.5f); }
BUILD(kl_itself) { return op_kl(t, x[0], op_scale(t, x[0], 0.5f), 0.5f); }
BUILD(cosine) { return op_cosine(t, x[0], x[1], 1e-8f); }
BUILD(cosine_itself) { return op_cosine(t, x[0], x[0], 1e-8f); }
BUILD(lstm) { return op_lstm(t, x[0], p[1], p[2], p[3], p[4], 2, offsets, false); }
BUILD(lstm_reverse) { return op_lstm(t, x[0], p[1], p[2], p[3], p[4], 2, offsets, true); }
BUILD(reshape) { return op_reshape(t, x[0], 3, 10); }
BUILD(sum) { return op_sum(t, x[0], 0.3f); }

static const op_case cases[] = {
    {"embedding", embedding, .shapes = {{5, 3}, {2, 3}}, .lazy = true},
    {"linear", linear_none, .shapes = {{6, 5}, {4, 5}, {1, 4}}},
    {"linear without bias", linear_no_bias, .shapes = {{6, 5}, {4, 5}}},
    {"linear, gelu_erf", linear_gelu_erf, .shapes = {{6, 5}, {4, 5}, {1, 4}}},
    {"linear, gelu_tanh", linear_gelu_tanh, .shapes = {{6, 5}, {4, 5}, {1, 4}}},
    {"linear, silu", linear_silu, .shapes = {{6, 5}, {4, 5}, {1, 4}}},
    {"linear, tanh", linear_tanh, .shapes = {{6, 5}, {4, 5}, {1, 4}}},
    {"linear_logits", linear_logits, .shapes = {{6, 5}, {4, 5}, {1, 4}}},
    {"linear over a row-lazy table", linear_tied, .shapes = {{5, 3}, {6, 3}, {1, 5}}, .lazy = true},
    {"linear_rows", linear_rows, .shapes = {{5, 3}, {6, 3}, {1, 5}}},
    {"linear_rows over a row-lazy table", linear_rows, .shapes = {{5, 3}, {6, 3}, {1, 5}},
     .lazy = true},
    {"relu", activation_relu, .shapes = {{6, 5}}, .keep_away = true},
    {"gelu_erf", activation_gelu, .shapes = {{6, 5}}},
    {"gelu_tanh", activation_gelu_tanh, .shapes = {{6, 5}}},
    {"silu", activation_silu, .shapes = {{6, 5}}},
    {"tanh", activation_tanh, .shapes = {{6, 5}}},
    {"layer_norm", layer_norm, .shapes = {{6, 5}, {1, 5}, {1, 5}}},
    {"layer_norm with residual", layer_norm_residual, .shapes = {{6, 5}, {1, 5}, {1, 5}, {6, 5}}},
    {"layer_norm of x + x", layer_norm_itself, .shapes = {{6, 5}, {1, 5}, {1, 5}}},
    {"rms_norm", rms_norm, .shapes = {{6, 5}, {1, 5}}},
    {"dropout", dropout, .shapes = {{6, 5}}},
    {"add", add, .shapes = {{6, 5}, {6, 5}}},
    {"add x + x", add_itself, .shapes = {{6, 5}}},
    {"scale", scale, .shapes = {{6, 5}}},
    {"mul", mul, .shapes = {{6, 5}, {6, 5}}},
    {"mul x x", mul_itself, .shapes = {{6, 5}}},
    {"mul by a row", mul_row, .shapes = {{6, 5}, {1, 5}}},
    {"glu, silu", glu_silu, .shapes = {{6, 8}}},
    {"glu, gelu_tanh", glu_gelu, .shapes = {{6, 8}}},
    {"rope by halves", rope_halves, .shapes = {{6, 8}}},
    {"rope by pairs, half of the columns", rope_pairs, .shapes = {{6, 8}}},
    {"attention", attention_full, .shapes = {{6, 18}}},
    {"attention, causal with dropout", attention_causal_dropout, .shapes = {{6, 18}}},
    {"attention with a shared prefix", attention_prefix, .shapes = {{6, 18}, {2, 6}, {2, 6}}},
    {"attention with a prefix per sequence", attention_prefix_per_seq,
     .shapes = {{6, 18}, {4, 6}, {4, 6}}},
    {"attention over other keys", attention_cross, .shapes = {{6, 6}, {5, 6}, {5, 6}}},
    {"attention, keys are values", attention_same_key_value, .shapes = {{6, 6}, {6, 6}}},
    {"gather_rows", gather, .shapes = {{6, 4}}},
    {"concat_rows", concat_rows, .shapes = {{2, 4}, {3, 4}}},
    {"concat_columns", concat_columns, .shapes = {{3, 2}, {3, 4}}},
    {"slice_columns", slice_columns, .shapes = {{6, 4}}},
    {"slice_columns into linear", slice_then_linear, .shapes = {{6, 5}, {4, 3}}},
    {"add_columns", add_columns, .shapes = {{6, 5}, {6, 2}}},
    {"mean_pool", mean_pool, .shapes = {{6, 4}}},
    {"log_softmax", log_softmax, .shapes = {{6, 5}}},
    {"logsumexp", logsumexp, .shapes = {{6, 5}}},
    {"cross_entropy", cross_entropy, .shapes = {{6, 5}}},
    {"cross_entropy, soft labels", cross_entropy_soft, .shapes = {{6, 5}}},
    {"bce", bce, .shapes = {{6, 5}}},
    {"kl", kl, .shapes = {{6, 5}, {6, 5}}},
    {"kl of x and x/2", kl_itself, .shapes = {{6, 5}}},
    {"cosine", cosine, .shapes = {{4, 5}, {3, 5}}},
    {"cosine of x with itself", cosine_itself, .shapes = {{4, 5}}},
    {"lstm", lstm, .shapes = {{6, 3}, {8, 3}, {8, 2}, {1, 8}, {1, 8}}},
    {"lstm in reverse", lstm_reverse, .shapes = {{6, 3}, {8, 3}, {8, 2}, {1, 8}, {1, 8}}},
    {"reshape", reshape, .shapes = {{6, 5}}},
    {"sum", sum, .shapes = {{6, 5}}},
};

typedef struct fixture {
    const backend *be;
    backend_device *dev;
    tape *t;
    const op_case *c;
    param params[MAX_PARAMS], *p[MAX_PARAMS];
    int n;
    param_block *block;
} fixture;

static void begin(fixture *f, const backend *be, backend_device *dev, const op_case *c) {
    *f = (fixture){.be = be, .dev = dev, .c = c};
    f->t = open_tape(be, dev, DTYPE_F32);
    for (; f->n < MAX_PARAMS && c->shapes[f->n][0] > 0; f->n++) {
        param *p = f->p[f->n] = &f->params[f->n];
        make_param(p, "p", c->shapes[f->n][0], c->shapes[f->n][1], 100 + (uint64_t)f->n);
        p->row_lazy = c->lazy && f->n == 0;
        float *values = p->w.t.data;
        for (int64_t i = 0; c->keep_away && i < param_n(p); i++)
            values[i] += values[i] < 0 ? -0.2f : 0.2f;
    }
    MUST(param_block_create(f->p, f->n, &f->block, err));
}

static void end(fixture *f) {
    tape_destroy(f->t);
    for (int i = 0; i < f->n; i++) end_param(f->be, f->dev, &f->params[i]);
    param_block_destroy(f->block);
}

/* Runs the op n_uses times on the same inputs; y[k] are its results. */
static void forward(fixture *f, bool with_grad, int n_uses, var *y[2]) {
    uint64_t keys[N_ROWS];
    for (int i = 0; i < N_ROWS; i++) keys[i] = rng_mix(77, (uint64_t)i);
    tape_begin_step(f->t, with_grad, 4242, keys, N_ROWS);
    var *x[MAX_PARAMS];
    for (int i = 0; i < f->n; i++) x[i] = op_scale(f->t, tape_param(f->t, f->p[i]), 1.0f);
    for (int k = 0; k < n_uses; k++) y[k] = f->c->build(f->t, f->p, x);
    must_tape(f->t);
}

static double loss_of(fixture *f, int n_uses) {
    float values[256];
    var *y[2];
    double loss = 0.0;
    forward(f, false, n_uses, y);
    for (int k = 0; k < n_uses; k++) {
        int64_t n = y[k]->t.rows * y[k]->t.cols;
        assert_true(n <= COUNT(values));
        MUST(tape_read(f->t, y[k], values, err));
        for (int64_t i = 0; i < n; i++)
            loss += (double)values[i] * (double)number(7 + (uint64_t)k, i);
    }
    return loss;
}

static void gradients(fixture *f, int n_uses) {
    var *y[2], *roots[2];
    forward(f, true, n_uses, y);
    for (int k = 0; k < n_uses; k++) {
        float c[256];
        fill(c, y[k]->t.rows * y[k]->t.cols, 7 + (uint64_t)k);
        roots[k] =
            op_sum(f->t, op_mul(f->t, y[k], tape_input(f->t, c, y[k]->t.rows, y[k]->t.cols)), 1.0f);
    }
    param_block_zero_grad(f->block);
    MUST(tape_backward(f->t, roots, NULL, n_uses, err));
}

static double shifted_loss(fixture *f, param *p, int64_t i, double shift, int n_uses) {
    float *value = (float *)p->w.t.data + i, kept = *value;
    *value = (float)((double)kept + shift);
    p->w.version++;
    double loss = loss_of(f, n_uses);
    *value = kept;
    p->w.version++;
    return loss;
}

static void check_differences(fixture *f, int n_uses) {
    for (int k = 0; k < f->n; k++) {
        param *p = f->p[k];
        const float *grad = p->grad.data;
        double largest = 0.0, worst = 0.0;
        int64_t where = 0;
        double numeric_there = 0.0;
        for (int64_t i = 0; i < param_n(p); i++) {
            double near =
                shifted_loss(f, p, i, STEP, n_uses) - shifted_loss(f, p, i, -STEP, n_uses);
            double far =
                shifted_loss(f, p, i, 2 * STEP, n_uses) - shifted_loss(f, p, i, -2 * STEP, n_uses);
            double numeric = (8.0 * near - far) / (12.0 * STEP),
                   difference = fabs(numeric - (double)grad[i]);
            if (fabs(numeric) > largest) largest = fabs(numeric);
            if (!(difference <= worst)) {
                worst = difference;
                where = i;
                numeric_there = numeric;
            }
        }
        if (!(worst <= TOLERANCE * (largest > 0.1 ? largest : 0.1)))
            fail_msg(
                "%s on %s, %d uses: input %d, element %lld: gradient %.7g, differences say %.7g",
                f->c->name, f->be->name, n_uses, k, (long long)where, (double)grad[where],
                numeric_there);
    }
}

/* With only parameter k trainable its gradient has the bits that it has with all of them. */
static void check_each_alone(fixture *f) {
    float expected[MAX_PARAMS][256];
    gradients(f, 1);
    for (int k = 0; k < f->n; k++)
        memcpy(expected[k], f->p[k]->grad.data, (size_t)param_n(f->p[k]) * sizeof(float));
    for (int k = 0; k < f->n; k++) {
        for (int i = 0; i < f->n; i++) f->p[i]->requires_grad = i == k;
        gradients(f, 1);
        assert_same_bits(f->p[k]->grad.data, expected[k], param_n(f->p[k]), f->c->name);
    }
    for (int i = 0; i < f->n; i++) f->p[i]->requires_grad = true;
}

static void check_all(const backend *be) {
    backend_device *dev = open_device(be);
    for (int i = 0; i < COUNT(cases); i++) {
        fixture f;
        begin(&f, be, dev, &cases[i]);
        for (int n_uses = 1; n_uses <= 2; n_uses++) {
            gradients(&f, n_uses);
            check_differences(&f, n_uses);
        }
        check_each_alone(&f);
        end(&f);
    }
    be->device_close(dev);
}

static void ref_gradients_agree_with_differences(void **state) { check_all(&backend_ref); }
static void cpu_gradients_agree_with_differences(void **state) { check_all(&backend_cpu); }

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ref_gradients_agree_with_differences),
        cmocka_unit_test(cpu_gradients_agree_with_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

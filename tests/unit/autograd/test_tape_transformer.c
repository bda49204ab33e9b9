/*
 * A two-layer transformer over the tape, as the models build it: embeddings, post-norm layers with
 * dropout, a masked-LM head tied to the word table and a classifier. What must not change a result
 * (checkpoints, scopes, packing order, frozen parts, bf16 up to its rounding) is compared on it.
 */
#include "unit/autograd/autograd_support.h"

#define V 50 /* vocabulary */
#define H 24 /* hidden */
#define F 40 /* ffn */
#define A 3  /* heads */
#define L 2  /* layers */
#define C 4  /* classes */
#define B 3  /* sequences */
#define N 19 /* tokens */
#define R 4  /* mask rows */

enum {
    QKV_W,
    QKV_B,
    OUT_W,
    OUT_B,
    NORM1_W,
    NORM1_B,
    UP_W,
    UP_B,
    DOWN_W,
    DOWN_B,
    NORM2_W,
    NORM2_B,
    PER_LAYER
};
enum { WORDS, PLACES, NORM_W, NORM_B, LM_BIAS, CLS_W, CLS_B, N_SHARED };
#define N_PARAMS (N_SHARED + L * PER_LAYER)

typedef struct options {
    bool checkpoint, no_scopes, dropout, swapped, dense, frozen, release;
} options;

typedef struct model {
    const backend *be;
    backend_device *dev;
    tape *t;
    param shared[N_SHARED], layers[L][PER_LAYER], *all[N_PARAMS];
    param_block *block;
} model;

static const int shared_shapes[N_SHARED][2] = {{V, H}, {16, H}, {1, H}, {1, H},
                                               {1, V}, {C, H},  {1, C}};
static const int layer_shapes[PER_LAYER][2] = {{3 * H, H}, {1, 3 * H}, {H, H}, {1, H},
                                               {1, H},     {1, H},     {F, H}, {1, F},
                                               {H, F},     {1, H},     {1, H}, {1, H}};

static void begin_model(model *m, const backend *be, cloze_dtype compute, const options *o) {
    memset(m, 0, sizeof *m);
    m->be = be;
    m->dev = open_device(be);
    m->t = open_tape(be, m->dev, compute);
    for (int i = 0; i < N_PARAMS; i++) {
        int layer = (i - N_SHARED) / PER_LAYER, k = (i - N_SHARED) % PER_LAYER;
        param *p = m->all[i] = i < N_SHARED ? &m->shared[i] : &m->layers[layer][k];
        const int *shape = i < N_SHARED ? shared_shapes[i] : layer_shapes[k];
        make_param(p, "p", shape[0], shape[1], 1000 + (uint64_t)i);
        bool norm_gain = i == NORM_W || (i >= N_SHARED && (k == NORM1_W || k == NORM2_W));
        float *values = p->w.t.data;
        for (int64_t e = 0; e < param_n(p); e++)
            values[e] = norm_gain ? 1.0f + 0.2f * values[e] : 0.4f * values[e];
    }
    m->shared[WORDS].row_lazy = m->shared[PLACES].row_lazy = !o->dense;
    MUST(param_block_create(m->all, N_PARAMS, &m->block, err));
    for (int i = 0; o->frozen && i < N_PARAMS; i++)
        m->all[i]->requires_grad = i == CLS_W || i == CLS_B;
}

static void end_model(model *m) {
    tape_destroy(m->t);
    for (int i = 0; i < N_PARAMS; i++) end_param(m->be, m->dev, m->all[i]);
    param_block_destroy(m->block);
    m->be->device_close(m->dev);
}

/* ---- a batch: three sequences, in one order or another ---- */

typedef struct batch {
    int32_t offsets[B + 1], ids[N], places[N], masks[R], words[R], firsts[B], labels[B];
    uint64_t keys[N];
} batch;

static void make_batch(batch *b, bool swapped) {
    static const int32_t lengths[B] = {7, 4, 8};
    static const int32_t mask_at[B][2] = {{2, 5}, {1, -1}, {6, -1}};
    int32_t at = 0, r = 0;
    b->offsets[0] = 0;
    for (int32_t k = 0; k < B; k++) {
        int32_t s = swapped ? B - 1 - k : k;
        b->firsts[k] = at;
        b->labels[k] = s % C;
        for (int i = 0; i < 2; i++) {
            if (mask_at[s][i] < 0) continue;
            b->masks[r] = at + mask_at[s][i];
            b->words[r++] = (11 * s + 7 * i) % V;
        }
        for (int32_t i = 0; i < lengths[s]; i++, at++) {
            b->ids[at] = (7 * s + 3 * i * i) % 40; /* the last ten rows of the table are not seen */
            b->places[at] = i;
            b->keys[at] = rng_mix(rng_mix(1, (uint64_t)s), (uint64_t)i);
        }
        b->offsets[k + 1] = at;
    }
}

/* ---- the model ---- */

typedef struct layer_call {
    model *m;
    const batch *b;
    const options *o;
    int layer;
} layer_call;

static var *layer_forward(tape *t, void *ctx, var *x) {
    const layer_call *call = ctx;
    param *p = call->m->layers[call->layer];
    uint64_t site = 10 * (uint64_t)call->layer;
    attention_layout layout = {.n_seqs = B,
                               .q_offsets = call->b->offsets,
                               .kv_offsets = call->b->offsets,
                               .n_heads = A,
                               .head_dim = H / A,
                               .scale = 0.35f,
                               .dropout_p = 0.1f,
                               .site = site + 1};
    if (!call->o->no_scopes) tape_scope_begin(t);
    var *a =
        op_attention_qkv(t, op_linear(t, x, &p[QKV_W], &p[QKV_B], ACT_NONE), NULL, NULL, &layout);
    a = op_linear(t, a, &p[OUT_W], &p[OUT_B], ACT_NONE);
    var *h = op_layer_norm(t, a, x, 0.1f, site + 2, &p[NORM1_W], &p[NORM1_B], 1e-12f);
    var *f = op_linear(t, h, &p[UP_W], &p[UP_B], ACT_GELU_ERF);
    f = op_linear(t, f, &p[DOWN_W], &p[DOWN_B], ACT_NONE);
    var *y = op_layer_norm(t, f, h, 0.1f, site + 3, &p[NORM2_W], &p[NORM2_B], 1e-12f);
    if (!call->o->no_scopes) tape_scope_end(t, &y, 1);
    return y;
}

static var *encode(model *m, const batch *b, const options *o, layer_call calls[L]) {
    tape *t = m->t;
    param *tables[] = {&m->shared[WORDS], &m->shared[PLACES]};
    const int32_t *ids[] = {b->ids, b->places};
    var *x = op_embedding(t, tables, ids, 2, N);
    x = op_layer_norm(t, x, NULL, 0, 0, &m->shared[NORM_W], &m->shared[NORM_B], 1e-12f);
    x = op_dropout(t, x, 0.1f, 99);
    for (int i = 0; i < L; i++) {
        calls[i] = (layer_call){m, b, o, i};
        var *y = o->checkpoint ? tape_checkpoint(t, layer_forward, &calls[i], x)
                               : layer_forward(t, &calls[i], x);
        if (o->release) tape_release(t, x);
        x = y;
    }
    return x;
}

/* losses[0]: masked LM, losses[1]: classes. mask_logits (R,V) and class_logits (B,C) may be NULL.
 */
static void run(model *m, const options *o, bool backward, float losses[2], float *mask_logits,
                float *class_logits) {
    tape *t = m->t;
    batch b;
    layer_call calls[L];
    make_batch(&b, o->swapped);
    tape_begin_step(t, backward, 77, o->dropout ? b.keys : NULL, N);
    var *x = encode(m, &b, o, calls);
    var *words = op_linear_logits(t, op_gather_rows(t, x, b.masks, R), &m->shared[WORDS],
                                  &m->shared[LM_BIAS]);
    var *pooled = op_activation(t, op_gather_rows(t, x, b.firsts, B), ACT_TANH);
    var *classes =
        op_linear_logits(t, op_dropout(t, pooled, 0.1f, 98), &m->shared[CLS_W], &m->shared[CLS_B]);
    cross_entropy_options lm = {.labels = b.words, .scale = 1.0f / R},
                          cls = {.labels = b.labels, .scale = 1.0f / B};
    var *roots[2] = {op_cross_entropy(t, words, &lm), op_cross_entropy(t, classes, &cls)};
    for (int i = 0; i < 2; i++) MUST(tape_read(t, roots[i], &losses[i], err));
    if (mask_logits) MUST(tape_read(t, words, mask_logits, err));
    if (class_logits) MUST(tape_read(t, classes, class_logits, err));
    if (backward) {
        param_block_zero_grad(m->block);
        MUST(tape_backward(t, roots, NULL, 2, err));
    }
    must_tape(t);
}

static int64_t total_params(const model *m) {
    int64_t n = 0;
    for (int i = 0; i < N_PARAMS; i++) n += param_n(m->all[i]);
    return n;
}

/* Losses and all gradients of a fresh model, one after another; free with mem_free. */
static float *result_of(const backend *be, cloze_dtype compute, options o, int64_t *n) {
    model m;
    begin_model(&m, be, compute, &o);
    *n = total_params(&m) + 2;
    float *out = mem_calloc((size_t)*n, sizeof *out);
    assert_non_null(out);
    run(&m, &o, true, out, NULL, NULL);
    int64_t at = 2;
    for (int i = 0; i < N_PARAMS; i++) {
        memcpy(out + at, m.all[i]->grad.data, (size_t)param_n(m.all[i]) * sizeof *out);
        at += param_n(m.all[i]);
    }
    end_model(&m);
    return out;
}

static void expect_same(const backend *be, cloze_dtype compute, options a, options b,
                        const char *what) {
    int64_t n;
    float *x = result_of(be, compute, a, &n), *y = result_of(be, compute, b, &n);
    assert_true(isfinite(x[0]) && isfinite(x[1]) && x[0] > 0 && x[1] > 0);
    assert_same_bits(x, y, n, what);
    mem_free(x);
    mem_free(y);
}

/* ---- tests, for each backend ---- */

static const backend *backend_of(void **state) { return *state; }

static void memory_choices_change_no_bit(void **state) {
    const backend *be = backend_of(state);
    for (cloze_dtype compute = DTYPE_F32; compute <= DTYPE_BF16; compute++) {
        options plain = {.dropout = true}, other;
        expect_same(be, compute, plain, plain, "twice the same");
        other = plain, other.checkpoint = true;
        expect_same(be, compute, plain, other, "checkpoint");
        other = plain, other.no_scopes = true;
        expect_same(be, compute, plain, other, "without scopes");
        other = plain, other.release = true;
        expect_same(be, compute, plain, other, "released inputs");
        other = plain, other.checkpoint = other.release = true;
        expect_same(be, compute, plain, other, "checkpoint and released inputs");
        other = plain, other.dense = true;
        expect_same(be, compute, plain, other, "dense tables");
    }
}

/* d/ds of the loss along a direction (of 8000 parameters, so of length 50) against four-point
 * differences. Halving the step twice from 0.016 shrinks the difference by h^4, to about 2e-4 at
 * 0.004, where rounding (1.5 x 5e-7 / h) is as large. */
static void gradient_agrees_along_directions(void **state) {
    const double step = 0.004;
    options o = {.dropout = true};
    model m;
    begin_model(&m, backend_of(state), DTYPE_F32, &o);
    for (uint64_t direction = 0; direction < 4; direction++) {
        double at[4], slope = 0.0;
        float losses[2];
        run(&m, &o, true, losses, NULL, NULL);
        for (int i = 0; i < N_PARAMS; i++)
            for (int64_t e = 0; e < param_n(m.all[i]); e++)
                slope += (double)((float *)m.all[i]->grad.data)[e] *
                         (double)number(direction * 100 + (uint64_t)i, e);
        static const double shifts[4] = {-2, -1, 1, 2};
        for (int k = 0; k < 4; k++) {
            float *kept = mem_calloc((size_t)total_params(&m), sizeof *kept), *next = kept;
            for (int i = 0; i < N_PARAMS; i++) {
                float *values = m.all[i]->w.t.data;
                for (int64_t e = 0; e < param_n(m.all[i]); e++) {
                    *next++ = values[e];
                    values[e] +=
                        (float)(shifts[k] * step) * number(direction * 100 + (uint64_t)i, e);
                }
                m.all[i]->w.version++;
            }
            run(&m, &o, false, losses, NULL, NULL);
            at[k] = (double)losses[0] + (double)losses[1];
            next = kept;
            for (int i = 0; i < N_PARAMS; i++) {
                memcpy(m.all[i]->w.t.data, next, (size_t)param_n(m.all[i]) * sizeof *next);
                next += param_n(m.all[i]);
                m.all[i]->w.version++;
            }
            mem_free(kept);
        }
        double numeric = (8.0 * (at[2] - at[1]) - (at[3] - at[0])) / (12.0 * step);
        if (!(fabs(numeric - slope) < 2e-3 * (fabs(slope) > 1.0 ? fabs(slope) : 1.0)))
            fail_msg("direction %d: gradient %.6f, differences %.6f", (int)direction, slope,
                     numeric);
    }
    end_model(&m);
}

/* The order of the sequences changes neither answers nor dropout, beyond rounding. */
static void packing_order_does_not_matter(void **state) {
    for (int dropout = 0; dropout < 2; dropout++) {
        float classes[2][B * C], losses[2][2], turned[B * C];
        int64_t n;
        options o[2] = {{.dropout = dropout}, {.dropout = dropout, .swapped = true}};
        float *grads[2];
        for (int i = 0; i < 2; i++) {
            model m;
            begin_model(&m, backend_of(state), DTYPE_F32, &o[i]);
            run(&m, &o[i], true, losses[i], NULL, classes[i]);
            end_model(&m);
            grads[i] = result_of(backend_of(state), DTYPE_F32, o[i], &n);
        }
        for (int s = 0; s < B; s++)
            memcpy(turned + s * C, classes[1] + (B - 1 - s) * C, C * sizeof *turned);
        assert_true(relative_difference(turned, classes[0], B * C) < 1e-5);
        assert_true(relative_difference(losses[1], losses[0], 2) < 1e-5);
        assert_true(relative_difference(grads[1], grads[0], n) < 1e-5);
        mem_free(grads[0]);
        mem_free(grads[1]);
    }
}

/* Without a gradient to come a backend may fuse differently: the same bits on ref, and rounding
 * elsewhere. */
static void expect_near(const backend *be, const float *a, const float *b, int64_t n,
                        double tolerance, const char *what) {
    if (be == &backend_ref) assert_same_bits(a, b, n, what);
    double d = relative_difference(a, b, n);
    if (!(d <= tolerance)) fail_msg("%s on %s: %.3g apart", what, be->name, d);
}

static void a_frozen_body_leaves_the_head_as_it_is(void **state) {
    int64_t n;
    options o = {.dropout = true}, frozen = {.dropout = true, .frozen = true};
    float *all = result_of(backend_of(state), DTYPE_F32, o, &n),
          *head = result_of(backend_of(state), DTYPE_F32, frozen, &n);
    int64_t at = 2;
    for (int i = 0; i < N_PARAMS; i++) {
        int64_t size = i < N_SHARED ? shared_shapes[i][0] * shared_shapes[i][1]
                                    : layer_shapes[(i - N_SHARED) % PER_LAYER][0] *
                                          layer_shapes[(i - N_SHARED) % PER_LAYER][1];
        if (i == CLS_W || i == CLS_B)
            expect_near(backend_of(state), head + at, all + at, size, 1e-5, "head");
        else
            for (int64_t e = 0; e < size; e++) assert_true(head[at + e] == 0.0f);
        at += size;
    }
    assert_int_equal(at, n);
    mem_free(all);
    mem_free(head);
}

/* bf16 has 8 bits: two layers of it keep losses within 2% and the gradient's direction. */
static void bf16_is_near_f32(void **state) {
    int64_t n;
    options o = {.dropout = true};
    float *f32 = result_of(backend_of(state), DTYPE_F32, o, &n),
          *bf16 = result_of(backend_of(state), DTYPE_BF16, o, &n);
    assert_true(relative_difference(bf16, f32, 2) < 0.02);
    double dot = 0, aa = 0, bb = 0;
    for (int64_t i = 2; i < n; i++) {
        dot += (double)f32[i] * (double)bf16[i];
        aa += (double)f32[i] * (double)f32[i];
        bb += (double)bf16[i] * (double)bf16[i];
    }
    assert_true(dot / sqrt(aa * bb) > 0.999);
    assert_true(fabs(sqrt(bb / aa) - 1.0) < 0.02);
    assert_memory_not_equal(f32, bf16, 2 * sizeof *f32); /* it is another precision */
    mem_free(f32);
    mem_free(bf16);
}

static void inference_gives_the_same_logits(void **state) {
    for (cloze_dtype compute = DTYPE_F32; compute <= DTYPE_BF16; compute++) {
        float losses[2][2], words[2][R * V];
        options o = {0};
        model m;
        begin_model(&m, backend_of(state), compute, &o);
        for (int grad = 0; grad < 2; grad++) run(&m, &o, grad, losses[grad], words[grad], NULL);
        double tolerance = compute == DTYPE_F32 ? 1e-6 : 1e-2;
        expect_near(m.be, words[0], words[1], R * V, tolerance, "logits");
        expect_near(m.be, losses[0], losses[1], 2, tolerance, "losses");
        end_model(&m);
    }
}

/* Training goes down, and in the same steps with and without checkpoints. */
static void training_learns(void **state) {
    float history[2][20];
    for (int checkpoint = 0; checkpoint < 2; checkpoint++) {
        options o = {.dropout = true, .checkpoint = checkpoint};
        model m;
        begin_model(&m, backend_of(state), DTYPE_F32, &o);
        for (int step = 0; step < 20; step++) {
            float losses[2];
            double norm;
            run(&m, &o, true, losses, NULL, NULL);
            history[checkpoint][step] = losses[0] + losses[1];
            MUST(param_block_grad_norm(m.block, m.be, m.dev, &norm, err));
            adamw_spec spec = {.lr = 0.01f,
                               .beta1 = 0.9f,
                               .beta2 = 0.999f,
                               .eps = 1e-8f,
                               .weight_decay = 0.01f,
                               .grad_scale = norm > 1.0 ? (float)(1.0 / norm) : 1.0f,
                               .step = step + 1};
            MUST(param_block_adamw(m.block, m.be, m.dev, (adamw_spec[]){spec, spec}, err));
        }
        end_model(&m);
    }
    assert_true(history[0][19] < 0.3f * history[0][0]);
    assert_same_bits(history[0], history[1], 20, "losses");
}

int main(void) {
    static const backend *backends[] = {&backend_ref, &backend_cpu};
    int failed = 0;
    for (int i = 0; i < COUNT(backends); i++) {
        const struct CMUnitTest tests[] = {
#define ON_BACKEND(test) {#test, test, NULL, NULL, (void *)backends[i]}
            ON_BACKEND(memory_choices_change_no_bit),
            ON_BACKEND(gradient_agrees_along_directions),
            ON_BACKEND(packing_order_does_not_matter),
            ON_BACKEND(a_frozen_body_leaves_the_head_as_it_is),
            ON_BACKEND(bf16_is_near_f32),
            ON_BACKEND(inference_gives_the_same_logits),
            ON_BACKEND(training_learns),
        };
        print_message("backend %s\n", backends[i]->name);
        failed += cmocka_run_group_tests_name(backends[i]->name, tests, NULL, NULL);
    }
    return failed;
}

/*
 * The tape itself: sticky errors, scopes and memory, pruning, roots, repeated backward, gradients
 * kept, dropout keys. Kernel calls and allocations are counted by a backend that wraps another.
 */
#include "unit/autograd/autograd_support.h"

/* ---- a backend that counts what the tape asks of it ---- */

static struct { int mem_allocs, weight_grads, input_grads, drops; } calls;
static const backend *inner;

static cloze_status counting_mem_alloc(backend_device *dev, size_t bytes, void **out,
                                       cloze_error *err) {
    calls.mem_allocs++;
    return inner->mem_alloc(dev, bytes, out, err);
}
static cloze_status counting_weight(backend_device *dev, tensor *dy, tensor *x, bool accumulate,
                                    tensor *dw, tensor *db, cloze_error *err) {
    calls.weight_grads++;
    return inner->linear_backward_weight(dev, dy, x, accumulate, dw, db, err);
}
static cloze_status counting_input(backend_device *dev, const tensor *dy, weight *w,
                                   bool accumulate, tensor *dx, cloze_error *err) {
    calls.input_grads++;
    return inner->linear_backward_input(dev, dy, w, accumulate, dx, err);
}
static void counting_drop(backend_device *dev, weight *w) {
    calls.drops++;
    inner->weight_drop_packs(dev, w);
}

static backend counting(const backend *be) {
    backend b = *be;
    inner = be;
    b.mem_alloc = counting_mem_alloc;
    b.linear_backward_weight = counting_weight;
    b.linear_backward_input = counting_input;
    b.weight_drop_packs = counting_drop;
    memset(&calls, 0, sizeof calls);
    return b;
}

/* ---- a small world: a tape over the reference backend and three linear layers ---- */

#define N_LAYERS 3
#define WIDTH 8

typedef struct world {
    backend be;
    backend_device *dev;
    tape *t;
    param w[N_LAYERS], b[N_LAYERS], *all[2 * N_LAYERS];
    param_block *block;
} world;

static void begin_world(world *s, cloze_dtype compute) {
    memset(s, 0, sizeof *s);
    s->be = counting(&backend_ref);
    s->dev = open_device(&s->be);
    s->t = open_tape(&s->be, s->dev, compute);
    for (int i = 0; i < N_LAYERS; i++) {
        make_param(&s->w[i], "w", WIDTH, WIDTH, 1 + (uint64_t)i);
        make_param(&s->b[i], "b", 1, WIDTH, 11 + (uint64_t)i);
        s->all[2 * i] = &s->w[i];
        s->all[2 * i + 1] = &s->b[i];
    }
    MUST(param_block_create(s->all, 2 * N_LAYERS, &s->block, err));
}

static void end_world(world *s) {
    tape_destroy(s->t);
    for (int i = 0; i < 2 * N_LAYERS; i++) end_param(&s->be, s->dev, s->all[i]);
    param_block_destroy(s->block);
    s->be.device_close(s->dev);
}

static var *input(tape *t, int64_t rows, uint64_t key) {
    static float values[12000 * WIDTH];
    assert_true(rows * WIDTH <= COUNT(values));
    fill(values, rows * WIDTH, key);
    return tape_input(t, values, rows, WIDTH);
}

static var *layers(world *s, var *x) {
    for (int i = 0; i < N_LAYERS; i++) x = op_linear(s->t, x, &s->w[i], &s->b[i], ACT_GELU_ERF);
    return x;
}

static void expect_error(const tape *t, cloze_status code, const char *part) {
    cloze_error err = {0};
    assert_int_equal(tape_status(t, &err), code);
    assert_int_equal(err.code, code);
    if (!strstr(err.message, part)) fail_msg("\"%s\" is not in \"%s\"", part, err.message);
}

/* ---- errors ---- */

static void errors_are_sticky(void **state) {
    world s;
    begin_world(&s, DTYPE_F32);
    tape_begin_step(s.t, true, 0, NULL, 0);
    var *x = input(s.t, 3, 1), *y = input(s.t, 4, 2);
    assert_null(op_add(s.t, x, y));
    expect_error(s.t, CLOZE_ERR_INTERNAL, "op_add: (3, 8) and (4, 8) do not match");
    assert_true(tape_failed(s.t));
    assert_null(op_scale(s.t, x, 2.0f));
    assert_null(op_linear(s.t, NULL, &s.w[0], NULL, ACT_NONE));
    assert_null(tape_upload_i32(s.t, (const int32_t[]){1}, 1));
    assert_null(tape_fail(s.t, CLOZE_ERR_DATA, "a later error"));
    expect_error(s.t, CLOZE_ERR_INTERNAL, "op_add");
    tape_scope_end(s.t, NULL, 0); /* harmless now */
    cloze_error err = {0};
    float value;
    assert_int_equal(tape_read(s.t, x, &value, &err), CLOZE_ERR_INTERNAL);
    assert_int_equal(tape_backward(s.t, &x, NULL, 1, &err), CLOZE_ERR_INTERNAL);
    assert_non_null(strstr(err.message, "op_add"));

    tape_begin_step(s.t, true, 0, NULL, 0); /* a new step is a new start */
    assert_non_null(layers(&s, input(s.t, 3, 1)));
    must_tape(s.t);
    end_world(&s);
}

typedef void (*mistake)(world *s);
static void no_input(world *s) { op_scale(s->t, NULL, 1.0f); }
static void foreign_failure(world *s) {
    assert_null(tape_fail(s->t, CLOZE_ERR_MEMORY, "no room for %d ids", 7));
}
static void id_outside(world *s) {
    param *table = &s->w[0];
    const int32_t bad[] = {0, WIDTH}, *ids = bad;
    op_embedding(s->t, &table, &ids, 1, 2);
}
static void row_outside(world *s) {
    op_gather_rows(s->t, input(s->t, 3, 1), (const int32_t[]){3}, 1);
}
static void weight_row_outside(world *s) {
    op_linear_rows(s->t, input(s->t, 3, 1), &s->w[0], NULL, (const int32_t[]){-1}, 1);
}
static void label_outside(world *s) {
    cross_entropy_options o = {.labels = (const int32_t[]){WIDTH}, .scale = 1.0f};
    op_cross_entropy(s->t, input(s->t, 1, 1), &o);
}
static void offsets_outside(world *s) {
    attention_layout l = {.n_seqs = 1,
                          .q_offsets = (const int32_t[]){0, 4},
                          .kv_offsets = (const int32_t[]){0, 4},
                          .n_heads = 1,
                          .head_dim = WIDTH,
                          .scale = 1.0f};
    var *x = input(s->t, 3, 1);
    op_attention(s->t, x, x, x, NULL, NULL, &l);
}
static void wrong_weight(world *s) {
    op_linear(s->t, op_slice_columns(s->t, input(s->t, 3, 1), 0, 3), &s->w[0], NULL, ACT_NONE);
}
static void released_var(world *s) {
    tape_scope_begin(s->t);
    var *x = input(s->t, 3, 1), *kept = input(s->t, 3, 1);
    tape_scope_end(s->t, &kept, 1);
    op_scale(s->t, kept, 1.0f);
    must_tape(s->t);
    op_scale(s->t, x, 1.0f);
}
static void scope_without_begin(world *s) { tape_scope_end(s->t, NULL, 0); }
static void homeless_gradient(world *s) {
    param p;
    make_param(&p, "classifier.weight", WIDTH, WIDTH, 5);
    op_linear(s->t, input(s->t, 3, 1), &p, NULL, ACT_NONE);
    param_deinit(&p);
}
static void wide_root(world *s) {
    var *y = layers(s, input(s->t, 3, 1));
    tape_backward(s->t, &y, NULL, 1, NULL);
}
static void backward_without_grad(world *s) {
    tape_begin_step(s->t, false, 0, NULL, 0);
    var *y = op_sum(s->t, layers(s, input(s->t, 3, 1)), 1.0f);
    tape_backward(s->t, &y, NULL, 1, NULL);
}
static void shared_trunk(world *s) {
    var *y = layers(s, input(s->t, 3, 1)), *a = op_sum(s->t, y, 1.0f), *b = op_sum(s->t, y, 2.0f);
    MUST(tape_backward(s->t, &a, NULL, 1, err));
    tape_backward(s->t, &b, NULL, 1, NULL);
}

static void mistakes_are_named(void **state) {
    static const struct {
        mistake make;
        cloze_status code;
        const char *part;
    } cases[] = {
        {no_input, CLOZE_ERR_INTERNAL, "op_scale was given no input"},
        {foreign_failure, CLOZE_ERR_MEMORY, "no room for 7 ids"},
        {id_outside, CLOZE_ERR_MODEL, "id 8 is outside w, which has 8 rows"},
        {row_outside, CLOZE_ERR_INTERNAL, "op_gather_rows: row 3 of 3"},
        {weight_row_outside, CLOZE_ERR_MODEL, "row -1 is outside w"},
        {label_outside, CLOZE_ERR_INTERNAL, "label 8 of 8 classes"},
        {offsets_outside, CLOZE_ERR_INTERNAL, "offsets do not divide 3 rows"},
        {wrong_weight, CLOZE_ERR_INTERNAL, "w (8, 8) does not fit an input of 3 columns"},
        {released_var, CLOZE_ERR_INTERNAL, "op_scale reads a (3, 8) value whose scope has ended"},
        {scope_without_begin, CLOZE_ERR_INTERNAL, "tape_scope_end without"},
        {homeless_gradient, CLOZE_ERR_INTERNAL,
         "classifier.weight requires a gradient but is in no parameter block"},
        {wide_root, CLOZE_ERR_INTERNAL, "not at (3, 8)"},
        {backward_without_grad, CLOZE_ERR_INTERNAL, "begun without gradients"},
        {shared_trunk, CLOZE_ERR_INTERNAL, "backward has passed already"},
    };
    world s;
    begin_world(&s, DTYPE_F32);
    for (int i = 0; i < COUNT(cases); i++) {
        tape_begin_step(s.t, true, 0, NULL, 0);
        cases[i].make(&s);
        expect_error(s.t, cases[i].code, cases[i].part);
    }
    end_world(&s);
}

/* Whatever allocation fails, the step fails with MEMORY or not at all, and the next one works. */
static void memory_failures_poison(void **state) {
    int failed = 0;
    for (int k = 0; k < 40; k++) {
        world s;
        begin_world(&s, DTYPE_BF16);
        uint64_t keys[3] = {1, 2, 3};
        mem_fail_after(k);
        tape_begin_step(s.t, true, 0, keys, 3);
        var *loss = op_sum(s.t, op_dropout(s.t, layers(&s, input(s.t, 3, 1)), 0.5f, 1), 1.0f);
        cloze_status status = tape_backward(s.t, &loss, NULL, 1, NULL);
        mem_fail_after(-1);
        assert_true(status == CLOZE_OK || status == CLOZE_ERR_MEMORY);
        failed += status != CLOZE_OK;
        tape_begin_step(s.t, true, 0, NULL, 0);
        loss = op_sum(s.t, layers(&s, input(s.t, 3, 1)), 1.0f);
        MUST(tape_backward(s.t, &loss, NULL, 1, err));
        end_world(&s);
    }
    assert_true(failed >= 3);
}

/* ---- scopes and memory ---- */

/* n blocks of three values each, (rows, WIDTH) f32; the most values held at once. */
static size_t peak_of_blocks(bool with_grad, bool scopes, bool release, int n) {
    enum { ROWS = 2048 };
    world s;
    begin_world(&s, DTYPE_F32);
    for (int i = 0; i < 2 * N_LAYERS; i++) s.all[i]->requires_grad = with_grad;
    tape_begin_step(s.t, with_grad, 0, NULL, 0);
    var *x = input(s.t, ROWS, 1);
    for (int i = 0; i < n; i++) {
        if (scopes) tape_scope_begin(s.t);
        var *y =
            op_scale(s.t, op_scale(s.t, op_linear(s.t, x, &s.w[0], NULL, ACT_NONE), 1.0f), 1.0f);
        if (scopes) tape_scope_end(s.t, &y, 1);
        if (release) tape_release(s.t, x);
        x = y;
    }
    must_tape(s.t);
    size_t values = tape_pool_peak_bytes(s.t) / (ROWS * WIDTH * sizeof(float));
    end_world(&s);
    return values;
}

static void scopes_release_memory(void **state) {
    assert_int_equal(peak_of_blocks(false, false, false, 10), 1 + 3 * 10);
    assert_int_equal(peak_of_blocks(false, true, false, 10),
                     10 + 3); /* the outputs stay in the outer scope */
    assert_int_equal(peak_of_blocks(false, true, true, 10), 1 + 3); /* one block */
    /* With gradients the linear's input stays for its weight's gradient, scale keeps nothing. */
    assert_int_equal(peak_of_blocks(true, true, true, 10), 10 + 3);
}

static void backward_frees_as_it_goes(void **state) {
    world s;
    begin_world(&s, DTYPE_F32);
    tape_begin_step(s.t, true, 0, NULL, 0);
    tape_scope_begin(s.t);
    var *loss = op_sum(s.t, layers(&s, input(s.t, 512, 1)), 1.0f);
    tape_scope_end(s.t, &loss, 1);
    size_t before = s.t->pool.in_use;
    MUST(tape_backward(s.t, &loss, NULL, 1, err));
    assert_true(before > 512 * WIDTH * sizeof(float));
    assert_true(s.t->pool.in_use <= ((size_t)64 << 10) + 64); /* step memory and the loss */
    assert_null(s.t->nodes);
    end_world(&s);
}

/* Kernels that do nothing: what is left of a step is the tape's own work. */
static cloze_status mul_nothing(backend_device *dev, const tensor *x, weight *w, const tensor *bias,
                                activation act, tensor *pre, tensor *y, cloze_error *err) {
    return CLOZE_OK;
}

static void step(world *s, int64_t rows) {
    tape_begin_step(s->t, true, 0, NULL, 0);
    tape_scope_begin(s->t);
    var *loss = op_sum(s->t, layers(s, input(s->t, rows, 1)), 1.0f);
    tape_scope_end(s->t, &loss, 1);
    MUST(tape_backward(s->t, &loss, NULL, 1, err));
}

static void nothing_is_allocated_once_warm(void **state) {
    static const int64_t rows[] = {3000, 800, 12000, 40, 12000, 3000};
    world s;
    begin_world(&s, DTYPE_BF16);
    s.be.linear_forward = mul_nothing; /* the reference product is slow and not the point */
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < COUNT(rows); i++) step(&s, rows[i]);
    calls.mem_allocs = 0;
    size_t held = tape_pool_bytes(s.t);
    for (int i = 0; i < COUNT(rows); i++) step(&s, rows[i]);
    assert_int_equal(calls.mem_allocs, 0);
    assert_int_equal(tape_pool_bytes(s.t), held);
    assert_true(held <= 2 * tape_pool_peak_bytes(s.t)); /* lengths share memory */

    var *x = input(s.t, 40, 1); /* and nothing of the host's */
    assert_non_null(x);
    mem_fail_after(0);
    tape_begin_step(s.t, true, 0, NULL, 0);
    float zero[WIDTH] = {0};
    var *loss = op_sum(s.t, layers(&s, tape_input(s.t, zero, 1, WIDTH)), 1.0f);
    cloze_error err = {0};
    cloze_status status = tape_backward(s.t, &loss, NULL, 1, &err);
    mem_fail_after(-1);
    assert_int_equal(status, CLOZE_OK);
    end_world(&s);
}

static void pool_pieces_join_again(void **state) {
    world s;
    begin_world(&s, DTYPE_F32);
    tape_begin_step(s.t, false, 0, NULL, 0);
    pool *p = &s.t->pool;
    cloze_error err = {0};
    tape_buffer *pieces[64];
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < COUNT(pieces); i++) {
            size_t bytes = 64 + (size_t)(number(9, round * 64 + i) * 30000.0f + 30000.0f);
            assert_int_equal(pool_acquire(p, bytes, &pieces[i], &err), CLOZE_OK);
            assert_true(pieces[i]->bytes >= bytes && (uintptr_t)pieces[i]->data % MEM_ALIGN == 0);
            memset(pieces[i]->data, round, bytes); /* no two overlap, and ASan watches the rest */
        }
        for (int i = 0; i < COUNT(pieces); i++) pool_unref(p, pieces[i * 37 % COUNT(pieces)]);
        assert_int_equal(p->in_use, 0);
    }
    int n_free = 0, n_slabs = 0;
    size_t free_bytes = 0;
    for (tape_buffer *b = p->free_list; b; b = b->free_next, n_free++) free_bytes += b->bytes;
    assert_int_equal(free_bytes, p->held);
    tape_begin_step(s.t, false, 0, NULL, 0); /* several slabs become one */
    for (tape_buffer *b = p->free_list; b; b = b->free_next) n_slabs++;
    assert_true(n_free >= 1);
    assert_int_equal(n_slabs, 1);
    end_world(&s);
}

/* ---- pruning ---- */

static int count_nodes(const tape *t) {
    int n = 0;
    for (const node *k = t->nodes; k; k = k->older) n++;
    return n;
}

static void frozen_parts_cost_nothing(void **state) {
    /* which of (w0, b0, w1, b1, w2, b2) train -> nodes, weight products, input products */
    static const struct {
        bool trains[2 * N_LAYERS];
        int nodes, weight_grads, input_grads;
    } cases[] = {
        {{1, 1, 1, 1, 1, 1}, 4, 3, 2}, /* the constant input needs no gradient */
        {{0, 0, 0, 0, 0, 0}, 0, 0, 0},
        {{0, 0, 0, 0, 1, 1}, 2, 1, 0}, /* a head over a frozen body */
        {{1, 0, 0, 0, 0, 0}, 4, 1, 2}, /* frozen layers above still pass the gradient down */
        {{0, 1, 0, 1, 0, 1}, 4, 0, 2}, /* biases alone: no weight product at all */
    };
    world s;
    begin_world(&s, DTYPE_F32);
    for (int i = 0; i < COUNT(cases); i++) {
        for (int k = 0; k < 2 * N_LAYERS; k++) s.all[k]->requires_grad = cases[i].trains[k];
        param_block_zero_grad(s.block);
        tape_begin_step(s.t, true, 0, NULL, 0);
        var *loss = op_sum(s.t, layers(&s, input(s.t, 5, 1)), 1.0f);
        assert_int_equal(count_nodes(s.t), cases[i].nodes);
        memset(&calls, 0, sizeof calls);
        MUST(tape_backward(s.t, &loss, NULL, 1, err));
        assert_int_equal(calls.weight_grads, cases[i].weight_grads);
        assert_int_equal(calls.input_grads, cases[i].input_grads);
        for (int k = 0; k < 2 * N_LAYERS; k++) {
            bool zero = true;
            param_grad_fill(s.all[k]);
            for (int64_t e = 0; e < param_n(s.all[k]); e++)
                zero = zero && ((float *)s.all[k]->grad.data)[e] == 0.0f;
            assert_int_equal(zero, !cases[i].trains[k]);
        }
    }
    end_world(&s);
}

/* Values held after six linears in scopes of their own. */
static size_t kept_by_linears(bool frozen) {
    enum { ROWS = 4096 };
    world s;
    begin_world(&s, DTYPE_F32);
    s.w[0].requires_grad = !frozen;
    tape_begin_step(s.t, true, 0, NULL, 0);
    var *x = op_linear(s.t, input(s.t, ROWS, 1), &s.w[1], NULL, ACT_NONE); /* requires a gradient */
    for (int i = 0; i < 6; i++) {
        var *y = op_linear(s.t, x, &s.w[0], NULL, ACT_NONE);
        tape_release(s.t, x);
        x = y;
    }
    must_tape(s.t);
    size_t values = s.t->pool.in_use / (ROWS * WIDTH * sizeof(float));
    end_world(&s);
    return values;
}

static void a_frozen_linear_keeps_no_input(void **state) {
    assert_int_equal(kept_by_linears(false), 2 + 6); /* the constant, the last output, six inputs */
    assert_int_equal(kept_by_linears(true), 2);
}

/* ---- backward ---- */

static void copy_grads(const world *s, float *out) {
    for (int i = 0; i < 2 * N_LAYERS; i++) {
        memcpy(out, s->all[i]->grad.data, (size_t)param_n(s->all[i]) * sizeof *out);
        out += param_n(s->all[i]);
    }
}

#define N_GRADS (N_LAYERS * (WIDTH * WIDTH + WIDTH))

static void several_roots_are_their_sum(void **state) {
    world s;
    float together[N_GRADS], apart[N_GRADS], steps[N_GRADS];
    begin_world(&s, DTYPE_F32);
    tape_begin_step(s.t, true, 0, NULL, 0);
    var *roots[2];
    for (int i = 0; i < 2; i++)
        roots[i] = op_sum(s.t, layers(&s, input(s.t, 5, 1 + (uint64_t)i)), 1.0f);
    MUST(tape_backward(s.t, roots, (const float[]){1.0f, -0.5f}, 2, err));
    copy_grads(&s, together);

    param_block_zero_grad(s.block); /* two calls in one step: the graphs share nothing */
    tape_begin_step(s.t, true, 0, NULL, 0);
    for (int i = 0; i < 2; i++)
        roots[i] = op_sum(s.t, layers(&s, input(s.t, 5, 1 + (uint64_t)i)), 1.0f);
    MUST(tape_backward(s.t, &roots[1], (const float[]){-0.5f}, 1,
                       err)); /* the newest first, as a sweep does */
    MUST(tape_backward(s.t, &roots[0], NULL, 1, err));
    copy_grads(&s, apart);
    assert_same_bits(apart, together, N_GRADS, "two backward calls");

    param_block_zero_grad(s.block); /* two steps: micro-batches */
    for (int i = 1; i >= 0; i--) {
        tape_begin_step(s.t, true, 0, NULL, 0);
        var *root = op_sum(s.t, layers(&s, input(s.t, 5, 1 + (uint64_t)i)), 1.0f);
        MUST(tape_backward(s.t, &root, (const float[]){i ? -0.5f : 1.0f}, 1, err));
    }
    copy_grads(&s, steps);
    assert_same_bits(steps, together, N_GRADS, "two steps");
    end_world(&s);
}

static void one_root_may_be_named_twice(void **state) {
    world s;
    float twice[N_GRADS], doubled[N_GRADS];
    begin_world(&s, DTYPE_F32);
    for (int pass = 0; pass < 2; pass++) {
        param_block_zero_grad(s.block);
        tape_begin_step(s.t, true, 0, NULL, 0);
        var *root = op_sum(s.t, layers(&s, input(s.t, 5, 1)), 1.0f), *roots[] = {root, root};
        MUST(tape_backward(s.t, roots, (const float[]){pass ? 2.0f : 1.0f, 1.0f}, pass ? 1 : 2,
                           err));
        copy_grads(&s, pass ? doubled : twice);
    }
    assert_same_bits(twice, doubled, N_GRADS, "a root named twice");
    end_world(&s);
}

static void retained_gradients_stay(void **state) {
    enum { ROWS = 5, N = ROWS * WIDTH };
    for (int act = ACT_NONE; act <= ACT_GELU_ERF; act++) {
        world s;
        float with[N_GRADS], without[N_GRADS], dx[N], dy[N], expected[N];
        begin_world(&s, DTYPE_F32);
        for (int retain = 0; retain < 2; retain++) {
            param_block_zero_grad(s.block);
            tape_begin_step(s.t, true, 0, NULL, 0);
            var *x = input(s.t, ROWS, 1);
            if (retain) tape_retain_grad(s.t, x);
            var *y = op_linear(s.t, x, &s.w[0], &s.b[0], (activation)act);
            if (retain) tape_retain_grad(s.t, y);
            var *unused = op_scale(s.t, y, 2.0f);
            var *loss = op_sum(s.t, op_add(s.t, op_mul(s.t, y, y), y), 1.0f);
            MUST(tape_backward(s.t, &loss, NULL, 1, err));
            copy_grads(&s, retain ? with : without);
            if (!retain) continue;
            float values[N];
            MUST(tape_read(s.t, y, values, err));
            MUST(tape_read_grad(s.t, y, dy, err));
            for (int i = 0; i < N; i++) expected[i] = 2.0f * values[i] + 1.0f;
            assert_true(relative_difference(dy, expected, N) < 1e-6);
            MUST(tape_read_grad(s.t, x, dx, err));
            assert_true(fabsf(dx[0]) > 0.0f);
            MUST(tape_read_grad(s.t, unused, dy, err)); /* no root reaches it */
            for (int i = 0; i < N; i++) assert_true(dy[i] == 0.0f);
        }
        assert_same_bits(with, without, N_GRADS, "retaining changes nothing else");
        end_world(&s);
    }
}

static void gradients_reach_inputs_of_a_frozen_model(void **state) {
    world s;
    float trained[5 * WIDTH], frozen[5 * WIDTH];
    begin_world(&s, DTYPE_F32);
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < 2 * N_LAYERS; i++) s.all[i]->requires_grad = pass == 0;
        tape_begin_step(s.t, true, 0, NULL, 0);
        var *x = input(s.t, 5, 1);
        tape_retain_grad(s.t, x);
        var *loss = op_sum(s.t, layers(&s, x), 1.0f);
        memset(&calls, 0, sizeof calls);
        MUST(tape_backward(s.t, &loss, NULL, 1, err));
        assert_int_equal(calls.weight_grads, pass == 0 ? N_LAYERS : 0);
        MUST(tape_read_grad(s.t, x, pass ? frozen : trained, err));
    }
    assert_same_bits(frozen, trained, 5 * WIDTH, "input gradient");
    end_world(&s);
}

/* ---- values ---- */

static void values_are_read_as_dense_f32(void **state) {
    world s;
    begin_world(&s, DTYPE_BF16);
    tape_begin_step(s.t, true, 0, NULL, 0);
    float x[3 * WIDTH], part[3 * 2], low[3 * WIDTH];
    fill(x, 3 * WIDTH, 1);
    var *v = tape_input(s.t, x, 3, WIDTH);
    MUST(tape_read(s.t, op_slice_columns(s.t, v, 3, 2), part, err));
    for (int r = 0; r < 3; r++)
        for (int c = 0; c < 2; c++) assert_true(part[r * 2 + c] == x[r * WIDTH + 3 + c]);
    var *y = op_linear(s.t, v, &s.w[0], NULL, ACT_NONE);
    assert_int_equal(y->t.dtype, DTYPE_BF16);
    assert_int_equal(y->t.rows_capacity, ROW_BUCKET);
    assert_int_equal(op_linear_logits(s.t, v, &s.w[0], NULL)->t.dtype, DTYPE_F32);
    MUST(tape_read(s.t, y, low, err));
    for (int i = 0; i < 3 * WIDTH; i++) assert_true(bf16_to_f32(bf16_from_f32(low[i])) == low[i]);
    end_world(&s);
}

/* Frozen parameters stay in their file's type; every op must read them. */
static void frozen_parameters_may_be_narrow(void **state) {
    static const cloze_dtype dtypes[] = {DTYPE_BF16, DTYPE_F16};
    world s;
    begin_world(&s, DTYPE_F32);
    for (int k = 0; k < COUNT(dtypes); k++) {
        uint16_t narrow[3][WIDTH * WIDTH];
        float wide[3][WIDTH * WIDTH], results[2][4][3 * WIDTH];
        param p[3];
        for (int pass = 0; pass < 2; pass++) { /* the narrow values, and the same as f32 */
            for (int i = 0; i < 3; i++) {
                int64_t n = i == 0 ? WIDTH * WIDTH : WIDTH;
                fill(wide[i], n, 50 + (uint64_t)i);
                dtype_from_f32(narrow[i], wide[i], dtypes[k], (size_t)n);
                dtype_to_f32(wide[i], narrow[i], dtypes[k], (size_t)n);
                p[i] = (param){0};
                p[i].w.version = 1;
                p[i].w.t = tensor_of(pass ? (void *)wide[i] : narrow[i],
                                     pass ? DTYPE_F32 : dtypes[k], n / WIDTH, WIDTH);
            }
            tape_begin_step(s.t, true, 0, NULL, 0);
            var *x = input(s.t, 3, 1);
            const int32_t rows[] = {4, 0, 4}, *ids = rows;
            param *table = &p[0];
            MUST(tape_read(s.t, op_linear(s.t, x, &p[0], &p[1], ACT_NONE), results[pass][0], err));
            MUST(tape_read(s.t, op_layer_norm(s.t, x, NULL, 0, 0, &p[1], &p[2], 1e-5f),
                           results[pass][1], err));
            MUST(tape_read(s.t, op_mul(s.t, x, tape_param(s.t, &p[2])), results[pass][2], err));
            MUST(tape_read(
                s.t,
                op_linear_rows(s.t, op_embedding(s.t, &table, &ids, 1, 3), &p[0], &p[1], rows, 3),
                results[pass][3], err));
            must_tape(s.t);
            for (int i = 0; i < 3; i++) s.be.weight_drop_packs(s.dev, &p[i].w);
        }
        for (int i = 0; i < 3; i++)
            assert_same_bits(results[0][i], results[1][i], 3 * WIDTH, dtype_name(dtypes[k]));
        assert_same_bits(results[0][3], results[1][3], 9, "linear_rows");
    }
    end_world(&s);
}

static void linear_rows_is_a_part_of_linear(void **state) {
    world s;
    begin_world(&s, DTYPE_F32);
    tape_begin_step(s.t, true, 0, NULL, 0);
    float all[3 * WIDTH], some[3 * 3];
    const int32_t rows[] = {6, 0, 6};
    var *x = input(s.t, 3, 1);
    MUST(tape_read(s.t, op_linear_logits(s.t, x, &s.w[0], &s.b[0]), all, err));
    MUST(tape_read(s.t, op_linear_rows(s.t, x, &s.w[0], &s.b[0], rows, 3), some, err));
    for (int r = 0; r < 3; r++)
        for (int c = 0; c < 3; c++) assert_true(some[r * 3 + c] == all[r * WIDTH + rows[c]]);
    calls.drops = 0;
    tape_begin_step(s.t, false, 0, NULL, 0); /* the gathered weight's packs go with its step */
    assert_int_equal(calls.drops, 1);
    end_world(&s);
}

/* ---- dropout keys ---- */

static void dropout_follows_the_rows(void **state) {
    enum { N = 6 };
    static const int32_t rows[] = {5, 0, 3}, offsets[] = {0, 2, 6};
    world s;
    float a[N * WIDTH], b[N * WIDTH];
    uint64_t keys[N];
    for (int i = 0; i < N; i++) keys[i] = rng_mix(3, (uint64_t)i);
    begin_world(&s, DTYPE_F32);
    for (int with_grad = 0; with_grad < 2; with_grad++) {
        tape_begin_step(s.t, with_grad, 1, NULL, 0); /* without keys there is none */
        var *x = input(s.t, N, 1);
        assert_ptr_equal(op_dropout(s.t, x, 0.5f, 1), x);

        tape_begin_step(s.t, with_grad, 1, keys, N); /* with keys, gradients or not */
        x = input(s.t, N, 1);
        assert_ptr_equal(op_dropout(s.t, x, 0.0f, 1), x);
        var *dropped = op_dropout(s.t, x, 0.5f, 1);
        MUST(tape_read(s.t, dropped, a, err));
        int zeros = 0;
        for (int i = 0; i < N * WIDTH; i++) zeros += a[i] == 0.0f;
        assert_true(zeros > N * WIDTH / 4 && zeros < N * WIDTH * 3 / 4);
        MUST(tape_read(s.t, op_dropout(s.t, x, 0.5f, 2), b, err)); /* another site, another mask */
        assert_memory_not_equal(a, b, sizeof a);

        MUST(tape_read(s.t, op_gather_rows(s.t, dropped, rows, 3), a,
                       err)); /* gathered rows keep theirs */
        MUST(tape_read(s.t, op_dropout(s.t, op_gather_rows(s.t, x, rows, 3), 0.5f, 1), b, err));
        assert_same_bits(a, b, 3 * WIDTH, "gathered rows");
        var *halves[2] = {op_gather_rows(s.t, x, (const int32_t[]){3, 4, 5}, 3),
                          op_gather_rows(s.t, x, (const int32_t[]){0, 1}, 2)};
        MUST(tape_read(s.t, op_gather_rows(s.t, dropped, (const int32_t[]){3, 4, 5, 0, 1}, 5), a,
                       err));
        MUST(tape_read(s.t, op_dropout(s.t, op_concat_rows(s.t, halves, 2), 0.5f, 1), b, err));
        assert_same_bits(a, b, 5 * WIDTH, "joined rows");
        MUST(tape_read(s.t, op_dropout(s.t, op_mean_pool(s.t, x, offsets, 2), 0.5f, 1), b, err));
        MUST(tape_read(s.t, op_gather_rows(s.t, dropped, offsets, 2), a, err));
        for (int i = 0; i < 2 * WIDTH; i++) assert_int_equal(a[i] == 0.0f, b[i] == 0.0f);

        uint64_t turned[N]; /* other keys from here on: those of the rows in turn */
        for (int i = 0; i < N; i++) turned[i] = keys[N - 1 - i];
        tape_set_row_keys(s.t, turned, N);
        MUST(tape_read(s.t, op_dropout(s.t, x, 0.5f, 1), b, err));
        MUST(tape_read(s.t, dropped, a, err));
        for (int c = 0; c < WIDTH; c++)
            assert_int_equal(a[c] == 0.0f, b[(N - 1) * WIDTH + c] == 0.0f);
        tape_set_row_keys(s.t, NULL, 0);
        assert_ptr_equal(op_dropout(s.t, x, 0.5f, 1), x);
        must_tape(s.t);
    }
    end_world(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_are_sticky),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(memory_failures_poison),
        cmocka_unit_test(scopes_release_memory),
        cmocka_unit_test(backward_frees_as_it_goes),
        cmocka_unit_test(nothing_is_allocated_once_warm),
        cmocka_unit_test(pool_pieces_join_again),
        cmocka_unit_test(frozen_parts_cost_nothing),
        cmocka_unit_test(a_frozen_linear_keeps_no_input),
        cmocka_unit_test(several_roots_are_their_sum),
        cmocka_unit_test(one_root_may_be_named_twice),
        cmocka_unit_test(retained_gradients_stay),
        cmocka_unit_test(gradients_reach_inputs_of_a_frozen_model),
        cmocka_unit_test(values_are_read_as_dense_f32),
        cmocka_unit_test(frozen_parameters_may_be_narrow),
        cmocka_unit_test(linear_rows_is_a_part_of_linear),
        cmocka_unit_test(dropout_follows_the_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

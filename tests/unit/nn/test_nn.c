/*
 * Modules: the parameter list and its names, initial values, and the three slots that tuning
 * methods fill, each with a method as small as one can be. Numbers of whole models are compared
 * with transformers in tests/golden.
 */
#include "nn/nn.h"
#include "unit/tape_support.h"

/* ---- the state ---- */

static void state_holds_any_number_of_parameters(void **unused) {
    enum { N = 300 }; /* grows twice */
    nn_state s = {0};
    param *made[N];
    char name[32];
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "p%d", i);
        MUST(nn_state_add_param(&s, name, i % 2 + 1, i % 2 ? 3 : 1, i + 1, NN_INIT_ONE, &made[i],
                                err));
        MUST(nn_state_add_entry(&s, name, made[i], i, 2 * i, i % 3 == 0, err));
    }
    assert_int_equal(s.n_params, N);
    assert_int_equal(s.n_entries, N);
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "p%d", i);
        const nn_entry *e = nn_state_find(&s, name);
        assert_non_null(e);
        assert_ptr_equal(e->param, made[i]);
        assert_ptr_equal(s.params[i], made[i]);
        assert_string_equal(made[i]->name, name);
        assert_int_equal(e->row_begin, i);
        assert_int_equal(e->rows, 2 * i);
        assert_int_equal(e->head, i % 3 == 0);
        assert_int_equal(s.inits[i], NN_INIT_ONE);
        assert_int_equal(made[i]->no_decay, i % 2 == 0); /* vectors */
    }
    assert_null(nn_state_find(&s, "p300"));
    assert_null(nn_state_find(&s, ""));
    nn_state_deinit(&s);
    assert_int_equal(s.n_params, 0);
}

static cloze_status fill_state(void *ctx, cloze_error *err) {
    nn_state s = {0};
    nn_linear l;
    cloze_status status = CLOZE_OK;
    for (int i = 0; i < 70 && status == CLOZE_OK; i++) {
        char name[16];
        snprintf(name, sizeof name, "l%d", i);
        status = nn_build_linear(&s, (const char *const[]){name}, 1, 4, 4, true, false, &l, err);
        if (status == CLOZE_OK)
            status = nn_param_initialize(l.weight, NN_INIT_NORMAL, 1, 0.02f, -1, err);
    }
    nn_state_deinit(&s);
    return status;
}

static void state_survives_want_of_memory(void **unused) {
    assert_true(fail_each_allocation(fill_state, NULL, 1) > 400);
}

static void fused_linear_names_its_parts(void **unused) {
    nn_state s = {0};
    nn_linear l;
    const char *const parts[3] = {"a.query", "a.key", "a.value"};
    MUST(nn_build_linear(&s, parts, 3, 4, 6, true, true, &l, err));
    assert_int_equal(s.n_params, 2);
    assert_int_equal(s.n_entries, 6);
    const struct {
        const char *name;
        const param *param;
        int64_t begin;
    } wanted[] = {{"a.query.weight", l.weight, 0}, {"a.key.weight", l.weight, 2},
                  {"a.value.weight", l.weight, 4}, {"a.query.bias", l.bias, 0},
                  {"a.key.bias", l.bias, 2},       {"a.value.bias", l.bias, 4}};
    for (size_t i = 0; i < COUNT(wanted); i++) {
        const nn_entry *e = nn_state_find(&s, wanted[i].name);
        assert_non_null(e);
        assert_ptr_equal(e->param, wanted[i].param);
        assert_int_equal(e->row_begin, wanted[i].begin);
        assert_int_equal(e->rows, 2);
        assert_true(e->head);
    }
    assert_int_equal(l.weight->w.t.rows, 6);
    assert_int_equal(l.weight->w.t.cols, 4);
    assert_int_equal(l.bias->w.t.rows, 1);
    assert_int_equal(l.bias->w.t.cols, 6);
    nn_state_deinit(&s);
    MUST(nn_build_linear(&s, parts, 1, 4, 6, false, false, &l, err));
    assert_null(l.bias);
    assert_non_null(nn_state_find(&s, "a.query.weight"));
    nn_state_deinit(&s);
}

static void initial_values_depend_on_seed_and_name(void **unused) {
    nn_state s = {0};
    param *p[3];
    for (int i = 0; i < 3; i++)
        MUST(nn_state_add_param(&s, i == 1 ? "other" : "same", 2, 50, 40, NN_INIT_NORMAL, &p[i],
                                err));
    MUST(nn_param_initialize(p[0], NN_INIT_NORMAL, 7, 0.02f, 3, err));
    MUST(nn_param_initialize(p[1], NN_INIT_NORMAL, 7, 0.02f, 3, err));
    MUST(nn_param_initialize(p[2], NN_INIT_NORMAL, 8, 0.02f, 3, err));
    const float *a = p[0]->w.t.data;
    double sum = 0, squares = 0;
    for (int i = 0; i < 2000; i++) {
        sum += a[i];
        squares += (double)a[i] * a[i];
        if (i / 40 == 3) assert_true(a[i] == 0); /* the padding row */
    }
    assert_near("mean", sum / 1960, 0, 0.002);
    assert_near("standard deviation", sqrt(squares / 1960), 0.02, 0.001);
    assert_memory_not_equal(a, p[1]->w.t.data, 40 * sizeof *a);
    assert_memory_not_equal(a, p[2]->w.t.data, 40 * sizeof *a);
    float first = a[0];
    uint64_t version = p[0]->w.version;
    MUST(nn_param_initialize(p[0], NN_INIT_NORMAL, 7, 0.02f, -1, err));
    assert_true(((const float *)p[0]->w.t.data)[0] == first);
    assert_true(((const float *)p[0]->w.t.data)[3 * 40] != 0);
    assert_true(p[0]->w.version > version);
    MUST(nn_param_initialize(p[0], NN_INIT_ONE, 7, 0.02f, 3, err));
    assert_true(((const float *)p[0]->w.t.data)[3 * 40] == 1.0f);
    MUST(nn_param_initialize(p[0], NN_INIT_ZERO, 7, 0.02f, -1, err));
    assert_true(((const float *)p[0]->w.t.data)[5] == 0);
    nn_state_deinit(&s);
}

/* ---- a small layer with every slot ---- */

enum { H = 8, HEADS = 2, F = 12, VOCAB = 7, P = 3 };

/* A parameter of the test's own, which stands for a tuning method's. */
static param *own_param(nn_state *s, const char *name, int64_t rows, int64_t cols) {
    param *p = NULL;
    MUST(nn_state_add_param(s, name, 2, rows, cols, NN_INIT_NORMAL, &p, err));
    MUST(nn_param_initialize(p, NN_INIT_NORMAL, 5, 0.5f, -1, err));
    p->requires_grad = true;
    return p;
}

typedef struct slots {
    engine e;
    nn_state s;
    nn_embeddings embeddings;
    nn_encoder_layer layer;
    nn_batch batch;
    nn_adapter adapters[2];
    param *soft, *down, *up, *prefix_key, *prefix_value;
    param_block *block;
    int override_calls, prefix_calls, prefix_layer;
    cloze_status prefix_status;
    bool per_seq;
} slots;

static const int32_t OFFSETS[] = {0, 3, 8};
static const int32_t IDS[] = {1, 2, 3, 4, 5, 1, 2, 6};

/* Puts the soft rows in place of rows 1 and 4. */
static var *override_rows(tape *t, void *state, const nn_batch *batch, var *embedded) {
    slots *x = state;
    x->override_calls++;
    assert_int_equal(batch->n_tokens, 8);
    var *parts[2] = {embedded, tape_param(t, x->soft)};
    var *all = op_concat_rows(t, parts, 2); /* (10,H) */
    const int32_t rows[] = {0, 8, 2, 3, 9, 5, 6, 7};
    return op_gather_rows(t, all, rows, 8);
}

/* LoRA as small as it gets: x down^T up^T. */
static var *low_rank(tape *t, void *state, var *x) {
    slots *s = state;
    return op_linear(t, op_linear(t, x, s->down, NULL, ACT_NONE), s->up, NULL, ACT_NONE);
}

static cloze_status give_prefix(tape *t, void *state, int layer, const nn_batch *batch,
                                nn_prefix *out) {
    slots *x = state;
    x->prefix_calls++;
    x->prefix_layer = layer;
    if (x->prefix_status != CLOZE_OK) return x->prefix_status;
    *out = (nn_prefix){tape_param(t, x->prefix_key), tape_param(t, x->prefix_value), P, x->per_seq};
    return CLOZE_OK;
}

static void build_layer(slots *x) {
    nn_encoder_layer *l = &x->layer;
    const char *const qkv[3] = {"q", "k", "v"};
    MUST(nn_build_linear(&x->s, qkv, 3, H, 3 * H, true, false, &l->attention.qkv, err));
    MUST(nn_build_linear(&x->s, (const char *const[]){"o"}, 1, H, H, true, false,
                         &l->attention.output, err));
    MUST(nn_build_linear(&x->s, (const char *const[]){"f1"}, 1, H, F, true, false, &l->intermediate,
                         err));
    MUST(
        nn_build_linear(&x->s, (const char *const[]){"f2"}, 1, F, H, true, false, &l->output, err));
    MUST(nn_build_layer_norm(&x->s, "n1", H, 1e-12f, false, &l->attention_norm, err));
    MUST(nn_build_layer_norm(&x->s, "n2", H, 1e-12f, false, &l->output_norm, err));
    l->act = ACT_GELU_ERF;
    l->attention.n_heads = HEADS;
    l->attention.head_dim = H / HEADS;
    l->attention.layer = 11;
}

static slots *slots_open(void) {
    slots *x = mem_calloc(1, sizeof *x);
    assert_non_null(x);
    x->e = engine_open(&backend_ref, DTYPE_F32);
    x->batch = (nn_batch){.n_seqs = 2, .n_tokens = 8, .offsets = OFFSETS, .input_ids = IDS};
    MUST(nn_state_add_param(&x->s, "words", 2, VOCAB, H, NN_INIT_NORMAL, &x->embeddings.tables[0],
                            err));
    MUST(nn_state_add_param(&x->s, "positions", 2, 6, H, NN_INIT_NORMAL, &x->embeddings.tables[1],
                            err));
    MUST(nn_build_layer_norm(&x->s, "n0", H, 1e-12f, false, &x->embeddings.norm, err));
    build_layer(x);
    for (int i = 0; i < x->s.n_params; i++)
        MUST(nn_param_initialize(x->s.params[i], x->s.inits[i], 3, 0.5f, -1, err));
    x->soft = own_param(&x->s, "soft", 2, H);
    x->down = own_param(&x->s, "down", 2, H);
    x->up = own_param(&x->s, "up", 5, 2);
    x->prefix_key = own_param(&x->s, "prefix.key", P, H);
    x->prefix_value = own_param(&x->s, "prefix.value", P, H);
    return x;
}

static void slots_close(slots *x) {
    nn_state_deinit(&x->s);
    param_block_destroy(x->block);
    engine_close(&x->e);
    mem_free(x);
}

static void train_begin(slots *x) {
    MUST(param_block_create(x->s.params, x->s.n_params, &x->block, err));
}

/* Embeddings and the layer, weighted by fixed numbers so that no gradient vanishes. */
static var *slots_loss(void *ctx, bool with_grad) {
    slots *x = ctx;
    tape *t = x->e.tape;
    tape_begin_step(t, with_grad, 0, NULL, 0);
    var *h = nn_embeddings_forward(t, &x->embeddings, &x->batch);
    h = nn_encoder_layer_forward(t, &x->layer, &x->batch, NULL, h);
    return op_sum(t, op_mul(t, h, random_input(&x->e, 8, H, 99)), 1.0f);
}

static void backward(slots *x) {
    param_block_zero_grad(x->block);
    var *root = slots_loss(x, true);
    must_tape(&x->e);
    MUST(tape_backward(x->e.tape, &root, NULL, 1, err));
}

static void empty_slots_change_nothing(void **unused) {
    slots *x = slots_open();
    double plain = graph_value(&x->e, slots_loss, x);
    x->layer.intermediate.adapters = x->adapters; /* none of them counts */
    assert_true(graph_value(&x->e, slots_loss, x) == plain);
    assert_int_equal(x->override_calls + x->prefix_calls, 0);
    slots_close(x);
}

/* The adapter's columns get what it gives, before the activation; the others nothing. */
static void adapter_adds_to_its_columns(void **unused) {
    slots *x = slots_open();
    nn_linear *l = &x->layer.intermediate;
    x->adapters[0] = (nn_adapter){.begin = 4, .n = 5, .forward = low_rank, .state = x};
    x->adapters[1] = (nn_adapter){.begin = 6, .n = 5, .forward = low_rank, .state = x};
    l->adapters = x->adapters;
    tape *t = x->e.tape;
    for (int n = 0; n <= 2; n++) {
        tape_begin_step(t, false, 0, NULL, 0);
        var *in = random_input(&x->e, 3, H, 1);
        l->n_adapters = 0;
        float *plain = read_var(&x->e, nn_linear_forward(t, l, in, ACT_NONE));
        float *added = read_var(&x->e, low_rank(t, x, in)); /* (3,5) */
        l->n_adapters = n;
        float *got = read_var(&x->e, nn_linear_forward(t, l, in, ACT_RELU));
        for (int i = 0; i < 3 * F; i++) {
            double want = plain[i];
            int c = i % F;
            if (n > 0 && c >= 4 && c < 9) want += added[i / F * 5 + c - 4];
            if (n > 1 && c >= 6 && c < 11) want += added[i / F * 5 + c - 6];
            assert_near("adapted output", got[i], want > 0 ? want : 0, 1e-6);
        }
        mem_free(plain);
        mem_free(added);
        mem_free(got);
    }
    slots_close(x);
}

static void gradients_reach_adapters(void **unused) {
    slots *x = slots_open();
    x->adapters[0] = (nn_adapter){.begin = 4, .n = 5, .forward = low_rank, .state = x};
    x->layer.intermediate.adapters = x->adapters;
    x->layer.intermediate.n_adapters = 1;
    train_begin(x); /* the adapter trains, the rest is frozen */
    backward(x);
    check_gradient(&x->e, slots_loss, x, x->down, NULL, 0);
    check_gradient(&x->e, slots_loss, x, x->up, NULL, 0);
    slots_close(x);
}

/* Soft rows stand where the method puts them, take the gradient, and the words below get none. */
static void override_replaces_embeddings(void **unused) {
    slots *x = slots_open();
    double plain = graph_value(&x->e, slots_loss, x);
    x->embeddings.override = override_rows;
    x->embeddings.override_state = x;
    assert_true(graph_value(&x->e, slots_loss, x) != plain);
    assert_int_equal(x->override_calls, 1);
    x->embeddings.tables[0]->requires_grad = true;
    train_begin(x);
    backward(x);
    check_gradient(&x->e, slots_loss, x, x->soft, NULL, 0);
    const int64_t word_places[] = {1 * H, 3 * H + 1, 6 * H};
    check_gradient(&x->e, slots_loss, x, x->embeddings.tables[0], word_places, 3);
    const float *words = x->embeddings.tables[0]->grad.data;
    double of_five = 0;
    for (int c = 0; c < H; c++) of_five += fabs(words[5 * H + c]);
    assert_true(of_five == 0); /* word 5 stands in row 4 only, which is replaced */
    slots_close(x);
}

/* A prefix changes the result, its gradient is right, shared by the batch and for each sequence. */
static void prefix_is_attended_to(void **unused) {
    for (int per_seq = 0; per_seq < 2; per_seq++) {
        slots *x = slots_open();
        double plain = graph_value(&x->e, slots_loss, x);
        if (per_seq) {
            x->prefix_key = own_param(&x->s, "prefix.key.2", 2 * P, H);
            x->prefix_value = own_param(&x->s, "prefix.value.2", 2 * P, H);
        }
        x->per_seq = per_seq;
        x->layer.attention.prefix = give_prefix;
        x->layer.attention.prefix_state = x;
        assert_true(graph_value(&x->e, slots_loss, x) != plain);
        assert_int_equal(x->prefix_calls, 1);
        assert_int_equal(x->prefix_layer, 11);
        train_begin(x);
        backward(x);
        check_gradient(&x->e, slots_loss, x, x->prefix_key, NULL, 0);
        check_gradient(&x->e, slots_loss, x, x->prefix_value, NULL, 0);
        slots_close(x);
    }
}

/* A prefix whose keys score far below every token's changes nothing. */
static void prefix_without_weight_is_no_prefix(void **unused) {
    slots *x = slots_open();
    nn_attention *a = &x->layer.attention;
    float *bias = a->qkv.bias->w.t.data; /* (3H): queries point along the first channel of a head */
    for (int h = 0; h < HEADS; h++) bias[h * (H / HEADS)] = 30.0f;
    a->qkv.bias->w.version++;
    double plain = graph_value(&x->e, slots_loss, x);
    float *key = x->prefix_key->w.t.data;
    memset(key, 0, P * H * sizeof *key);
    for (int p = 0; p < P; p++)
        for (int h = 0; h < HEADS; h++) key[p * H + h * (H / HEADS)] = -50.0f;
    a->prefix = give_prefix;
    a->prefix_state = x;
    assert_near("loss", graph_value(&x->e, slots_loss, x), plain, 1e-5);
    slots_close(x);
}

static void failing_prefix_fails_the_step(void **unused) {
    slots *x = slots_open();
    x->layer.attention.prefix = give_prefix;
    x->layer.attention.prefix_state = x;
    x->prefix_status = CLOZE_ERR_DATA;
    assert_null(slots_loss(x, true));
    MUST_FAIL(CLOZE_ERR_DATA, "prefix", tape_status(x->e.tape, err));
    slots_close(x);
}

/* ---- rows that are read ---- */

/* A row of the first sequence, three of the second, one of them twice; not in order within it. */
static const int32_t READ[] = {1, 6, 4, 6};
static const int32_t READ_OFFSETS[] = {0, 1, 4};
enum { N_READ = sizeof READ / sizeof *READ };

/* The layer's result (N_READ,H) at READ: made for these rows alone, or taken from all. */
static var *read_rows(slots *x, bool alone, bool with_grad) {
    static const uint64_t KEYS[8] = {11, 12, 13, 14, 15, 16, 17, 18};
    tape *t = x->e.tape;
    nn_rows rows = {READ, READ_OFFSETS};
    tape_begin_step(t, with_grad, 5, KEYS, 8);
    var *h = nn_embeddings_forward(t, &x->embeddings, &x->batch);
    h = nn_encoder_layer_forward(t, &x->layer, &x->batch, alone ? &rows : NULL, h);
    if (!alone) h = op_gather_rows(t, h, READ, N_READ);
    return h;
}

static float *rows_gradient(slots *x, bool alone, param *p) {
    param_block_zero_grad(x->block);
    var *h = read_rows(x, alone, true);
    var *root =
        op_sum(x->e.tape, op_mul(x->e.tape, h, random_input(&x->e, N_READ, H, 99)), 1.0f);
    must_tape(&x->e);
    MUST(tape_backward(x->e.tape, &root, NULL, 1, err));
    float *copy = mem_alloc((size_t)(p->w.t.rows * p->w.t.cols) * sizeof *copy);
    memcpy(copy, p->grad.data, (size_t)(p->w.t.rows * p->w.t.cols) * sizeof *copy);
    return copy;
}

/* With dropout and a prefix, values and gradients are those of a layer that makes every row. */
static void rows_alone_are_rows_of_all(void **unused) {
    slots *x = slots_open();
    x->layer.dropout_p = x->layer.attention.dropout_p = 0.3f;
    x->layer.attention.prefix = give_prefix;
    x->layer.attention.prefix_state = x;
    float *got = read_var(&x->e, read_rows(x, true, false));
    float *want = read_var(&x->e, read_rows(x, false, false));
    for (int i = 0; i < N_READ * H; i++) assert_near("row", got[i], want[i], 1e-6);
    mem_free(got);
    mem_free(want);
    param *const params[] = {x->embeddings.tables[0], x->layer.attention.qkv.weight,
                             x->layer.attention.output.weight, x->layer.intermediate.weight,
                             x->layer.attention_norm.gamma, x->prefix_key};
    for (size_t k = 0; k < COUNT(params); k++) params[k]->requires_grad = true;
    train_begin(x);
    for (size_t k = 0; k < COUNT(params); k++) {
        got = rows_gradient(x, true, params[k]);
        want = rows_gradient(x, false, params[k]);
        for (int64_t i = 0; i < params[k]->w.t.rows * params[k]->w.t.cols; i++)
            assert_near(params[k]->name, got[i], want[i], 1e-5);
        mem_free(got);
        mem_free(want);
    }
    slots_close(x);
}

/* ---- positions ---- */

/* Given position ids, an offset, and running ones: rows of the table are told by their values. */
static void positions_are_given_or_run(void **unused) {
    static const int32_t GIVEN[] = {0, 4, 4, 2, 0, 1, 1, 3};
    static const struct {
        const int32_t *given;
        int64_t offset;
        int32_t rows[8];
    } cases[] = {
        {NULL, 0, {0, 1, 2, 0, 1, 2, 3, 4}},
        {NULL, 1, {1, 2, 3, 1, 2, 3, 4, 5}},
        {GIVEN, 0, {0, 4, 4, 2, 0, 1, 1, 3}},
        {GIVEN, 1, {1, 5, 5, 3, 1, 2, 2, 4}},
    };
    for (size_t k = 0; k < COUNT(cases); k++) {
        slots *x = slots_open();
        nn_embeddings *e = &x->embeddings;
        tape *t = x->e.tape;
        x->batch.position_ids = cases[k].given;
        e->position_offset = cases[k].offset;
        tape_begin_step(t, false, 0, NULL, 0);
        float *got = read_var(&x->e, nn_embeddings_forward(t, e, &x->batch));
        var *want = op_embedding(t, e->tables, (const int32_t *const[]){IDS, cases[k].rows}, 2, 8);
        float *values = read_var(&x->e, nn_layer_norm_forward(t, &e->norm, want, NULL, 0, 0));
        assert_memory_equal(got, values, 8 * H * sizeof *got);
        mem_free(got);
        mem_free(values);
        slots_close(x);
    }
}

static void position_beyond_the_table_is_refused(void **unused) {
    slots *x = slots_open();
    x->embeddings.position_offset = 2; /* 5 tokens need rows 2..6 of 6 */
    slots_loss(x, false);
    MUST_FAIL(CLOZE_ERR_MODEL, "positions", tape_status(x->e.tape, err));
    slots_close(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(state_holds_any_number_of_parameters),
        cmocka_unit_test(state_survives_want_of_memory),
        cmocka_unit_test(fused_linear_names_its_parts),
        cmocka_unit_test(initial_values_depend_on_seed_and_name),
        cmocka_unit_test(empty_slots_change_nothing),
        cmocka_unit_test(adapter_adds_to_its_columns),
        cmocka_unit_test(gradients_reach_adapters),
        cmocka_unit_test(override_replaces_embeddings),
        cmocka_unit_test(prefix_is_attended_to),
        cmocka_unit_test(prefix_without_weight_is_no_prefix),
        cmocka_unit_test(failing_prefix_fails_the_step),
        cmocka_unit_test(rows_alone_are_rows_of_all),
        cmocka_unit_test(positions_are_given_or_run),
        cmocka_unit_test(position_beyond_the_table_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

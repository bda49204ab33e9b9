/* The parameter block: layout, conversion, row-lazy gradients against dense ones bit for bit,
 * AdamW. */
#include <sys/mman.h>
#include <unistd.h>

#include "unit/autograd/autograd_support.h"

#define ROWS 40 /* V */
#define COLS 12 /* H */

static void values_move_into_the_block(void **state) {
    static const cloze_dtype dtypes[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16, DTYPE_F64};
    enum { N = COUNT(dtypes), LD = COLS + 3 };
    param params[N + 2], *list[N + 2];
    float wide[ROWS * LD], expected[ROWS * COLS];
    static double storage[N][ROWS * LD];
    fill(wide, ROWS * LD, 1);
    for (int i = 0; i < N; i++) { /* strided views of foreign memory, as of a mapped file */
        make_param(&params[i], "view", 1, 1, 1);
        mem_free(params[i].owned);
        params[i].owned = NULL;
        assert_true(dtype_from_f32(storage[i], wide, dtypes[i], ROWS * LD));
        params[i].w.t = (tensor){storage[i], ROWS, ROWS, COLS, LD, dtypes[i]};
        list[i] = &params[i];
    }
    make_param(&params[N], "owned", 3, 5, 9);
    make_param(&params[N + 1], "frozen", 3, 5, 10);
    list[N] = &params[N];
    list[N + 1] = &params[N + 1];
    params[N + 1].requires_grad = false;
    params[1].row_lazy = true;
    void *frozen_value = params[N + 1].w.t.data;

    param_block *b = NULL;
    MUST(param_block_create(list, N + 2, &b, err));
    assert_int_equal(param_block_count(b), N * ROWS * COLS + 15);
    param *const *in_block;
    assert_int_equal(param_block_params(b, &in_block), N + 1);
    assert_ptr_equal(in_block[N], &params[1]); /* row-lazy ones come last */
    for (int i = 0; i < N; i++) {
        for (int r = 0; r < ROWS; r++)
            for (int c = 0; c < COLS; c++) {
                double v;
                dtype_to_f32(&expected[r * COLS + c],
                             (char *)storage[i] + (size_t)(r * LD + c) * dtype_size(dtypes[i]),
                             dtypes[i], 1);
                v = expected[r * COLS + c];
                assert_true(((float *)params[i].w.t.data)[r * COLS + c] == v);
            }
        assert_int_equal(params[i].w.t.dtype, DTYPE_F32);
        assert_int_equal(params[i].w.t.ld, COLS);
        assert_int_equal(params[i].w.version, 2); /* packs of the old memory are stale */
        assert_true((uintptr_t)params[i].w.t.data % MEM_ALIGN == 0 &&
                    (uintptr_t)params[i].m % MEM_ALIGN == 0);
        for (int k = 0; k < ROWS * COLS; k++)
            assert_true(((float *)params[i].grad.data)[k] == 0 && params[i].m[k] == 0 &&
                        params[i].v[k] == 0);
    }
    assert_null(params[N].owned);
    assert_ptr_equal(params[N + 1].w.t.data, frozen_value);
    assert_null(params[N + 1].grad.data);
    assert_non_null(params[1].row_state);
    assert_null(params[0].row_state);

    cloze_error err = {0};
    param_block *again;
    assert_int_equal(param_block_create(list, 1, &again, &err), CLOZE_ERR_INTERNAL);
    assert_non_null(strstr(err.message, "in a parameter block already"));
    assert_int_equal(
        param_block_create((param *[]){&params[N + 1], &params[N + 1]}, 2, &again, &err),
        CLOZE_ERR_INTERNAL);
    assert_non_null(strstr(err.message, "frozen is listed twice"));
    param integers = params[N + 1];
    integers.requires_grad = true;
    integers.w.t.dtype = DTYPE_I32;
    assert_int_equal(param_block_create((param *[]){&integers}, 1, &again, &err), CLOZE_ERR_MODEL);
    for (int i = 0; i < N + 2; i++) param_deinit(&params[i]);
    param_block_destroy(b);
    param_block_destroy(NULL);
}

static void creation_survives_every_failed_allocation(void **state) {
    bool created = false;
    for (int k = 0; !created; k++) {
        param p, *list[] = {&p};
        param_block *b = NULL;
        cloze_error err = {0};
        make_param(&p, "p", ROWS, COLS, 1);
        p.row_lazy = true;
        float first = *(float *)p.w.t.data;
        mem_fail_after(k);
        cloze_status status = param_block_create(list, 1, &b, &err);
        mem_fail_after(-1);
        created = status == CLOZE_OK;
        if (!created) assert_int_equal(status, CLOZE_ERR_MEMORY);
        if (!created) assert_null(p.grad.data);
        assert_true(*(float *)p.w.t.data == first);
        param_deinit(&p);
        param_block_destroy(b);
        assert_true(k < 20);
    }
}

/* ---- row-lazy = dense ---- */

typedef struct table_world {
    const backend *be;
    backend_device *dev;
    tape *t;
    param table, head, *list[2];
    param_block *block;
} table_world;

static void begin_tables(table_world *s, const backend *be, bool lazy) {
    *s = (table_world){.be = be};
    s->dev = open_device(be);
    s->t = open_tape(be, s->dev, DTYPE_F32);
    make_param(&s->table, "table", ROWS, COLS, 1);
    make_param(&s->head, "head", 7, COLS, 2);
    s->table.row_lazy = lazy;
    s->list[0] = &s->table;
    s->list[1] = &s->head;
    MUST(param_block_create(s->list, 2, &s->block, err));
}

static void end_tables(table_world *s) {
    tape_destroy(s->t);
    end_param(s->be, s->dev, &s->table);
    end_param(s->be, s->dev, &s->head);
    param_block_destroy(s->block);
    s->be->device_close(s->dev);
}

/* How the table is used besides the embedding. */
typedef enum table_use { USE_EMBEDDING, USE_ROWS, USE_TIED } table_use;

/* One step on ids that depend on the step; adds to the gradients. */
static void table_step(table_world *s, int step, table_use use) {
    enum { N = 9 };
    int32_t ids[N], labels[N];
    for (int i = 0; i < N; i++) {
        ids[i] = (i * i + 3 * step) % 17 + (step % 3 == 2 ? 20 : 0); /* some rows never */
        labels[i] = i % 5;
    }
    const int32_t *id_list = ids;
    param *table = &s->table;
    tape_begin_step(s->t, true, 0, NULL, 0);
    var *x = op_embedding(s->t, &table, &id_list, 1, N);
    x = op_activation(s->t, x, ACT_TANH);
    var *logits = use == USE_TIED   ? op_linear_logits(s->t, x, &s->table, NULL)
                  : use == USE_ROWS ? op_linear_rows(s->t, x, &s->table, NULL,
                                                     (const int32_t[]){30, 2, 5, 30, 1}, 5)
                                    : op_linear_logits(s->t, x, &s->head, NULL);
    cross_entropy_options o = {.labels = labels, .scale = 1.0f / N};
    var *loss = op_cross_entropy(s->t, logits, &o);
    MUST(tape_backward(s->t, &loss, NULL, 1, err));
}

static void compare_tables(const table_world *lazy, const table_world *dense) {
    assert_same_bits(lazy->table.w.t.data, dense->table.w.t.data, ROWS * COLS, "table");
    assert_same_bits(lazy->table.m, dense->table.m, ROWS * COLS, "first moment");
    assert_same_bits(lazy->table.v, dense->table.v, ROWS * COLS, "second moment");
    assert_same_bits(lazy->head.w.t.data, dense->head.w.t.data, 7 * COLS, "head");
}

static void train_both(const backend *be, table_use use, float weight_decay) {
    table_world lazy, dense;
    begin_tables(&lazy, be, true);
    begin_tables(&dense, be, false);
    for (int step = 1; step <= 7; step++) {
        table_world *both[] = {&lazy, &dense};
        double norm[2];
        for (int i = 0; i < 2; i++) {
            param_block_zero_grad(both[i]->block);
            for (int micro = 0; micro < 2; micro++) table_step(both[i], 2 * step + micro, use);
            MUST(param_block_grad_norm(both[i]->block, be, both[i]->dev, &norm[i], err));
        }
        assert_same_bits(lazy.table.grad.data, dense.table.grad.data, ROWS * COLS, "gradient");
        assert_true(norm[0] > 0 &&
                    fabs(norm[0] - norm[1]) < 1e-12 * norm[1]); /* sums in another order */
        for (int i = 0; i < 2; i++) {
            adamw_spec spec = {.lr = 0.01f,
                               .beta1 = 0.9f,
                               .beta2 = 0.99f,
                               .eps = 1e-6f,
                               .grad_scale = 0.7f,
                               .weight_decay = weight_decay,
                               .step = step};
            MUST(param_block_adamw(both[i]->block, be, both[i]->dev, (adamw_spec[]){spec, spec},
                                   err));
        }
        compare_tables(&lazy, &dense);
    }
    int seen = 0;
    for (int r = 0; r < ROWS; r++) seen += (lazy.table.row_state[r] & PARAM_ROW_SEEN) != 0;
    if (use == USE_TIED)
        assert_int_equal(seen, ROWS);
    else
        assert_true(seen > 20 && seen < ROWS);
    end_tables(&lazy);
    end_tables(&dense);
}

static void train_all(const backend *be) {
    for (table_use use = USE_EMBEDDING; use <= USE_TIED; use++) {
        train_both(be, use, 0.0f);
        train_both(be, use, 0.1f);
    }
}

static void ref_row_lazy_equals_dense(void **state) { train_all(&backend_ref); }
static void cpu_row_lazy_equals_dense(void **state) { train_all(&backend_cpu); }

/* ---- work follows the rows ---- */

static int64_t updated, squared;
static cloze_status counting_adamw(backend_device *dev, const adamw_spec *spec, int64_t n,
                                   const float *g, float *w, float *m, float *v, cloze_error *err) {
    updated += n;
    return backend_ref.adamw(dev, spec, n, g, w, m, v, err);
}
static cloze_status counting_sum_squares(backend_device *dev, const float *x, int64_t n,
                                         double *out, cloze_error *err) {
    squared += n;
    return backend_ref.sum_squares(dev, x, n, out, err);
}

static void only_rows_with_a_gradient_cost_work(void **state) {
    table_world s;
    begin_tables(&s, &backend_ref, true);
    backend be = backend_ref;
    be.adamw = counting_adamw;
    be.sum_squares = counting_sum_squares;
    adamw_spec spec = {
        .lr = 0.1f, .beta1 = 0.9f, .beta2 = 0.9f, .eps = 1e-8f, .grad_scale = 1.0f, .step = 1};
    int64_t dense = (7 * COLS + 15) / 16 * 16;
    float *grad = s.table.grad.data;

    param_touch_rows(&s.table, (const int32_t[]){4, 5, 30, 4}, 4);
    grad[4 * COLS] = 1.0f;
    grad[9 * COLS] = 5.0f; /* in a row that nobody announced: must be neither read nor zeroed */
    double norm;
    squared = updated = 0;
    MUST(param_block_grad_norm(s.block, &be, s.dev, &norm, err));
    assert_true(norm == 1.0);
    assert_int_equal(squared, dense + 3 * COLS);
    MUST(param_block_adamw(s.block, &be, s.dev, (adamw_spec[]){spec, spec}, err));
    assert_int_equal(updated, dense + 3 * COLS);
    param_block_zero_grad(s.block);
    assert_true(grad[4 * COLS] == 0.0f && grad[9 * COLS] == 5.0f);

    param_touch_rows(&s.table, (const int32_t[]){0}, 1); /* seen rows go on: their moments fade */
    squared = updated = 0;
    MUST(param_block_grad_norm(s.block, &be, s.dev, &norm, err));
    MUST(param_block_adamw(s.block, &be, s.dev, (adamw_spec[]){spec, spec}, err));
    assert_int_equal(squared, dense + COLS);
    assert_int_equal(updated, dense + 4 * COLS);
    end_tables(&s);
}

static int64_t resident_pages(void *p, size_t bytes) {
    static unsigned char pages[1 << 14];
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = (uintptr_t)p / page * page;
    size_t n = ((uintptr_t)p + bytes - begin + page - 1) / page;
    assert_true(n <= sizeof pages && mincore((void *)begin, n * page, pages) == 0);
    int64_t count = 0;
    for (size_t i = 0; i < n; i++) count += pages[i] & 1;
    return count;
}

static void unseen_rows_cost_no_memory(void **state) {
    enum { BIG = 8000, WIDE = 1024, STEPS = 10 }; /* a row is 4 KB */
    backend_device *dev = open_device(&backend_ref);
    param p, *list[] = {&p};
    param_block *b = NULL;
    make_param(&p, "table", BIG, WIDE, 1);
    p.row_lazy = true;
    MUST(param_block_create(list, 1, &b, err));
    for (int step = 1; step <= STEPS; step++) {
        const int32_t row = 700 * step;
        double norm;
        param_block_zero_grad(b);
        param_touch_rows(&p, &row, 1);
        ((float *)p.grad.data)[(int64_t)row * WIDE] = 1.0f;
        MUST(param_block_grad_norm(b, &backend_ref, dev, &norm, err));
        adamw_spec spec = {.lr = 0.1f,
                           .beta1 = 0.9f,
                           .beta2 = 0.9f,
                           .eps = 1e-8f,
                           .grad_scale = 1.0f,
                           .weight_decay = 0.1f,
                           .step = step};
        MUST(param_block_adamw(b, &backend_ref, dev, (adamw_spec[]){spec, spec}, err));
    }
    const size_t bytes = (size_t)BIG * WIDE * sizeof(float);
    assert_true(resident_pages(p.grad.data, bytes) <= 2 * STEPS);
    assert_true(resident_pages(p.m, bytes) <= 2 * STEPS);
    assert_true(resident_pages(p.v, bytes) <= 2 * STEPS);
    param_deinit(&p);
    param_block_destroy(b);
    backend_ref.device_close(dev);
}

/* ---- settings ---- */

static void groups_decay_and_freezing(void **state) {
    enum { N = 5 };
    backend_device *dev = open_device(&backend_ref);
    param params[N], *list[N];
    float before[N], expected;
    for (int i = 0; i < N; i++) {
        make_param(&params[i], "p", 1, 3, 1 + (uint64_t)i);
        list[i] = &params[i];
    }
    params[1].no_decay = true;
    params[2].group = PARAM_GROUP_PROMPT;
    params[4].group = PARAM_GROUP_PROMPT;
    params[4].row_lazy = params[4].no_decay = true;
    param_block *b = NULL;
    MUST(param_block_create(list, N, &b, err));
    params[3].requires_grad = false; /* for a while */
    for (int i = 0; i < N; i++) {
        before[i] = *(float *)params[i].w.t.data;
        *(float *)params[i].grad.data = 0.5f;
        param_touch_all(&params[i]);
    }
    double norm;
    MUST(param_block_grad_norm(b, &backend_ref, dev, &norm, err));
    assert_true(fabs(norm - 1.0) < 1e-12); /* four of the five */
    adamw_spec specs[2] = {{.lr = 0.01f,
                            .beta1 = 0.9f,
                            .beta2 = 0.99f,
                            .eps = 1e-8f,
                            .grad_scale = 1,
                            .weight_decay = 0.5f,
                            .step = 1}};
    specs[PARAM_GROUP_PROMPT] = specs[PARAM_GROUP_MODEL];
    specs[PARAM_GROUP_PROMPT].lr = 0.1f;
    MUST(param_block_adamw(b, &backend_ref, dev, specs, err));
    for (int i = 0; i < N; i++) {
        float lr = params[i].group == PARAM_GROUP_PROMPT ? 0.1f : 0.01f,
              decay = params[i].no_decay ? 0.0f : 0.5f;
        /* the first step moves by the rate, whatever the gradient */
        expected = i == 3 ? before[i] : before[i] * (1.0f - lr * decay) - lr;
        assert_true(fabsf(*(float *)params[i].w.t.data - expected) < 1e-6f);
        assert_int_equal(params[i].w.version, i == 3 ? 2 : 3);
    }
    for (int i = 0; i < N; i++) param_deinit(&params[i]);
    param_block_destroy(b);
    backend_ref.device_close(dev);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_move_into_the_block),
        cmocka_unit_test(creation_survives_every_failed_allocation),
        cmocka_unit_test(ref_row_lazy_equals_dense),
        cmocka_unit_test(cpu_row_lazy_equals_dense),
        cmocka_unit_test(only_rows_with_a_gradient_cost_work),
        cmocka_unit_test(unseen_rows_cost_no_memory),
        cmocka_unit_test(groups_decay_and_freezing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

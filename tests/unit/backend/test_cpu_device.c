/*
 * What the op harness does not ask of the cpu backend: opening, memory, want of memory, copies of
 * weights and the bounded cache of primitives, and numbers at the edges of what floats hold.
 */
#include "unit/unit_support.h"

#include <pthread.h>

#include "backend/backend.h"
#include "backend/cpu/onednn.h"

static const backend *const cpu = &backend_cpu;

static backend_device *open_device(int n_threads) {
    backend_device *dev = NULL;
    MUST(cpu->device_open(0, n_threads, &dev, err));
    return dev;
}

static void test_complete(void **state) {
    MUST(backend_check(&backend_cpu, err));
    MUST(backend_check(&backend_ref, err));
}

static void test_open_rejects(void **state) {
    backend_device *dev;
    MUST_FAIL(CLOZE_ERR_USAGE, "there is one cpu device", cpu->device_open(1, 1, &dev, err));
    assert_null(dev);
    MUST_FAIL(CLOZE_ERR_USAGE, "threads is -1", cpu->device_open(0, -1, &dev, err));
    MUST_FAIL(CLOZE_ERR_USAGE, "1..1024", cpu->device_open(0, 100000, &dev, err));
    cpu->device_close(NULL);
}

static void test_open_without_memory(void **state) {
    for (int64_t k = 0;; k++) {
        backend_device *dev = NULL;
        cloze_error err = {0};
        mem_fail_after(k);
        cloze_status status = cpu->device_open(0, 1, &dev, &err);
        mem_fail_after(-1);
        cpu->device_close(dev);
        if (status == CLOZE_OK) break;
        assert_int_equal(status, CLOZE_ERR_MEMORY);
        assert_true(k < 10);
    }
}

/* Small memory comes from the heap, large memory is mapped: both are zeroed and aligned. */
static void test_memory(void **state) {
    static const size_t sizes[] = {
        0, 1, 100, ((size_t)4 << 20) - 1, (size_t)4 << 20, (size_t)9 << 20};
    backend_device *dev = open_device(2);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        unsigned char *p;
        MUST(cpu->mem_alloc(dev, sizes[i], (void **)&p, err));
        assert_int_equal((uintptr_t)p % 64, 0);
        for (size_t k = 0; k < sizes[i]; k++) assert_int_equal(p[k], 0);
        memset(p, 7, sizes[i]);
        MUST(cpu->zero(dev, p, sizes[i] / 2, err));
        for (size_t k = 0; k < sizes[i]; k++) assert_int_equal(p[k], k < sizes[i] / 2 ? 0 : 7);
        cpu->mem_free(dev, p, sizes[i]);
    }
    void *none;
    mem_fail_after(0);
    cloze_error error;
    assert_int_equal(cpu->mem_alloc(dev, (size_t)8 << 20, &none, &error), CLOZE_ERR_MEMORY);
    mem_fail_after(-1);
    cpu->device_close(dev);
}

#define ROWS 5
#define IN 24
#define OUT 16

/* A small bf16 linear layer: its weight needs a copy, its result scratch where bf16 has no product.
 */
typedef struct layer {
    float w[OUT * IN];
    uint16_t x[ROWS * IN], y[ROWS * OUT];
    weight weight;
    tensor x_t, y_t;
} layer;

static void layer_init(layer *l) {
    for (int i = 0; i < OUT * IN; i++) l->w[i] = (float)(i % 7) - 3.0f;
    for (int i = 0; i < ROWS * IN; i++) l->x[i] = bf16_from_f32((float)(i % 5) - 2.0f);
    l->weight = (weight){.t = tensor_of(l->w, DTYPE_F32, OUT, IN), .version = 1};
    l->x_t = tensor_of(l->x, DTYPE_BF16, ROWS, IN);
    l->y_t = tensor_of(l->y, DTYPE_BF16, ROWS, OUT);
}

/* All numbers are small integers, so that the product is exact. */
static void layer_check(const layer *l, float factor) {
    for (int r = 0; r < ROWS; r++) {
        for (int o = 0; o < OUT; o++) {
            float sum = 0.0f;
            for (int k = 0; k < IN; k++) {
                sum += bf16_to_f32(l->x[r * IN + k]) * ((float)((o * IN + k) % 7) - 3.0f) * factor;
            }
            assert_int_equal(l->y[r * OUT + o], bf16_from_f32(sum));
        }
    }
}

static cloze_status layer_run(backend_device *dev, layer *l, cloze_error *err) {
    return cpu->linear_forward(dev, &l->x_t, &l->weight, NULL, ACT_NONE, NULL, &l->y_t, err);
}

/* A copy is made once, and again when the version has moved on; not when it has not. */
static void test_weight_copy_follows_version(void **state) {
    backend_device *dev = open_device(1);
    layer l;
    layer_init(&l);
    MUST(layer_run(dev, &l, err));
    layer_check(&l, 1.0f);
    weight_pack *pack = l.weight.packs;
    assert_non_null(pack);
    for (int i = 0; i < OUT * IN; i++) l.w[i] *= 2.0f;
    MUST(layer_run(dev, &l, err));
    layer_check(&l, 1.0f);
    l.weight.version++;
    MUST(layer_run(dev, &l, err));
    layer_check(&l, 2.0f);
    assert_ptr_equal(l.weight.packs, pack);
    cpu->weight_drop_packs(dev, &l.weight);
    assert_null(l.weight.packs);
    cpu->device_close(dev);
}

typedef struct sharer {
    weight *shared;
    int failures;
} sharer;

/* One session of several that predict with the same weight. */
static void *share_weight(void *argument) {
    sharer *s = argument;
    backend_device *dev;
    if (cpu->device_open(0, 1, &dev, NULL) != CLOZE_OK) {
        s->failures++;
        return NULL;
    }
    for (int i = 0; i < 50; i++) {
        layer l;
        layer_init(&l);
        uint16_t first[ROWS * OUT];
        if (layer_run(dev, &l, NULL) != CLOZE_OK) s->failures++;
        memcpy(first, l.y, sizeof first);
        cpu->weight_drop_packs(dev, &l.weight);
        if (cpu->linear_forward(dev, &l.x_t, s->shared, NULL, ACT_NONE, NULL, &l.y_t, NULL) !=
            CLOZE_OK)
            s->failures++;
        if (memcmp(first, l.y, sizeof first) != 0) s->failures++;
    }
    cpu->device_close(dev);
    return NULL;
}

static void test_weight_is_shared(void **state) {
    layer l;
    layer_init(&l);
    pthread_t threads[4];
    sharer sharers[4];
    for (int i = 0; i < 4; i++) {
        sharers[i] = (sharer){&l.weight, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, share_weight, &sharers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(sharers[i].failures, 0);
    }
    backend_device *dev = open_device(1);
    cpu->weight_drop_packs(dev, &l.weight);
    cpu->device_close(dev);
}

/* Every allocation of a product fails once: an error each time, and the product works afterwards.
 */
static void test_product_without_memory(void **state) {
    int64_t k = 0;
    for (;; k++) {
        backend_device *dev = open_device(1);
        layer l;
        cloze_error error = {0};
        layer_init(&l);
        mem_fail_after(k);
        cloze_status status = layer_run(dev, &l, &error);
        mem_fail_after(-1);
        if (status != CLOZE_OK) {
            assert_int_equal(status, CLOZE_ERR_MEMORY);
            assert_non_null(strstr(error.message, "out of memory"));
            MUST(layer_run(dev, &l, err));
        }
        layer_check(&l, 1.0f);
        cpu->weight_drop_packs(dev, &l.weight);
        cpu->device_close(dev);
        if (status == CLOZE_OK) break;
    }
    assert_true(k >= 3); /* the copy, the primitive and the scratch at least */
}

static void test_scratch_without_memory(void **state) {
    backend_device *dev = open_device(1);
    static float x[64 * 96], sum[96];
    tensor t = tensor_of(x, DTYPE_F32, 64, 96), dst = tensor_of(sum, DTYPE_F32, 1, 96);
    cloze_error error = {0};
    mem_fail_after(0);
    cloze_status status = cpu->sum_rows(dev, &t, &dst, &error);
    mem_fail_after(-1);
    assert_int_equal(status, CLOZE_ERR_MEMORY);
    MUST(cpu->sum_rows(dev, &t, &dst, err));
    cpu->device_close(dev);
}

/* More shapes than the cache holds: the oldest go, and are made again when they come back. */
static void test_primitive_cache_is_bounded(void **state) {
    static float x[64 * 64], w[64 * 64], y[64 * 64];
    for (int i = 0; i < 64 * 64; i++) x[i] = w[i] = 1.0f;
    backend_device *dev = open_device(1);
    for (int i = 0; i < ONEDNN_CACHE_MAX + 40; i++) {
        int rows = i % 7 + 1, out = i / 7 % 13 + 1, in = i / 91 % 17 + 1;
        weight layer_w = {.t = tensor_of(w, DTYPE_F32, out, in), .version = 1};
        tensor x_t = tensor_of(x, DTYPE_F32, rows, in), y_t = tensor_of(y, DTYPE_F32, rows, out);
        MUST(cpu->linear_forward(dev, &x_t, &layer_w, NULL, ACT_NONE, NULL, &y_t, err));
        for (int k = 0; k < rows * out; k++) assert_true(y[k] == (float)in);
    }
    cpu->device_close(dev);
}

/* A wrong shape, index, label or group is an internal error that names the kernel, not a crash. */
static void test_wrong_arguments(void **state) {
    backend_device *dev = open_device(1);
    static float x[64], y[64], loss[1];
    tensor rows = tensor_of(x, DTYPE_F32, 4, 8), out = tensor_of(y, DTYPE_F32, 4, 8);
    tensor one = tensor_of(loss, DTYPE_F32, 1, 1);
    const int32_t ids[4] = {0, 1, 4, 2}, negative[4] = {0, -1, 0, 0}, groups[3] = {0, 5, 3};
    weight w = {.t = tensor_of(x, DTYPE_F32, 8, 7), .version = 1};
    cross_entropy_spec spec = {.labels = ids, .scale = 1.0f},
                       wrong = {.labels = negative, .scale = 1.0f};
    const tensor *tables[1] = {&rows};
    const int32_t *table_ids[1] = {ids};
    tensor two = tensor_of(y, DTYPE_F32, 4, 2);
    MUST_FAIL(CLOZE_ERR_INTERNAL, "(4,8)",
              cpu->linear_forward(dev, &rows, &w, NULL, ACT_NONE, NULL, &out, err));
    MUST_FAIL(CLOZE_ERR_INTERNAL, "index 2 is 4", cpu->gather_rows(dev, &rows, ids, &out, err));
    MUST_FAIL(CLOZE_ERR_INTERNAL, "index 1 is -1",
              cpu->scatter_add_rows(dev, &rows, negative, &out, err));
    MUST_FAIL(CLOZE_ERR_INTERNAL, "embedding",
              cpu->embedding_forward(dev, 1, tables, table_ids, &out, err));
    MUST(cpu->cross_entropy_forward(dev, &rows, &spec, NULL, &one, err));
    MUST_FAIL(CLOZE_ERR_INTERNAL, "label 1 is -1",
              cpu->cross_entropy_forward(dev, &rows, &wrong, NULL, &one, err));
    MUST_FAIL(CLOZE_ERR_INTERNAL, "groups", cpu->logsumexp_forward(dev, &rows, groups, &two, err));
    cpu->device_close(dev);
}

/* Activations and softmax keep to what they mean where exp overflows, underflows or gets no number.
 */
static void test_edges_of_floats(void **state) {
    static const float in[] = {-INFINITY, -1e30f, -200.0f, -88.5f,   -0.0f,
                               88.5f,     200.0f, 1e30f,   INFINITY, NAN};
    enum { N = COUNT(in) };
    backend_device *dev = open_device(1);
    float x[N], y[N];
    memcpy(x, in, sizeof x);
    tensor x_t = tensor_of(x, DTYPE_F32, 1, N), y_t = tensor_of(y, DTYPE_F32, 1, N);
    MUST(cpu->activation_forward(dev, ACT_TANH, &x_t, &y_t, err));
    for (int i = 0; i < N - 1; i++) assert_true(fabsf(y[i] - tanhf(x[i])) <= 2e-7f);
    assert_true(isnan(y[N - 1]));
    static const activation gates[] = {ACT_GELU_ERF, ACT_GELU_TANH, ACT_SILU};
    for (size_t a = 0; a < COUNT(gates); a++) {
        MUST(cpu->activation_forward(dev, gates[a], &x_t, &y_t, err));
        for (int i = 1; i <= 4; i++) assert_true(fabsf(y[i]) <= 1e-6f); /* x times almost nothing */
        for (int i = 5; i < N - 1; i++) assert_true(y[i] == x[i]);
        assert_true(isnan(y[N - 1]));
    }
    /* the largest logit takes all; minus infinity (a forbidden class) has no part */
    float logits[4] = {-INFINITY, 1e30f, 0.0f, -1e30f},
          expected[4] = {-INFINITY, 0.0f, -1e30f, -2e30f};
    tensor l = tensor_of(logits, DTYPE_F32, 1, 4);
    MUST(cpu->log_softmax_forward(dev, &l, &l, err));
    for (int i = 0; i < 4; i++) assert_true(logits[i] == expected[i]);
    float lost[4] = {0.0f, NAN, 1.0f, 2.0f};
    tensor n = tensor_of(lost, DTYPE_F32, 1, 4);
    MUST(cpu->log_softmax_forward(dev, &n, &n, err));
    for (int i = 0; i < 4; i++) assert_true(isnan(lost[i]));
    cpu->device_close(dev);
}

/* A bf16 result rounds to nearest even, keeps infinities and NaN. */
static void test_bf16_rounding(void **state) {
    float x[] = {1.0f, 1.00390625f, 1.01171875f, -1.00390626f, 3.4e38f, INFINITY, NAN, 1e-40f};
    uint16_t y[COUNT(x)];
    backend_device *dev = open_device(1);
    tensor from = tensor_of(x, DTYPE_F32, 1, COUNT(x)), to = tensor_of(y, DTYPE_BF16, 1, COUNT(x));
    MUST(cpu->axpy(dev, 1.0f, &from, false, &to, err));
    for (size_t i = 0; i < COUNT(x); i++) assert_int_equal(y[i], bf16_from_f32(x[i]));
    cpu->device_close(dev);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_complete),
        cmocka_unit_test(test_open_rejects),
        cmocka_unit_test(test_open_without_memory),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_weight_copy_follows_version),
        cmocka_unit_test(test_weight_is_shared),
        cmocka_unit_test(test_product_without_memory),
        cmocka_unit_test(test_scratch_without_memory),
        cmocka_unit_test(test_primitive_cache_is_bounded),
        cmocka_unit_test(test_wrong_arguments),
        cmocka_unit_test(test_edges_of_floats),
        cmocka_unit_test(test_bf16_rounding),
    };
    return cmocka_run_group_tests_name("cpu device", tests, NULL, NULL);
}

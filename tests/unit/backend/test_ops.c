/*
 * The op harness: every kernel of ops.def against the reference backend, in four modes.
 *
 *   correct    each backend's results agree with ref's over odd shapes, dtypes, strides, options
 *   guards     no byte outside the outputs' rows and columns changes (within the same runs)
 *   repeat     the same call gives the same bytes (within the same runs)
 *   gradient   ref's backward kernels agree with central differences of its forward kernels
 *
 * What a result may differ by is derived from what it is made of: op_allowed in op_call.h,
 * op_sizes.h. A kernel without a row in the table fails the test. The cpu backend runs once for
 * each instruction set that the processor has: the program calls itself with CLOZE_ISA set.
 * Arguments: names of kernels to run alone. In the environment, CLOZE_TEST_SEED draws other numbers
 * and settings, CLOZE_TEST_MARGINS shows how much of its allowance each kernel uses.
 */
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cpu.h"
#include "unit/backend/op_cases_dense.h"
#include "unit/backend/op_cases_rows.h"
#include "unit/backend/op_sizes_losses.h"

/* LINEAR: each result is a sum of products of its operands (for the most part: see
 * sizes_absolute), CASE: a function of op_sizes.h knows what it is made of. */
#define LINEAR(name, n_variants, forward)                                                          \
    { #name, build_##name, invoke_##name, n_variants, forward, NULL }
#define CASE(name, n_variants, forward)                                                            \
    { #name, build_##name, invoke_##name, n_variants, forward, sizes_##name }

static const op_case cases[] = {
    LINEAR(embedding_forward, 4, NULL),
    LINEAR(embedding_backward, 4, "embedding_forward"),
    LINEAR(linear_forward, 6, NULL),
    LINEAR(linear_backward_input, 6, "linear_forward"),
    LINEAR(linear_backward_weight, 6, "linear_forward"),
    CASE(activation_forward, 7, NULL),
    LINEAR(activation_backward, 7, "activation_forward"),
    CASE(layer_norm_forward, 4, NULL),
    CASE(layer_norm_backward, 4, "layer_norm_forward"),
    CASE(rms_norm_forward, 2, NULL),
    CASE(rms_norm_backward, 2, "rms_norm_forward"),
    CASE(attention_forward, 9, NULL),
    CASE(attention_backward, 8, "attention_forward"),
    CASE(rope, 8, "rope"),
    LINEAR(dropout, 6, "dropout"),
    LINEAR(axpy, 3, NULL),
    LINEAR(mul, 3, NULL),
    LINEAR(sum_rows, 1, NULL),
    LINEAR(sum_all, 1, NULL),
    LINEAR(glu_forward, 6, NULL),
    LINEAR(glu_backward, 6, "glu_forward"),
    LINEAR(gather_rows, 2, NULL),
    LINEAR(scatter_add_rows, 2, "gather_rows"),
    LINEAR(mean_pool_forward, 1, NULL),
    LINEAR(mean_pool_backward, 1, "mean_pool_forward"),
    CASE(log_softmax_forward, 1, NULL),
    CASE(log_softmax_backward, 1, "log_softmax_forward"),
    CASE(logsumexp_forward, 3, NULL),
    CASE(logsumexp_backward, 3, "logsumexp_forward"),
    CASE(cross_entropy_forward, 6, NULL),
    CASE(cross_entropy_backward, 6, "cross_entropy_forward"),
    CASE(bce_forward, 1, NULL),
    CASE(bce_backward, 1, "bce_forward"),
    CASE(kl_forward, 1, NULL),
    CASE(kl_backward, 3, "kl_forward"),
    CASE(cosine_forward, 1, NULL),
    CASE(cosine_backward, 3, "cosine_forward"),
    CASE(lstm_forward, 2, NULL),
    CASE(lstm_backward, 4, "lstm_forward"),
    LINEAR(sum_squares, 1, NULL),
    CASE(adamw, 3, NULL),
};
#define N_CASES ((int)(sizeof cases / sizeof *cases))

static const char *const kernel_names[] = {
#define KERNEL(name, ...) #name,
#include "backend/ops.def"
#undef KERNEL
};
#define N_KERNELS ((int)(sizeof kernel_names / sizeof *kernel_names))

static const op_case *case_find(const char *name) {
    for (int i = 0; i < N_CASES; i++) {
        if (strcmp(cases[i].name, name) == 0) return &cases[i];
    }
    return NULL;
}

/* A backend under test, with two handles: one thread and two. */
typedef struct subject {
    const backend *b;
    backend_device *one, *two;
    const char *label;
    int n_runs, n_thread_dependent;
    double worst; /* the largest error, in units of what is allowed */
} subject;

static subject reference, fast; /* fast.b == NULL: not in this program */
static uint64_t seed = 7;       /* CLOZE_TEST_SEED: other numbers, dtypes and strides */

static cloze_dtype random_dtype(rng *r) { return rng_below(r, 2) ? DTYPE_F32 : DTYPE_BF16; }

/* A call of k at (rows, cols); attempt tells repeated draws of the random settings apart. */
static void call_init(op_call *c, const op_case *k, int64_t rows, int64_t cols, int variant) {
    memset(c, 0, sizeof *c);
    c->rows = rows;
    c->cols = cols;
    c->variant = variant;
    uint64_t key = rng_mix_string(seed, k->name);
    rng_init(&c->random,
             rng_mix(rng_mix(rng_mix(key, (uint64_t)rows), (uint64_t)cols), (uint64_t)variant));
    c->in = random_dtype(&c->random);
    c->out = random_dtype(&c->random);
    c->aux = random_dtype(&c->random);
    c->stat = DTYPE_F32;
    c->strided = rng_below(&c->random, 2);
    c->accumulate = rng_below(&c->random, 2);
    c->accumulate_too = rng_below(&c->random, 2);
}

static void check(bool ok, const char *what, const op_case *k, const op_call *c,
                  const char *label) {
    if (ok) return;
    print_error("%s/%s: %s (rows %lld, cols %lld, variant %d, in %s, out %s, aux %s%s%s)\n", label,
                k->name, what, (long long)c->rows, (long long)c->cols, c->variant,
                dtype_name(c->in), dtype_name(c->out), dtype_name(c->aux),
                c->strided ? ", strided" : "", c->accumulate ? ", accumulate" : "");
    fail();
}

static void run_on(const op_case *k, op_call *c, const subject *s, backend_device *dev) {
    cloze_error err = {0};
    cloze_status status = op_run(k, c, s->b, dev, &err);
    check(status == CLOZE_OK, err.message, k, c, s->label);
}

/* Copies the value of an operand of the forward call into the backward call's operand of that name.
 */
static void link_operand(op_operand *to, const op_operand *from, bool from_result) {
    if (to->is_array) {
        assert_int_equal(to->bytes, from->bytes);
        memcpy(to->image, from->image, to->bytes);
        return;
    }
    tensor dst = op_view(to, to->image),
           src = op_view(from, from_result ? from->result : from->image);
    assert_int_equal(dst.rows, src.rows);
    assert_int_equal(dst.cols, src.cols);
    for (int64_t i = 0; i < dst.rows; i++) {
        for (int64_t j = 0; j < dst.cols; j++) ref_set(&dst, i, j, ref_get(&src, i, j));
    }
}

/* Gives a backward call inputs that belong together: those of a forward call that ran on ref. */
static void link_forward(op_call *f, op_call *c) {
    for (int i = 0; i < c->n_operands; i++) {
        op_operand *to = &c->operands[i], *from = op_find(f, to->name);
        if (!from || to->role == OP_OUT || to->role == OP_INOUT) continue;
        link_operand(to, from, from->role == OP_OUT);
    }
}

/* ---- correct, guards, repeat ---- */

static void check_guards(const op_case *k, op_call *c, const char *label) {
    for (int i = 0; i < c->n_operands; i++) {
        int64_t stray = op_stray_write(&c->operands[i]);
        char what[128];
        snprintf(
            what, sizeof what,
            "writes byte %lld of '%s' (%lld x %lld, ld %lld, after guard and pad %d)",
            (long long)stray, c->operands[i].name, (long long)c->operands[i].t.rows,
            (long long)c->operands[i].t.cols, (long long)c->operands[i].t.ld,
            (int)(OP_GUARD + c->operands[i].pad * (int64_t)dtype_size(c->operands[i].t.dtype)));
        check(stray < 0, what, k, c, label);
    }
}

static bool is_output(const op_operand *o) { return o->role == OP_OUT || o->role == OP_INOUT; }

/* Runs once more and says whether the outputs are the same bytes. */
static bool same_again(const op_case *k, op_call *c, const subject *s, backend_device *dev) {
    unsigned char *first[OP_MAX_OPERANDS];
    double first_host = c->host_out;
    bool same = true;
    for (int i = 0; i < c->n_operands; i++) {
        first[i] = c->operands[i].result;
        c->operands[i].result = mem_alloc(c->operands[i].bytes);
        assert_non_null(c->operands[i].result);
    }
    run_on(k, c, s, dev);
    for (int i = 0; i < c->n_operands; i++) {
        if (is_output(&c->operands[i]) && !op_same_bytes(&c->operands[i], first[i])) same = false;
        mem_free(first[i]);
    }
    return same && memcmp(&first_host, &c->host_out, sizeof first_host) == 0;
}

static void compare_outputs(const op_case *k, op_call *expected, op_call *c, subject *s) {
    const char *label = s->label;
    for (int i = 0; i < c->n_operands; i++) {
        op_operand *e = &expected->operands[i], *g = &c->operands[i];
        if (!is_output(g)) continue;
        op_difference d = op_compare(e, g);
        char what[160];
        snprintf(what, sizeof what,
                 "'%s'[%lld,%lld] is %.9g, ref has %.9g (difference %.3g, allowed %.3g)", g->name,
                 (long long)d.row, (long long)d.col, d.got, d.expected, fabs(d.got - d.expected),
                 d.allowed);
        check(d.error <= 1.0, what, k, c, label);
        s->worst = fmax(s->worst, d.error);
        /* Nearly equal numbers seldom round to neighbours in bf16; a wrong rounding mode does half
         * the time. */
        check(d.n_flips <= 5 + g->t.rows * g->t.cols / 20,
              "a twentieth of the bf16 results is off by one", k, c, label);
    }
    if (!isnan(expected->host_out) || !isnan(c->host_out)) {
        double error = fabs(expected->host_out - c->host_out);
        check(error <= 1e-6 * fabs(expected->host_out), "the result on the host deviates", k, c,
              label);
    }
}

/*
 * Sizes of results that are sums of products: what ref makes of the operands' absolute values.
 * Activations are at most |x| and bend by less than 2; their place takes the identity.
 */
static void sizes_absolute(const op_case *k, op_call *expected, int64_t rows, int64_t cols,
                           int variant) {
    op_call a;
    call_init(&a, k, rows, cols, variant);
    k->build(&a);
    a.act = ACT_NONE;
    a.alpha = fabsf(a.alpha);
    for (int i = 0; i < a.n_operands; i++) {
        op_operand *o = &a.operands[i];
        memcpy(o->image, expected->operands[i].image, o->bytes);
        tensor t = op_view(o, o->image);
        for (int64_t r = 0; !o->is_array && o->role != OP_OUT && r < t.rows; r++)
            for (int64_t c = 0; c < t.cols; c++) ref_set(&t, r, c, fabs(ref_get(&t, r, c)));
    }
    run_on(k, &a, &reference, reference.one);
    for (int i = 0; i < a.n_operands; i++) {
        op_operand *to = &expected->operands[i];
        if (!is_output(to)) continue;
        tensor t = op_view(&a.operands[i], a.operands[i].result);
        double *sizes = sizes_of(expected, to->name);
        for (int64_t r = 0; r < t.rows; r++)
            for (int64_t c = 0; c < t.cols; c++) sizes[r * t.cols + c] = ref_get(&t, r, c);
    }
    op_free(&a);
}

/* The same call twice: two builders with the same random stream make the same images. */
static void run_case(const op_case *k, subject *s, int64_t rows, int64_t cols, int variant) {
    const op_case *forward =
        k->forward && strcmp(k->forward, k->name) != 0 ? case_find(k->forward) : NULL;
    op_call expected, c;
    call_init(&expected, k, rows, cols, variant);
    call_init(&c, k, rows, cols, variant);
    k->build(&expected);
    k->build(&c);
    if (forward && variant < forward->n_variants) {
        op_call f;
        call_init(&f, forward, rows, cols, variant);
        f.in = c.in;
        f.out = c.out;
        f.aux = c.aux;
        forward->build(&f);
        run_on(forward, &f, &reference, reference.one);
        link_forward(&f, &expected);
        link_forward(&f, &c);
        op_free(&f);
    }
    run_on(k, &c, s, s->one);
    check_guards(k, &c, s->label);
    run_on(k, &expected, &reference, reference.one);
    if (k->sizes)
        k->sizes(&expected);
    else
        sizes_absolute(k, &expected, rows, cols, variant);
    compare_outputs(k, &expected, &c, s);
    check(same_again(k, &c, s, s->one), "the same call gave other bytes", k, &c, s->label);
    if (!same_again(k, &c, s, s->two)) s->n_thread_dependent++;
    check(same_again(k, &c, s, s->two), "the same call on two threads gave other bytes", k, &c,
          s->label);
    s->n_runs++;
    op_free(&expected);
    op_free(&c);
}

static void test_kernel(subject *s, const op_case *k) {
    static const int64_t all_rows[] = {0, 1, 7, 8, 9, 31, 33, 63, 65};
    static const int64_t all_cols[] = {1, 3, 16, 31, 64, 100, 768};
    size_t n_cols = sizeof all_cols / sizeof *all_cols;
    if (s == &reference) n_cols--; /* ref against itself: only guards and repeat can fail */
    s->n_runs = s->n_thread_dependent = 0;
    s->worst = 0.0;
    for (size_t i = 0; i < sizeof all_rows / sizeof *all_rows; i++) {
        for (size_t j = 0; j < n_cols; j++) {
            for (int v = 0; v < k->n_variants; v++) run_case(k, s, all_rows[i], all_cols[j], v);
        }
    }
    for (int v = 0; v < k->n_variants; v++) {
        run_case(k, s, 300, 100, v); /* several blocks of rows and of keys, work for two threads */
        run_case(k, s, 261, 66, v);  /* the same: products reorder their factors */
        run_case(k, s, 258, 64, v);
        if (strcmp(k->name, "linear_backward_weight") == 0) run_case(k, s, 259, 2050, v);
        run_case(k, s, 20, 2500, v); /* several chunks of columns, likewise */
    }
    if (s->n_thread_dependent > 0) {
        print_message("note: %s/%s: %d of %d calls give other bytes with 2 threads than with 1\n",
                      s->label, k->name, s->n_thread_dependent, s->n_runs);
    }
    if (getenv("CLOZE_TEST_MARGINS"))
        print_message("margin: %s/%s: %.2f\n", s->label, k->name, s->worst);
}

static void test_kernel_ref(void **state) { test_kernel(&reference, *state); }

static void test_kernel_fast(void **state) {
    if (!fast.b) {
        skip();
        return;
    }
    test_kernel(&fast, *state);
}

/* ---- gradient ---- */

/*
 * The loss is the sum of w_i out_i over the forward's outputs that the backward knows a gradient
 * of. All tensors are f64, so the difference quotient with step 1e-5 is good to about 1e-10
 * (truncation, step^2) + 1e-11 (rounding, 1e-16 / step). What is left is that a few settings are
 * f32 in both.
 */
#define GRADIENT_STEP 1e-5
#define GRADIENT_TOLERANCE 1e-7
#define GRADIENT_SAMPLES 60

static double loss_of(const op_case *forward, op_call *f, op_call *c) {
    double loss = 0.0;
    run_on(forward, f, &reference, reference.one);
    for (int i = 0; i < f->n_operands; i++) {
        op_operand *out = &f->operands[i];
        char name[20];
        snprintf(name, sizeof name, "d%s", out->name);
        op_operand *gradient = op_find(c, name);
        if (out->role != OP_OUT || !gradient) continue;
        tensor value = op_view(out, out->result), w = op_view(gradient, gradient->image);
        for (int64_t r = 0; r < value.rows; r++) {
            for (int64_t k = 0; k < value.cols; k++)
                loss += ref_get(&value, r, k) * ref_get(&w, r, k);
        }
    }
    return loss;
}

/* Compares the gradient `analytic` of the forward's operand `input` with difference quotients. */
static void check_gradient(const op_case *forward, op_call *f, const op_case *k, op_call *c,
                           op_operand *input, op_operand *analytic) {
    tensor x = op_view(input, input->image), dx = op_view(analytic, analytic->result);
    int64_t n = x.rows * x.cols;
    for (int64_t s = 0; s < GRADIENT_SAMPLES && s < n; s++) {
        int64_t at = n <= GRADIENT_SAMPLES ? s : op_below(c, n);
        int64_t row = at / x.cols, col = at % x.cols;
        double value = ref_get(&x, row, col);
        ref_set(&x, row, col, value + GRADIENT_STEP);
        double above = loss_of(forward, f, c);
        ref_set(&x, row, col, value - GRADIENT_STEP);
        double below = loss_of(forward, f, c);
        ref_set(&x, row, col, value);
        double quotient = (above - below) / (2.0 * GRADIENT_STEP), got = ref_get(&dx, row, col);
        char what[160];
        snprintf(what, sizeof what,
                 "gradient of '%s'[%lld,%lld] is %.9g, the difference quotient %.9g", input->name,
                 (long long)row, (long long)col, got, quotient);
        check(fabs(quotient - got) <= GRADIENT_TOLERANCE * (1.0 + fabs(quotient)), what, k, c,
              "ref");
    }
}

static void call_make_exact(op_call *c) {
    c->exact = true;
    c->in = c->out = c->aux = c->stat = DTYPE_F64;
    c->strided = c->accumulate = c->accumulate_too = false;
}

static int gradient_of_variant(const op_case *k, const op_case *forward, int64_t rows, int64_t cols,
                               int variant) {
    op_call f, c;
    int n_checked = 0;
    call_init(&f, forward, rows, cols, variant);
    call_init(&c, k, rows, cols, variant);
    call_make_exact(&f);
    call_make_exact(&c);
    c.as_backward = k == forward;
    forward->build(&f);
    k->build(&c);
    run_on(forward, &f, &reference, reference.one);
    link_forward(&f, &c);
    run_on(k, &c, &reference, reference.one);
    for (int i = 0; i < c.n_operands; i++) {
        op_operand *analytic = &c.operands[i], *input = op_find(&f, analytic->name + 1);
        if (!is_output(analytic) || analytic->name[0] != 'd' || !input) continue;
        check_gradient(forward, &f, k, &c, input, analytic);
        n_checked++;
    }
    op_free(&f);
    op_free(&c);
    return n_checked;
}

static void test_gradient(void **state) {
    const op_case *k = *state, *forward = case_find(k->forward);
    int n_variants = k->n_variants < forward->n_variants ? k->n_variants : forward->n_variants;
    assert_non_null(forward);
    for (int variant = 0; variant < n_variants; variant++) {
        assert_true(gradient_of_variant(k, forward, 6, 5, variant) > 0);
        assert_true(gradient_of_variant(k, forward, 31, 16, variant) > 0);
    }
}

/* ---- the table is complete; a pack follows its weight ---- */

static void test_table_is_complete(void **state) {
    for (int i = 0; i < N_KERNELS; i++) {
        if (!case_find(kernel_names[i]))
            fail_msg("kernel '%s' of ops.def has no row in the harness", kernel_names[i]);
    }
    assert_int_equal(N_CASES, N_KERNELS);
}

static void check_weight_versions(const subject *s) {
    float x[3] = {1, 2, 3}, w[6] = {1, 0, 0, 0, 1, 0}, y[2], dx[3]; /* (1,3), (2,3), (1,2), (1,3) */
    cloze_error err = {0};
    void *device[4];
    size_t bytes[4] = {sizeof x, sizeof w, sizeof y, sizeof dx};
    for (int i = 0; i < 4; i++)
        assert_int_equal(s->b->mem_alloc(s->one, bytes[i], &device[i], &err), CLOZE_OK);
    tensor tx = tensor_of(device[0], DTYPE_F32, 1, 3), ty = tensor_of(device[2], DTYPE_F32, 1, 2);
    tensor tdx = tensor_of(device[3], DTYPE_F32, 1, 3);
    weight object = {.t = tensor_of(device[1], DTYPE_F32, 2, 3), .version = 1};
    s->b->upload(s->one, device[0], x, sizeof x, &err);
    for (int version = 1; version <= 3; version++) {
        w[0] = w[4] = (float)version;
        object.version = (uint64_t)version;
        s->b->upload(s->one, device[1], w, sizeof w, &err);
        assert_int_equal(
            s->b->linear_forward(s->one, &tx, &object, NULL, ACT_NONE, NULL, &ty, &err), CLOZE_OK);
        assert_int_equal(s->b->linear_backward_input(s->one, &ty, &object, false, &tdx, &err),
                         CLOZE_OK);
        s->b->download(s->one, y, device[2], sizeof y, &err);
        s->b->download(s->one, dx, device[3], sizeof dx, &err);
        assert_true(y[0] == (float)version && y[1] == 2.0f * (float)version);
        assert_true(dx[0] == (float)(version * version) &&
                    dx[1] == 2.0f * (float)(version * version));
    }
    s->b->weight_drop_packs(s->one, &object);
    s->b->weight_drop_packs(s->one, &object); /* nothing left to drop */
    for (int i = 0; i < 4; i++) s->b->mem_free(s->one, device[i], bytes[i]);
}

static void test_weight_versions(void **state) {
    check_weight_versions(&reference);
    if (fast.b) check_weight_versions(&fast);
}

/* ---- the program ---- */

static void subject_open(subject *s, const char *device) {
    cloze_error err = {0};
    s->label = device;
    if (backend_find(device, &s->b, &err) != CLOZE_OK) {
        print_message("SKIP: no '%s' backend in this program: %s\n", device, err.message);
        return;
    }
    if (s->b->device_open(0, 1, &s->one, &err) != CLOZE_OK ||
        s->b->device_open(0, 2, &s->two, &err) != CLOZE_OK) {
        print_error("cannot open '%s': %s\n", device, err.message);
        exit(1);
    }
}

static void subject_close(subject *s) {
    if (!s->b) return;
    s->b->device_close(s->one);
    s->b->device_close(s->two);
}

static bool is_wanted(const char *name, int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], name) == 0) return true;
    }
    return argc == 1;
}

static void add_test(struct CMUnitTest *tests, int *n, const char *prefix, const op_case *k,
                     void (*function)(void **state)) {
    static char names[4 * 64][64];
    snprintf(names[*n], sizeof names[*n], "%s/%s", prefix, k->name);
    tests[*n] = (struct CMUnitTest){names[*n], function, NULL, NULL, (void *)(uintptr_t)k};
    (*n)++;
}

/* Everything but the cpu backend, which needs a process for each instruction set. */
static int run_reference(int argc, char **argv) {
    static struct CMUnitTest tests[3 * N_CASES + 2];
    int n = 0;
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_table_is_complete);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_weight_versions);
    for (int i = 0; i < N_CASES; i++) {
        if (!is_wanted(cases[i].name, argc, argv)) continue;
        add_test(tests, &n, "ref", &cases[i], test_kernel_ref);
        if (cases[i].forward) add_test(tests, &n, "gradient", &cases[i], test_gradient);
    }
    return _cmocka_run_group_tests("ops on ref", tests, (size_t)n, NULL, NULL);
}

static int run_fast(int argc, char **argv) {
    static struct CMUnitTest tests[N_CASES + 1];
    char group[64];
    int n = 0;
    fast.label = cpu_isa_name(cpu_get_isa());
    snprintf(group, sizeof group, "ops on cpu, %s", fast.label);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_weight_versions);
    for (int i = 0; i < N_CASES; i++) {
        if (is_wanted(cases[i].name, argc, argv))
            add_test(tests, &n, fast.label, &cases[i], test_kernel_fast);
    }
    return _cmocka_run_group_tests(group, tests, (size_t)n, NULL, NULL);
}

/* Calls this program again for one instruction set; 0 when that passes. */
static int run_isa(cpu_isa isa, char **argv) {
    if (isa > cpu_get_isa()) {
        print_message("SKIP: this processor has no %s\n", cpu_isa_name(isa));
        return 0;
    }
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        setenv("CLOZE_ISA", cpu_isa_name(isa), 1);
        setenv("OMP_WAIT_POLICY", "passive",
               1); /* thousands of small calls: spinning would cost more than work */
        execv("/proc/self/exe", argv);
        _exit(127);
    }
    int status = -1;
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status)
               ? WEXITSTATUS(status)
               : 1;
}

int main(int argc, char **argv) {
    subject_open(&reference, "ref");
    subject_open(&fast, "cpu");
    int failures = 0;
    if (getenv("CLOZE_TEST_SEED")) seed = strtoull(getenv("CLOZE_TEST_SEED"), NULL, 10);
    if (getenv("CLOZE_ISA")) {
        if (fast.b) failures = run_fast(argc, argv);
    } else {
        failures = run_reference(argc, argv);
        for (int isa = CPU_ISA_PORTABLE; fast.b && isa <= CPU_ISA_AVX512; isa++) {
            failures += run_isa((cpu_isa)isa, argv);
        }
    }
    subject_close(&fast);
    subject_close(&reference);
    return failures > 0;
}

/* Encoded sets, plans and packed batches: every token of every example, in order, exactly once. */
#include "prompt_check.h"

#include <omp.h>

#include "base/buf.h"
#include "base/mem.h"
#include "prompt/batch.h"

static const char VOCAB[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\nd\n";
#define N 41

typedef struct fixture {
    tokenizer *tok;
    template_t tmpl;
    input_encoder *encoder;
    dataset data;
} fixture;

/* Example i is 1 + 7 i mod 12 letters long, so that lengths and order disagree. */
static int setup(void **state) {
    static fixture f;
    wordpiece_settings settings = {1, -1, 1, 512};
    dataset_options opts = {.labelling = DATASET_LABELS_NONE};
    cloze_error err = {0};
    buf text;
    buf_init(&text, 1 << 16);
    for (int i = 0; i < N; i++) {
        for (int t = 0; t < 1 + 7 * i % 12; t++) buf_printf(&text, "%c ", "abcd"[(i + t) % 4]);
        buf_puts(&text, "\n");
    }
    CHECK_OK(tokenizer_create_wordpiece(VOCAB, sizeof VOCAB - 1, &settings, &f.tok, &err), err);
    CHECK_OK(template_parse("d{'mask'}{'mask'}", &f.tmpl, &err), err);
    CHECK_OK(input_encoder_create(&f.tmpl, f.tok, NULL, &f.encoder, &err), err);
    CHECK_OK(dataset_parse(text.data, text.len, "data.txt", &opts, NULL, &f.data, &err), err);
    for (int i = 0; i < N; i++) f.data.examples[i].label = i % 3;
    buf_deinit(&text);
    *state = &f;
    return 0;
}

static int teardown(void **state) {
    fixture *f = *state;
    input_encoder_destroy(f->encoder);
    template_deinit(&f->tmpl);
    tokenizer_destroy(f->tok);
    dataset_deinit(&f->data);
    return 0;
}

static void build(const fixture *f, encoded_set *set) {
    cloze_error err = {0};
    CHECK_OK(encoded_set_build(f->encoder, f->data.examples, f->data.n, set, &err), err);
}

/* The set holds what the encoder says of each example, whatever the number of threads. */
static void test_encoded_set(void **state) {
    fixture *f = *state;
    int threads = omp_get_max_threads();
    for (int t = 1; t <= 5; t += 2) {
        encoded_set set;
        encoded_example e = {0};
        cloze_error err = {0};
        omp_set_num_threads(t);
        build(f, &set);
        assert_int_equal(set.n, N);
        assert_int_equal(set.longest, 12 + 5);
        for (int64_t i = 0; i < N; i++) {
            CHECK_OK(input_encoder_encode(f->encoder, &f->data.examples[i], &e, &err), err);
            assert_int_equal(set.offsets[i + 1] - set.offsets[i], e.n);
            assert_memory_equal(set.input_ids + set.offsets[i], e.input_ids, (size_t)e.n * 4);
            assert_memory_equal(set.position_ids + set.offsets[i], e.position_ids, (size_t)e.n * 4);
            assert_memory_equal(set.token_type_ids + set.offsets[i], e.token_type_ids,
                                (size_t)e.n * 4);
            assert_int_equal(set.mask_offsets[i + 1] - set.mask_offsets[i], 2);
            assert_memory_equal(set.masked_positions + set.mask_offsets[i], e.masked_positions, 8);
            assert_int_equal(set.labels[i], i % 3);
        }
        encoded_example_deinit(&e);
        encoded_set_deinit(&set);
    }
    omp_set_num_threads(threads);
}

/* The first bad example in file order is the one that is named. */
static void test_first_error(void **state) {
    fixture *f = *state;
    encoded_set set;
    cloze_error err = {0};
    example examples[N];
    memcpy(examples, f->data.examples, sizeof examples);
    template_t tmpl;
    input_encoder *encoder = NULL;
    CHECK_OK(template_parse("{'text':'text_b'}{'mask'}", &tmpl, &err), err);
    CHECK_OK(input_encoder_create(&tmpl, f->tok, NULL, &encoder, &err), err);
    for (int i = 0; i < N; i++) {
        if (i == 13 || i == 30) continue;
        examples[i].text_b = "a";
        examples[i].text_b_len = 1;
    }
    int threads = omp_get_max_threads();
    omp_set_num_threads(4);
    CHECK_ERROR(encoded_set_build(encoder, examples, N, &set, &err), err, CLOZE_ERR_DATA,
                "line 14: the template reads 'text_b'");
    omp_set_num_threads(threads);
    input_encoder_destroy(encoder);
    template_deinit(&tmpl);
}

/* Every example is in the plan once; no batch breaks a limit, and none could have taken the next.
 */
static void check_plan(const encoded_set *set, const batch_options *opts, const batch_plan *plan) {
    bool seen[N] = {false};
    assert_int_equal(plan->starts[0], 0);
    assert_int_equal(plan->starts[plan->n_batches], N);
    for (int64_t b = 0; b < plan->n_batches; b++) {
        int64_t tokens = 0, count = plan->starts[b + 1] - plan->starts[b];
        assert_true(count > 0);
        for (int64_t k = plan->starts[b]; k < plan->starts[b + 1]; k++) {
            int32_t i = plan->order[k];
            assert_false(seen[i]);
            seen[i] = true;
            tokens += set->offsets[i + 1] - set->offsets[i];
        }
        if (opts->batch_size) assert_true(count <= opts->batch_size);
        if (opts->token_budget) assert_true(tokens <= opts->token_budget || count == 1);
        if (b + 1 == plan->n_batches) continue;
        int32_t next = plan->order[plan->starts[b + 1]];
        bool full = opts->batch_size && count == opts->batch_size;
        bool over = opts->token_budget &&
                    tokens + set->offsets[next + 1] - set->offsets[next] > opts->token_budget;
        assert_true(full || over);
    }
    for (int i = 0; i < N; i++) assert_true(seen[i]);
}

static const batch_options OPTIONS[] = {{.batch_size = 8},
                                        {.batch_size = 1},
                                        {.batch_size = 100},
                                        {.token_budget = 40},
                                        {.token_budget = 1},
                                        {.batch_size = 3, .token_budget = 40},
                                        {0}};

static void test_plans(void **state) {
    encoded_set set;
    cloze_error err = {0};
    build(*state, &set);
    for (size_t o = 0; o < sizeof OPTIONS / sizeof *OPTIONS; o++) {
        batch_plan plan;
        CHECK_OK(batch_plan_sequential(&set, &OPTIONS[o], &plan, &err), err);
        check_plan(&set, &OPTIONS[o], &plan);
        for (int i = 0; i < N; i++) assert_int_equal(plan.order[i], i);
        batch_plan_deinit(&plan);
        CHECK_OK(batch_plan_shuffled(&set, &OPTIONS[o], 7, 3, &plan, &err), err);
        check_plan(&set, &OPTIONS[o], &plan);
        batch_plan_deinit(&plan);
        CHECK_OK(batch_plan_by_length(&set, &OPTIONS[o], &plan, &err), err);
        check_plan(&set, &OPTIONS[o], &plan);
        for (int k = 1; k < N; k++) {
            int64_t a = plan.order[k - 1], b = plan.order[k];
            int64_t length_a = set.offsets[a + 1] - set.offsets[a],
                    length_b = set.offsets[b + 1] - set.offsets[b];
            assert_true(length_a > length_b || (length_a == length_b && a < b));
        }
        batch_plan_deinit(&plan);
    }
    batch_plan dropped;
    batch_options drop = {.batch_size = 8, .drop_last = true};
    CHECK_OK(batch_plan_sequential(&set, &drop, &dropped, &err), err);
    assert_int_equal(dropped.n_batches, 5);
    assert_int_equal(dropped.starts[5], 40);
    batch_plan_deinit(&dropped);
    encoded_set_deinit(&set);
}

/* The order is a function of (seed, epoch): the same again, another for another. */
static void test_shuffle_key(void **state) {
    encoded_set set;
    cloze_error err = {0};
    batch_options opts = {.batch_size = 4};
    batch_plan first, same, epoch, seed;
    build(*state, &set);
    CHECK_OK(batch_plan_shuffled(&set, &opts, 42, 0, &first, &err), err);
    CHECK_OK(batch_plan_shuffled(&set, &opts, 42, 0, &same, &err), err);
    CHECK_OK(batch_plan_shuffled(&set, &opts, 42, 1, &epoch, &err), err);
    CHECK_OK(batch_plan_shuffled(&set, &opts, 43, 0, &seed, &err), err);
    assert_memory_equal(first.order, same.order, N * 4);
    assert_memory_not_equal(first.order, epoch.order, N * 4);
    assert_memory_not_equal(first.order, seed.order, N * 4);
    assert_memory_not_equal(epoch.order, seed.order, N * 4);
    batch_plan_deinit(&first);
    batch_plan_deinit(&same);
    batch_plan_deinit(&epoch);
    batch_plan_deinit(&seed);
    encoded_set_deinit(&set);
}

static void check_batch(const packed_batch *b, const encoded_set *set, const batch_plan *plan,
                        int64_t i_batch) {
    int32_t longest = 0;
    assert_int_equal(b->n_examples, plan->starts[i_batch + 1] - plan->starts[i_batch]);
    assert_int_equal(b->offsets[0], 0);
    assert_int_equal(b->offsets[b->n_examples], b->n_tokens);
    assert_int_equal(b->mask_offsets[b->n_examples], b->n_masks);
    for (int32_t k = 0; k < b->n_examples; k++) {
        int32_t i = plan->order[plan->starts[i_batch] + k], n = b->offsets[k + 1] - b->offsets[k];
        size_t bytes = (size_t)n * 4;
        assert_int_equal(b->example_ids[k], i);
        assert_int_equal(b->labels[k], i % 3);
        assert_int_equal(n, set->offsets[i + 1] - set->offsets[i]);
        assert_memory_equal(b->input_ids + b->offsets[k], set->input_ids + set->offsets[i], bytes);
        assert_memory_equal(b->token_type_ids + b->offsets[k],
                            set->token_type_ids + set->offsets[i], bytes);
        assert_memory_equal(b->position_ids + b->offsets[k], set->position_ids + set->offsets[i],
                            bytes);
        assert_memory_equal(b->soft_token_ids + b->offsets[k],
                            set->soft_token_ids + set->offsets[i], bytes);
        assert_int_equal(b->mask_offsets[k + 1] - b->mask_offsets[k], 2);
        for (int32_t m = b->mask_offsets[k]; m < b->mask_offsets[k + 1]; m++) {
            assert_int_equal(b->input_ids[b->mask_rows[m]], 4);
            assert_true(b->mask_rows[m] >= b->offsets[k] && b->mask_rows[m] < b->offsets[k + 1]);
        }
        if (n > longest) longest = n;
    }
    assert_int_equal(b->longest, longest);
}

static void test_packed_batches(void **state) {
    encoded_set set;
    cloze_error err = {0};
    packed_batch batch = {0};
    build(*state, &set);
    for (size_t o = 0; o < sizeof OPTIONS / sizeof *OPTIONS; o++) {
        batch_plan plan;
        CHECK_OK(batch_plan_shuffled(&set, &OPTIONS[o], o, 0, &plan, &err), err);
        for (int64_t b = 0; b < plan.n_batches; b++) {
            CHECK_OK(packed_batch_fill(&batch, &set, &plan, b, &err), err);
            check_batch(&batch, &set, &plan, b);
        }
        batch_plan_deinit(&plan);
    }
    packed_batch_deinit(&batch);
    encoded_set_deinit(&set);
}

static void test_single_examples(void **state) {
    fixture *f = *state;
    encoded_example e[2] = {{0}, {0}};
    const encoded_example *pointers[] = {&e[0], &e[1]};
    const int32_t labels[] = {1, 2};
    packed_batch batch = {0};
    cloze_error err = {0};
    for (int i = 0; i < 2; i++)
        CHECK_OK(input_encoder_encode(f->encoder, &f->data.examples[i + 1], &e[i], &err), err);
    CHECK_OK(packed_batch_from_examples(&batch, pointers, labels, 2, &err), err);
    assert_int_equal(batch.n_examples, 2);
    assert_int_equal(batch.n_tokens, e[0].n + e[1].n);
    assert_memory_equal(batch.input_ids + batch.offsets[1], e[1].input_ids, (size_t)e[1].n * 4);
    assert_int_equal(batch.mask_rows[2], e[0].n + e[1].masked_positions[0]);
    assert_int_equal(batch.labels[1], 2);
    CHECK_OK(packed_batch_from_examples(&batch, pointers, NULL, 1, &err), err);
    assert_int_equal(batch.labels[0], -1);
    CHECK_OK(packed_batch_from_examples(&batch, pointers, NULL, 0, &err), err);
    assert_int_equal(batch.n_tokens, 0);
    packed_batch_deinit(&batch);
    encoded_example_deinit(&e[0]);
    encoded_example_deinit(&e[1]);
}

static void test_no_memory(void **state) {
    fixture *f = *state;
    cloze_status status = CLOZE_ERR_MEMORY;
    int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    for (int64_t k = 0; status != CLOZE_OK && k < 300; k++) {
        encoded_set set = {0};
        batch_plan plan = {0};
        packed_batch batch = {0};
        cloze_error err = {0};
        batch_options opts = {.batch_size = 8};
        mem_fail_after(k);
        status = encoded_set_build(f->encoder, f->data.examples, N, &set, &err);
        if (status == CLOZE_OK) status = batch_plan_by_length(&set, &opts, &plan, &err);
        if (status == CLOZE_OK) status = packed_batch_fill(&batch, &set, &plan, 0, &err);
        mem_fail_after(-1);
        if (status != CLOZE_OK) assert_int_equal(status, CLOZE_ERR_MEMORY);
        packed_batch_deinit(&batch);
        batch_plan_deinit(&plan);
        encoded_set_deinit(&set);
    }
    omp_set_num_threads(threads);
    assert_int_equal(status, CLOZE_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encoded_set),    cmocka_unit_test(test_first_error),
        cmocka_unit_test(test_plans),          cmocka_unit_test(test_shuffle_key),
        cmocka_unit_test(test_packed_batches), cmocka_unit_test(test_single_examples),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

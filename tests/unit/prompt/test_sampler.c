/* k-shot samples: sizes, disjointness, reproducibility, fairness, and too few examples. */
#include "prompt_check.h"

#include "base/buf.h"
#include "base/mem.h"
#include "prompt/sampler.h"

#define N 60 /* labels a, b, c in the ratio 3 : 2 : 1 */

static void make_data(dataset *data, label_set *labels) {
    static const char *const pattern[] = {"a", "b", "a", "c", "b", "a"};
    dataset_options opts = {0};
    cloze_error err = {0};
    buf text;
    buf_init(&text, 1 << 16);
    for (int i = 0; i < N; i++) buf_printf(&text, "text %d\t%s\n", i, pattern[i % 6]);
    CHECK_OK(dataset_parse(text.data, text.len, "train.txt", &opts, NULL, data, &err), err);
    CHECK_OK(dataset_collect_labels(data, labels, &err), err);
    CHECK_OK(dataset_assign_labels(data, labels, &err), err);
    buf_deinit(&text);
}

static void count_sample(const dataset *data, const int32_t *indices, int64_t n, int counts[3],
                         bool seen[N]) {
    for (int64_t i = 0; i < n; i++) {
        assert_true(indices[i] >= 0 && indices[i] < N);
        assert_true(i == 0 || indices[i] > indices[i - 1]);
        assert_false(seen[indices[i]]); /* train and dev never share one */
        seen[indices[i]] = true;
        counts[data->examples[indices[i]].label]++;
    }
}

static void test_per_label(void **state) {
    (void)state;
    dataset data;
    label_set labels;
    make_data(&data, &labels);
    for (uint64_t seed = 0; seed < 20; seed++) {
        sample s;
        cloze_error err = {0};
        sampler_options opts = {.seed = seed, .n_train = 4, .n_dev = 3};
        int counts[3] = {0}, dev_counts[3] = {0};
        bool seen[N] = {false};
        CHECK_OK(sampler_draw(&data, &labels, &opts, &s, &err), err);
        count_sample(&data, s.train, s.n_train, counts, seen);
        count_sample(&data, s.dev, s.n_dev, dev_counts, seen);
        for (int l = 0; l < 3; l++) {
            assert_int_equal(counts[l], 4);
            assert_int_equal(dev_counts[l], 3);
        }
        sample_deinit(&s);
    }
    dataset_deinit(&data);
    label_set_deinit(&labels);
}

static void test_total(void **state) {
    (void)state;
    dataset data;
    label_set labels;
    sample s;
    cloze_error err = {0};
    sampler_options opts = {.seed = 1, .n_train = 50, .n_dev = 10, .total = true};
    int counts[3] = {0};
    bool seen[N] = {false};
    make_data(&data, &labels);
    CHECK_OK(sampler_draw(&data, &labels, &opts, &s, &err), err);
    assert_int_equal(s.n_train, 50);
    assert_int_equal(s.n_dev, 10);
    count_sample(&data, s.train, s.n_train, counts, seen);
    count_sample(&data, s.dev, s.n_dev, counts, seen);
    assert_int_equal(counts[0] + counts[1] + counts[2], N);
    sample_deinit(&s);
    dataset_deinit(&data);
    label_set_deinit(&labels);
}

/* The same seed draws the same; another one differs; the dev size does not change the train set;
 * every example comes up about equally often. */
static void test_reproducible(void **state) {
    (void)state;
    dataset data;
    label_set labels;
    cloze_error err = {0};
    int hits[N] = {0}, different = 0;
    make_data(&data, &labels);
    for (uint64_t seed = 0; seed < 600; seed++) {
        sample s, again, other;
        sampler_options opts = {.seed = seed, .n_train = 5, .n_dev = 0}, with_dev = opts,
                        next = opts;
        with_dev.n_dev = 5;
        next.seed++;
        CHECK_OK(sampler_draw(&data, &labels, &opts, &s, &err), err);
        CHECK_OK(sampler_draw(&data, &labels, &with_dev, &again, &err), err);
        CHECK_OK(sampler_draw(&data, &labels, &next, &other, &err), err);
        assert_memory_equal(s.train, again.train, 15 * sizeof(int32_t));
        different += memcmp(s.train, other.train, 15 * sizeof(int32_t)) != 0;
        for (int64_t i = 0; i < s.n_train; i++) hits[s.train[i]]++;
        sample_deinit(&s);
        sample_deinit(&again);
        sample_deinit(&other);
    }
    assert_true(different >= 598);
    for (int i = 0; i < N; i++) {
        double expected = i % 6 == 3                 ? 300
                          : i % 6 == 1 || i % 6 == 4 ? 150
                                                     : 100; /* of 10, 20, 30 */
        if (hits[i] < expected * 0.6 || hits[i] > expected * 1.4)
            fail_msg("example %d: %d of %g", i, hits[i], expected);
    }
    dataset_deinit(&data);
    label_set_deinit(&labels);
}

static void test_too_few(void **state) {
    (void)state;
    dataset data;
    label_set labels;
    sample s;
    cloze_error err = {0};
    make_data(&data, &labels);
    sampler_options cases[] = {{.n_train = 11},
                               {.n_train = 8, .n_dev = 3},
                               {.n_train = 55, .n_dev = 6, .total = true},
                               {.n_train = 1000},
                               {.n_train = -1}};
    static const char *const pieces[] = {
        "train.txt: 11 train and 0 dev examples of each label are wanted, but label \"c\" has 10",
        "8 train and 3 dev examples of each label are wanted, but label \"c\" has 10",
        "55 train and 6 dev examples are wanted, but there are 60", "1000 train", "fewer than 0"};
    for (int i = 0; i < 5; i++)
        CHECK_ERROR(sampler_draw(&data, &labels, &cases[i], &s, &err), err,
                    i < 4 ? CLOZE_ERR_DATA : CLOZE_ERR_USAGE, pieces[i]);
    dataset_deinit(&data);
    label_set_deinit(&labels);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_per_label),
        cmocka_unit_test(test_total),
        cmocka_unit_test(test_reproducible),
        cmocka_unit_test(test_too_few),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

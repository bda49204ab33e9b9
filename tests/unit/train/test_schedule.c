/* Learning rates against figures of transformers 5.23 (get_scheduler, peak 3e-5). */
#include "train/schedule.h"
#include "unit/unit_support.h"

static const int64_t STEPS[] = {0, 1, 2, 3, 5, 9, 10, 12};
#define END (1e-7 / 3e-5)

static const struct {
    const char *name;
    int64_t warmup, total;
    double want[COUNT(STEPS)];
} CASES[] = {
    {"linear", 0, 10, {1, 0.9, 0.8, 0.7, 0.5, 0.1, 0, 0}},
    {"linear", 3, 10, {0, 1 / 3., 2 / 3., 1, 5 / 7., 1 / 7., 0, 0}},
    {"linear", 10, 10, {0, 0.1, 0.2, 0.3, 0.5, 0.9, 0, 0}},
    {"linear", 0, 1, {1, 0, 0, 0, 0, 0, 0, 0}},
    {"cosine",
     0,
     10,
     {1, 0.9755282581475768, 0.9045084971874737, 0.7938926261462366, 0.5, 0.024471741852423234, 0,
      0}},
    {"cosine", 3, 10, {0, 1 / 3., 2 / 3., 1, 0.8117449009293668, 0.04951556604879048, 0, 0}},
    {"cosine", 10, 10, {0, 0.1, 0.2, 0.3, 0.5, 0.9, 1, 0}},
    {"constant", 3, 10, {1, 1, 1, 1, 1, 1, 1, 1}},
    {"constant_with_warmup", 0, 10, {1, 1, 1, 1, 1, 1, 1, 1}},
    {"constant_with_warmup", 3, 10, {0, 1 / 3., 2 / 3., 1, 1, 1, 1, 1}},
    {"polynomial",
     0,
     10,
     {1, 0.9003333333333333, 0.8006666666666666, 0.701, 0.5016666666666667, 0.103, END, END}},
    {"polynomial",
     3,
     10,
     {0, 1 / 3., 2 / 3., 1, 0.7152380952380952, 0.14571428571428577, END, END}},
    {"polynomial", 0, 1, {1, END, END, END, END, END, END, END}},
};

static void figures_of_transformers(void **unused) {
    for (size_t i = 0; i < COUNT(CASES); i++) {
        schedule s = {schedule_from_name(CASES[i].name), CASES[i].warmup, CASES[i].total, 3e-5};
        for (size_t k = 0; k < COUNT(STEPS); k++) {
            double got = schedule_multiplier(&s, STEPS[k]);
            if (!(fabs(got - CASES[i].want[k]) <= 1e-12))
                fail_msg("%s, %lld of %lld to warm up, step %lld: %.17g, wanted %.17g",
                         CASES[i].name, (long long)CASES[i].warmup, (long long)CASES[i].total,
                         (long long)STEPS[k], got, CASES[i].want[k]);
        }
    }
}

static void odd_settings_give_finite_rates(void **unused) {
    for (int kind = SCHEDULE_LINEAR; kind <= SCHEDULE_POLYNOMIAL; kind++) {
        static const int64_t SIZES[][2] = {{0, 0}, {5, 3}, {3, 3}, {1, 1}, {1000000000, 1}};
        for (size_t i = 0; i < COUNT(SIZES); i++) {
            for (int zero_peak = 0; zero_peak < 2; zero_peak++) {
                schedule s = {(schedule_kind)kind, SIZES[i][0], SIZES[i][1], zero_peak ? 0 : 3e-5};
                for (int64_t step = 0; step < 8; step++) {
                    double m = schedule_multiplier(&s, step);
                    assert_true(m >= 0 && m <= 1);
                }
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_of_transformers),
        cmocka_unit_test(odd_settings_give_finite_rates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

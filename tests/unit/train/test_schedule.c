/* Learning rates against figures of transformers' schedulers (tools/export_schedule_golden.py). */
#include "train/schedule.h"

#include "base/json.h"
#include "unit/unit_support.h"

static void set_flags(options *o, const cJSON *flags) {
    const cJSON *flag;
    cJSON_ArrayForEach(flag, flags) {
        char number[40];
        snprintf(number, sizeof number, "%.17g", flag->valuedouble);
        MUST(options_set(o, flag->string, cJSON_IsString(flag) ? flag->valuestring : number, err));
    }
}

static void figures_of_transformers(void **unused) {
    cJSON *root;
    const cJSON *item, *want;
    MUST(json_parse_file(TESTS_DIR "/unit/train/fixtures/schedules.json", 1 << 20, CLOZE_ERR_DATA,
                         &root, err));
    const cJSON *cases = cJSON_GetObjectItemCaseSensitive(root, "cases");
    assert_int_equal(cJSON_GetArraySize(cases), 45);
    cJSON_ArrayForEach(item, cases) {
        options o;
        int64_t step = 0;
        MUST(options_parse(&o, 'T', 0, NULL, err));
        set_flags(&o, cJSON_GetObjectItemCaseSensitive(item, "flags"));
        schedule s = schedule_make(&o, cJSON_GetObjectItemCaseSensitive(item, "total")->valueint);
        cJSON_ArrayForEach(want, cJSON_GetObjectItemCaseSensitive(item, "multipliers")) {
            double got = schedule_multiplier(&s, step);
            if (!(fabs(got - want->valuedouble) <= 1e-12))
                fail_msg("%s, %lld of %lld to warm up, step %lld: %.17g, wanted %.17g",
                         o.lr_scheduler_type, (long long)s.warmup_steps, (long long)s.total_steps,
                         (long long)step, got, want->valuedouble);
            step++;
        }
        assert_int_equal(step, s.total_steps + 3);
        options_deinit(&o);
    }
    json_destroy(root);
}

static void warmup_is_counted_in_steps_or_as_a_share(void **unused) {
    options o;
    MUST(options_parse(&o, 'T', 0, NULL, err));
    MUST(options_set(&o, "warmup_ratio", "0.25", err));
    assert_int_equal(schedule_make(&o, 10).warmup_steps, 3);
    MUST(options_set(&o, "warmup_steps", "5", err));
    assert_int_equal(schedule_make(&o, 10).warmup_steps, 5);
    options_deinit(&o);
}

static void odd_settings_give_finite_rates(void **unused) {
    static const int64_t SIZES[][2] = {{0, 0}, {5, 3}, {3, 3}, {1, 1}, {1000000000, 1}};
    for (int kind = 0; kind < SCHEDULE_COUNT; kind++) {
        for (size_t i = 0; i < COUNT(SIZES); i++) {
            for (int zero_peak = 0; zero_peak < 2; zero_peak++) {
                options o;
                MUST(options_parse(&o, 'T', 0, NULL, err));
                if (zero_peak) o.learning_rate = 0;
                o.warmup_steps = SIZES[i][0];
                schedule s = schedule_make(&o, SIZES[i][1]);
                s.kind = (schedule_kind)kind;
                for (int64_t step = 0; step < 8; step++) {
                    double m = schedule_multiplier(&s, step);
                    assert_true(m >= 0 && m <= 1);
                }
                options_deinit(&o);
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_of_transformers),
        cmocka_unit_test(warmup_is_counted_in_steps_or_as_a_share),
        cmocka_unit_test(odd_settings_give_finite_rates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

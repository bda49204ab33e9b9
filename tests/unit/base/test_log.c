/* base/log and base/cpu: callbacks, throttled progress, and the choice of instruction set. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/log.h"

typedef struct record {
    char line[200];
    cloze_log_level level;
    int lines, reports, stop;
    cloze_progress first, last;
} record;

static void on_log(void *user, cloze_log_level level, const char *line) {
    record *r = user;
    strncpy(r->line, line, sizeof r->line - 1);
    r->level = level;
    r->lines++;
}

static void on_progress(void *user, const cloze_progress *p) {
    record *r = user;
    if (r->reports++ == 0) r->first = *p;
    r->last = *p;
}

static int on_interrupted(void *user) { return ((record *)user)->stop; }

static void test_log_goes_to_the_callback(void **state) {
    record r = {0};
    cloze_callbacks cb = {.user = &r, .log = on_log, .interrupted = on_interrupted};
    log_line(&cb, CLOZE_LOG_WARN, "%s %d", "line", 3);
    assert_string_equal(r.line, "line 3");
    assert_int_equal(r.level, CLOZE_LOG_WARN);
    assert_false(log_interrupted(&cb));
    r.stop = 1;
    assert_true(log_interrupted(&cb));
    cloze_callbacks none = {0};
    log_line(NULL, CLOZE_LOG_INFO, "x");
    log_line(&none, CLOZE_LOG_INFO, "x");
    assert_false(log_interrupted(NULL));
    assert_false(log_interrupted(&none));
    assert_int_equal(r.lines, 1);
}

static void test_progress_is_throttled(void **state) {
    record r = {0};
    cloze_callbacks cb = {.user = &r, .progress = on_progress};
    progress p;
    progress_begin(&p, &cb, "train", "step", 100000);
    assert_int_equal(r.reports, 1);
    assert_string_equal(r.first.task, "train");
    assert_string_equal(r.first.unit, "step");
    assert_true(isnan(r.first.loss) && isnan(r.first.rate) && isnan(r.first.samples_per_second));
    for (int i = 1; i <= 100000; i++) {
        p.state.loss = i;
        progress_update(&p, i);
    }
    progress_end(&p);
    assert_in_range(r.reports, 2, 2 + (int)(r.last.seconds / 0.1));
    assert_int_equal(r.last.done, 100000);
    assert_int_equal(r.last.total, 100000);
    assert_true(r.last.loss == 100000);
    assert_int_equal(r.last.finished, 1);
    assert_int_equal(r.first.finished, 0);
}

static void test_progress_reports_when_time_has_passed(void **state) {
    record r = {0};
    cloze_callbacks cb = {.user = &r, .progress = on_progress};
    progress p;
    progress_begin(&p, &cb, "eval", "example", 0);
    p.last -= 1.0; /* as if a second had gone by */
    progress_update(&p, 5);
    assert_int_equal(r.reports, 2);
    assert_int_equal(r.last.done, 5);
    progress_begin(&p, NULL, "x", "y", 1);
    progress_update(&p, 1);
    progress_end(&p);
}

static void test_clock_goes_forward(void **state) {
    double before = clock_seconds();
    assert_true(clock_seconds() >= before);
}

/* The choice is made once a process: each setting is asked of a child. */
static int isa_of_child(const char *setting) {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        if (setting)
            setenv("CLOZE_ISA", setting, 1);
        else
            unsetenv("CLOZE_ISA");
        int isa = (int)cpu_get_isa();
        setenv("CLOZE_ISA", "portable", 1);
        _exit(isa == (int)cpu_get_isa() ? isa : 99);
    }
    int status = -1;
    waitpid(child, &status, 0);
    return WEXITSTATUS(status);
}

static void test_isa_can_be_lowered_only(void **state) {
    int best = isa_of_child(NULL);
    assert_in_range(best, CPU_ISA_PORTABLE, CPU_ISA_AVX512);
    assert_int_equal(isa_of_child("portable"), CPU_ISA_PORTABLE);
    assert_int_equal(isa_of_child("avx2"), best < CPU_ISA_AVX2 ? best : CPU_ISA_AVX2);
    assert_int_equal(isa_of_child("avx512"), best);
    assert_int_equal(isa_of_child("nonsense"), best);
    assert_string_equal(cpu_isa_name(CPU_ISA_PORTABLE), "portable");
    assert_string_equal(cpu_isa_name(CPU_ISA_AVX2), "avx2");
    assert_string_equal(cpu_isa_name(CPU_ISA_AVX512), "avx512");
}

static void test_cpu_count(void **state) {
    assert_in_range(cpu_count(), 1, sysconf(_SC_NPROCESSORS_CONF));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_goes_to_the_callback),
        cmocka_unit_test(test_progress_is_throttled),
        cmocka_unit_test(test_progress_reports_when_time_has_passed),
        cmocka_unit_test(test_clock_goes_forward),
        cmocka_unit_test(test_isa_can_be_lowered_only),
        cmocka_unit_test(test_cpu_count),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}

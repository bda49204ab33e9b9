/* base/lock: one holder at a time, also after a holder that was killed. */
#include "unit/unit_support.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/lock.h"

static bool take(file_lock *lock, const char *path, char holder[100]) {
    bool held = false;
    MUST(file_lock_take(lock, path, &held, holder, 100, err));
    return held;
}

static void one_holder_at_a_time(void **state) {
    file_lock first, second;
    char holder[100], want[32];
    const char *path = at("lock");
    snprintf(want, sizeof want, "process %ld on ", (long)getpid());
    assert_true(take(&first, path, holder));
    assert_false(take(&second, path, holder));
    assert_int_equal(strncmp(holder, want, strlen(want)), 0);
    assert_null(strchr(holder, '\n'));
    file_lock_release(&second); /* not held: nothing happens */
    assert_false(take(&second, path, holder));
    file_lock_release(&first);
    assert_false(file_exists(path));
    assert_true(take(&second, path, holder));
    file_lock_release(&second);
    file_lock_release(&second);
}

/* A child takes it, says so, and is killed. */
static void the_killed_hold_nothing(void **state) {
    int ready[2];
    char holder[100], byte;
    file_lock lock = {0};
    const char *path = at("lock");
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        bool held = false;
        file_lock_take(&lock, path, &held, holder, sizeof holder, NULL);
        if (!held || write(ready[1], "x", 1) != 1) _exit(1);
        for (;;) pause();
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_false(take(&lock, path, holder));
    assert_int_equal(strtol(holder + strlen("process "), NULL, 10), child);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_true(file_exists(path));
    assert_true(take(&lock, path, holder));
    file_lock_release(&lock);
    close(ready[0]);
    close(ready[1]);
}

static void what_goes_wrong(void **state) {
    file_lock lock;
    bool held;
    char holder[100];
    MUST_FAIL(CLOZE_ERR_IO, "nowhere/lock: cannot create",
              file_lock_take(&lock, at("nowhere/lock"), &held, holder, sizeof holder, err));
    put_file(at("lock"), ""); /* of a full disk */
    assert_true(take(&lock, at("lock"), holder));
    file_lock_release(&lock);
    mem_fail_after(0);
    assert_int_equal(file_lock_take(&lock, at("lock"), &held, holder, sizeof holder, NULL),
                     CLOZE_ERR_MEMORY);
    mem_fail_after(-1);
    assert_true(take(&lock, at("lock"), holder));
    file_lock_release(&lock);
}

#define IN_DIR(f) cmocka_unit_test_setup_teardown(f, dir_setup, dir_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_DIR(one_holder_at_a_time),
        IN_DIR(the_killed_hold_nothing),
        IN_DIR(what_goes_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

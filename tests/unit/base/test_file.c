/* base/file: atomic writing, bounded reading, directories; in a fresh directory per test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"

static char here[64];  /* the test's directory */
static char spot[128]; /* here/name */

static const char *at(const char *name) {
    snprintf(spot, sizeof spot, "%s/%s", here, name);
    return spot;
}

static int setup(void **state) {
    snprintf(here, sizeof here, "/tmp/cloze-file-XXXXXX");
    return mkdtemp(here) ? 0 : -1;
}

static int teardown(void **state) { return dir_remove(here, NULL) == CLOZE_OK ? 0 : -1; }

static size_t entries(const char *path) {
    char **names;
    size_t n;
    assert_int_equal(dir_list(path, &names, &n, NULL), CLOZE_OK);
    dir_list_free(names, n);
    return n;
}

static void assert_content(const char *path, const char *expected) {
    char *text;
    size_t n;
    assert_int_equal(file_read(path, 1000, CLOZE_ERR_DATA, &text, &n, NULL), CLOZE_OK);
    assert_int_equal(n, strlen(expected));
    assert_string_equal(text, expected);
    mem_free(text);
}

static void test_write_read_map(void **state) {
    assert_int_equal(file_write_atomic(at("a"), "hello", 5, NULL), CLOZE_OK);
    assert_content(at("a"), "hello");
    assert_int_equal(file_write_atomic(at("a"), "bye", 3, NULL), CLOZE_OK);
    assert_content(at("a"), "bye");
    file_map m;
    assert_int_equal(file_map_open(at("a"), CLOZE_ERR_DATA, &m, NULL), CLOZE_OK);
    assert_int_equal(m.size, 3);
    assert_memory_equal(m.data, "bye", 3);
    file_map_close(&m);
    file_map_close(&m);
    assert_int_equal(file_write_atomic(at("empty"), NULL, 0, NULL), CLOZE_OK);
    assert_content(at("empty"), "");
    assert_int_equal(file_map_open(at("empty"), CLOZE_ERR_DATA, &m, NULL), CLOZE_OK);
    assert_non_null(m.data);
    assert_int_equal(m.size, 0);
    file_map_close(&m);
    assert_int_equal(entries(here), 2); /* nothing is left beside them */
}

static void test_what_is_missing_or_wrong(void **state) {
    cloze_error err;
    char *text;
    size_t n;
    file_map m;
    assert_int_equal(file_read(at("no"), 9, CLOZE_ERR_MODEL, &text, &n, &err), CLOZE_ERR_MODEL);
    assert_null(text);
    assert_non_null(strstr(err.message, "/no: there is no such file"));
    assert_int_equal(file_map_open(at("no/deeper"), CLOZE_ERR_DATA, &m, &err), CLOZE_ERR_DATA);
    assert_int_equal(file_read(here, 9, CLOZE_ERR_MODEL, &text, &n, &err), CLOZE_ERR_MODEL);
    assert_int_equal(file_map_open(here, CLOZE_ERR_DATA, &m, &err), CLOZE_ERR_DATA);
    assert_int_equal(file_map_open("/dev/null", CLOZE_ERR_MODEL, &m, &err), CLOZE_ERR_MODEL);
    assert_int_equal(file_write_atomic(at("no/file"), "x", 1, &err), CLOZE_ERR_IO);
    assert_non_null(strstr(err.message, "/no/file: cannot create: there is no such directory"));
    assert_int_equal(file_write_atomic(here, "x", 1, &err), CLOZE_ERR_IO);
    assert_int_equal(entries(here), 0);
}

static void test_read_is_bounded(void **state) {
    static char big[300000];
    memset(big, 'b', sizeof big);
    assert_int_equal(file_write_atomic(at("big"), big, sizeof big, NULL), CLOZE_OK);
    char *text;
    size_t n;
    cloze_error err;
    assert_int_equal(file_read(at("big"), sizeof big, CLOZE_ERR_DATA, &text, &n, NULL), CLOZE_OK);
    assert_int_equal(n, sizeof big);
    assert_int_equal(strlen(text), n);
    mem_free(text);
    assert_int_equal(file_read(at("big"), sizeof big - 1, CLOZE_ERR_DATA, &text, &n, &err),
                     CLOZE_ERR_DATA);
    assert_null(text);
    assert_int_equal(file_read("/dev/zero", 100000, CLOZE_ERR_DATA, &text, &n, &err),
                     CLOZE_ERR_DATA);
    assert_int_equal(file_read(at("big"), SIZE_MAX, CLOZE_ERR_DATA, &text, &n, &err), CLOZE_OK);
    mem_free(text);
}

static void test_abort_leaves_the_old_file(void **state) {
    file_writer w;
    assert_int_equal(file_write_atomic(at("a"), "old", 3, NULL), CLOZE_OK);
    assert_int_equal(file_writer_open(&w, at("a"), NULL), CLOZE_OK);
    fputs("new", w.stream);
    fflush(w.stream);
    assert_content(at("a"), "old");
    file_writer_abort(&w);
    file_writer_abort(&w);
    assert_content(at("a"), "old");
    assert_int_equal(entries(here), 1);
}

static void test_two_writers_do_not_meet(void **state) {
    file_writer first, second;
    assert_int_equal(file_writer_open(&first, at("a"), NULL), CLOZE_OK);
    assert_int_equal(file_writer_open(&second, at("a"), NULL), CLOZE_OK);
    fputs("first", first.stream);
    fputs("second", second.stream);
    assert_int_equal(file_writer_commit(&second, NULL), CLOZE_OK);
    assert_content(at("a"), "second");
    assert_int_equal(file_writer_commit(&first, NULL), CLOZE_OK);
    assert_content(at("a"), "first");
    assert_int_equal(entries(here), 1);
}

/* A full disk, played by a limit on the size of files. */
static void test_failed_writes_are_seen(void **state) {
    struct rlimit old, small = {.rlim_cur = 4096};
    getrlimit(RLIMIT_FSIZE, &old);
    small.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    static char big[100000];
    cloze_error err;
    assert_int_equal(file_write_atomic(at("a"), "old", 3, NULL), CLOZE_OK);
    setrlimit(RLIMIT_FSIZE, &small);
    cloze_status status = file_write_atomic(at("a"), big, sizeof big, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(status, CLOZE_ERR_IO);
    assert_non_null(strstr(err.message, "/a: cannot write"));
    assert_content(at("a"), "old");
    assert_int_equal(entries(here), 1);
}

static void test_special_files_are_written_directly(void **state) {
    assert_int_equal(file_write_atomic("/dev/null", "x", 1, NULL), CLOZE_OK);
    struct stat info;
    assert_int_equal(stat("/dev/null", &info), 0);
    assert_true(S_ISCHR(info.st_mode)); /* not renamed over */
}

static void test_links_and_modes(void **state) {
    assert_int_equal(file_write_atomic(at("target"), "1", 1, NULL), CLOZE_OK);
    mode_t mask = umask(0);
    umask(mask);
    struct stat info;
    stat(at("target"), &info);
    assert_int_equal(info.st_mode & 0777, 0666 & ~mask);
    assert_int_equal(symlink("target", at("link")), 0);
    assert_content(at("link"), "1");
    assert_int_equal(symlink("/", at("root")), 0); /* must not be followed by dir_remove */
    assert_int_equal(symlink("gone", at("dangling")), 0);
    assert_int_equal(mkfifo(at("pipe"), 0600), 0); /* syncing must not wait for a writer */
    assert_int_equal(dir_sync(here, NULL), CLOZE_OK);
}

static void test_directories(void **state) {
    char **names;
    size_t n;
    cloze_error err;
    assert_int_equal(dir_create(at("x/y//z/"), NULL), CLOZE_OK);
    assert_int_equal(dir_create(at("x/y/z"), NULL), CLOZE_OK);
    assert_true(file_is_dir(at("x/y/z")));
    assert_int_equal(dir_create("/", NULL), CLOZE_OK);
    const char *const files[] = {"b", "a", "c", ".hidden"};
    for (int i = 0; i < 4; i++) {
        char *dir = mem_strdup(at("x/y")), *path = path_join(dir, files[i]);
        assert_int_equal(file_write_atomic(path, "1", 1, NULL), CLOZE_OK);
        mem_free(path);
        mem_free(dir);
    }
    assert_int_equal(dir_list(at("x/y"), &names, &n, NULL), CLOZE_OK);
    const char *const sorted[] = {".hidden", "a", "b", "c", "z"};
    assert_int_equal(n, 5);
    for (size_t i = 0; i < n; i++) assert_string_equal(names[i], sorted[i]);
    dir_list_free(names, n);
    assert_int_equal(dir_sync(at("x"), NULL), CLOZE_OK);
    assert_int_equal(dir_create(at("x/y/a"), &err), CLOZE_ERR_IO);
    assert_int_equal(dir_create(at("x/y/a/b"), &err), CLOZE_ERR_IO);
    assert_int_equal(dir_list(at("gone"), &names, &n, &err), CLOZE_ERR_IO);
    assert_int_equal(dir_sync(at("gone"), &err), CLOZE_ERR_IO);
    assert_int_equal(dir_remove(at("x"), NULL), CLOZE_OK);
    assert_false(file_exists(at("x")));
    assert_int_equal(dir_remove(at("x"), NULL), CLOZE_OK);
}

static void test_rename(void **state) {
    char from[128];
    snprintf(from, sizeof from, "%s", at("dir.tmp"));
    dir_create(from, NULL);
    assert_int_equal(path_rename(from, at("dir"), NULL), CLOZE_OK);
    assert_true(file_is_dir(at("dir")));
    assert_false(file_exists(from));
    cloze_error err;
    assert_int_equal(path_rename(from, at("other"), &err), CLOZE_ERR_IO);
    assert_non_null(strstr(err.message, "dir.tmp: cannot rename to "));
}

/* Two directories, and a file with a directory. */
static void test_exchange(void **state) {
    char a[128], b[128], file[160];
    cloze_error err;
    snprintf(a, sizeof a, "%s", at("a"));
    snprintf(b, sizeof b, "%s", at("b"));
    dir_create(a, NULL);
    dir_create(b, NULL);
    snprintf(file, sizeof file, "%s/in_a", a);
    assert_int_equal(file_write_atomic(file, "x", 1, NULL), CLOZE_OK);
    assert_int_equal(path_exchange(a, b, NULL), CLOZE_OK);
    assert_int_equal(entries(a), 0);
    assert_int_equal(entries(b), 1);
    snprintf(file, sizeof file, "%s", at("file"));
    assert_int_equal(file_write_atomic(file, "x", 1, NULL), CLOZE_OK);
    assert_int_equal(path_exchange(file, b, NULL), CLOZE_OK);
    assert_true(file_is_dir(file) && !file_is_dir(b));
    assert_int_equal(entries(here), 3);
    assert_int_equal(path_exchange(at("absent"), b, &err), CLOZE_ERR_IO);
    assert_non_null(strstr(err.message, "absent"));
    assert_true(file_exists(b));
}

static void test_parents(void **state) {
    static const char *const ROWS[][2] = {
        {"a/b", "a"}, {"a/b/", "a"}, {"/a", "/"}, {"a", "."}, {"/a//b", "/a"}, {"../x", ".."},
    };
    for (size_t i = 0; i < sizeof ROWS / sizeof *ROWS; i++) {
        char *parent = path_parent(ROWS[i][0]);
        assert_string_equal(parent, ROWS[i][1]);
        mem_free(parent);
    }
}

static void test_paths(void **state) {
    const struct {
        const char *dir, *name, *joined;
    } rows[] = {
        {"a", "b", "a/b"}, {"a/", "b", "a/b"},        {"/", "b", "/b"},
        {"", "b", "b"},    {"a b", "c d", "a b/c d"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *joined = path_join(rows[i].dir, rows[i].name);
        assert_string_equal(joined, rows[i].joined);
        assert_string_equal(path_base(joined), rows[i].name);
        mem_free(joined);
    }
    assert_string_equal(path_base("plain"), "plain");
    mem_fail_after(0);
    assert_null(path_join("a", "b"));
}

/* Every allocation fails once: the old content stays, nothing is left over, nothing leaks. */
static void test_no_memory_anywhere(void **state) {
    assert_int_equal(file_write_atomic(at("a"), "old", 3, NULL), CLOZE_OK);
    int failures = 0;
    for (int k = 0; k < 20; k++) {
        mem_fail_after(k);
        cloze_error err = {0};
        cloze_status status = file_write_atomic(at("a"), "new", 3, &err);
        char **names = NULL, *text = NULL;
        size_t n;
        cloze_status listed = dir_list(here, &names, &n, &err);
        cloze_status read = file_read(at("a"), 10, CLOZE_ERR_DATA, &text, &n, &err);
        cloze_status made = dir_create(at("d/e"), &err);
        cloze_status removed = dir_remove(at("d"), &err);
        mem_fail_after(-1);
        const cloze_status all[] = {status, listed, read, made, removed};
        for (int i = 0; i < 5; i++) {
            assert_true(all[i] == CLOZE_OK || all[i] == CLOZE_ERR_MEMORY);
            failures += all[i] != CLOZE_OK;
        }
        if (listed == CLOZE_OK) dir_list_free(names, 1);
        mem_free(text);
        assert_int_equal(dir_remove(at("d"), NULL), CLOZE_OK);
        assert_int_equal(entries(here), 1);
    }
    assert_in_range(failures, 5, 20);
}

#define IN_DIR(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_DIR(test_write_read_map),
        IN_DIR(test_what_is_missing_or_wrong),
        IN_DIR(test_read_is_bounded),
        IN_DIR(test_abort_leaves_the_old_file),
        IN_DIR(test_two_writers_do_not_meet),
        IN_DIR(test_failed_writes_are_seen),
        IN_DIR(test_special_files_are_written_directly),
        IN_DIR(test_links_and_modes),
        IN_DIR(test_directories),
        IN_DIR(test_rename),
        IN_DIR(test_exchange),
        cmocka_unit_test(test_parents),
        cmocka_unit_test(test_paths),
        IN_DIR(test_no_memory_anywhere),
    };
    return cmocka_run_group_tests_name("file", tests, NULL, NULL);
}

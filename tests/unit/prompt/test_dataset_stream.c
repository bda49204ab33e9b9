/* Streaming for prediction, standard input, data directories, and reading files from disk. */
#include "prompt_check.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "prompt/dataset.h"

static char dir[] = "/tmp/cloze_stream_XXXXXX";

static char *write_file(const char *name, const char *text, size_t n) {
    cloze_error err = {0};
    char *path = path_join(dir, name);
    CHECK_OK(file_write_atomic(path, text, n, &err), err);
    return path;
}

/* Examples of a stream as [text|text_b@line], then ! and the error's message if there is one. */
static void print_stream(const char *path, const dataset_options *opts, buf *out) {
    dataset_stream *stream = NULL;
    cloze_error err = {0};
    cloze_status status = dataset_stream_open(path, opts, &stream, &err);
    bool done = false;
    while (status == CLOZE_OK) {
        example ex;
        status = dataset_stream_next(stream, &ex, &done, &err);
        if (status != CLOZE_OK || done) break;
        assert_int_equal(strlen(ex.text), ex.text_len);
        assert_int_equal(ex.label, -1);
        buf_printf(out, "[%s", ex.text);
        if (ex.text_b) buf_printf(out, "|%s", ex.text_b);
        buf_printf(out, "@%d]", (int)ex.line);
    }
    if (status != CLOZE_OK) buf_printf(out, "!%s", path_base(err.message));
    dataset_stream_close(stream);
}

typedef struct stream_case {
    const char *name, *text, *want, *text_column;
} stream_case;

static const stream_case STREAMS[] = {
    {"a.txt", "x\n\ny", "[x@1][@2][y@3]", NULL},
    {"a.txt", "", "", NULL},
    {"a.txt", "\n", "[@1]", NULL},
    {"a.txt", "\n\n{\"text\": \"x\"}\n\n", "[@1][@2][x@3][@4]", NULL},
    {"a.txt", " \xC2\xA0\n", "[ \xC2\xA0@1]", NULL},
    {"a.txt", "\xEF\xBB\xBFx\tnews\r\ny\r\n", "[x\tnews@1][y@2]", NULL},
    {"a.txt", "{x\n", "[{x@1]", NULL},
    {"a.txt", "x\ny\xFFz\n",
     "[x@1]!a.txt:2:2: not UTF-8 (byte 0xFF); convert the file, for example "
     "with iconv -f GB18030 -t UTF-8",
     NULL},
    {"a.jsonl", "{\"text\": \"x\", \"label\": \"a\"}\n\n{\"text\": \"\"}\n", "[x@1][@2][@3]", NULL},
    {"a.jsonl", "{\"sentence1\": \"x\", \"sentence2\": \"y\"}\n", "[x|y@1]", NULL},
    {"a.jsonl", "{\"text\": \"x\"}\n{\"a\": 1}\n",
     "[x@1]!a.jsonl:2: the object has no field \"text\"", NULL},
    {"a.csv", "text,label\nx,a\n\n\"y\nz\",b\n,c\n", "[x@2][@3][y\nz@4][@6]", NULL},
    {"a.tsv", "a\ttitle\n1\tx\n2\ty\n", "[a\ttitle@1][1\tx@2][2\ty@3]", NULL},
    {"a.tsv", "a\ttitle\n1\tx\n2\ty\n", "[x@2][y@3]", "title"},
};

static void test_streams(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof STREAMS / sizeof *STREAMS; i++) {
        const stream_case *c = &STREAMS[i];
        dataset_options opts = {.text_column = c->text_column};
        buf got;
        buf_init(&got, 1 << 16);
        buf_puts(&got, "");
        char *path = write_file(c->name, c->text, strlen(c->text));
        print_stream(path, &opts, &got);
        assert_string_equal(got.data, c->want);
        mem_free(path);
        buf_deinit(&got);
    }
}

static void test_missing(void **state) {
    (void)state;
    dataset_stream *stream = NULL;
    dataset data;
    cloze_error err = {0};
    dataset_options opts = {0};
    CHECK_ERROR(dataset_stream_open("/nowhere/x.txt", NULL, &stream, &err), err, CLOZE_ERR_DATA,
                "/nowhere/x.txt: there is no such file");
    assert_null(stream);
    CHECK_ERROR(dataset_read("/nowhere/x.txt", &opts, NULL, &data, &err), err, CLOZE_ERR_DATA,
                "/nowhere/x.txt: there is no such file");
    CHECK_ERROR(dataset_read(dir, &opts, NULL, &data, &err), err, CLOZE_ERR_DATA, "is a directory");
    dataset_stream_close(NULL);
}

/* An answer can follow each line: a line is handed out before the next one was written. */
static void test_pipe_line_by_line(void **state) {
    (void)state;
    int ends[2], saved = dup(STDIN_FILENO);
    dataset_stream *stream = NULL;
    cloze_error err = {0};
    example ex;
    bool done = false;
    assert_int_equal(pipe(ends), 0);
    assert_true(dup2(ends[0], STDIN_FILENO) >= 0);
    assert_int_equal(write(ends[1], "one\ntw", 6), 6);
    CHECK_OK(dataset_stream_open("-", NULL, &stream, &err), err);
    CHECK_OK(dataset_stream_next(stream, &ex, &done, &err), err);
    assert_string_equal(ex.text, "one");
    assert_int_equal(write(ends[1], "o\n\xFF\n", 4), 4);
    CHECK_OK(dataset_stream_next(stream, &ex, &done, &err), err);
    assert_string_equal(ex.text, "two");
    CHECK_ERROR(dataset_stream_next(stream, &ex, &done, &err), err, CLOZE_ERR_DATA,
                "standard input:3:1: not UTF-8");
    close(ends[1]);
    CHECK_OK(dataset_stream_next(stream, &ex, &done, &err), err);
    assert_true(done);
    dataset_stream_close(stream);
    dup2(saved, STDIN_FILENO);
    close(saved);
    close(ends[0]);
}

static void test_data_dir(void **state) {
    (void)state;
    data_dir found;
    cloze_error err = {0};
    CHECK_ERROR(data_dir_find("/nowhere", &found, &err), err, CLOZE_ERR_DATA,
                "there is no such directory");
    char *other = write_file("other", "x", 1);
    CHECK_ERROR(data_dir_find(other, &found, &err), err, CLOZE_ERR_DATA, "not a directory");
    CHECK_ERROR(data_dir_find(dir, &found, &err), err, CLOZE_ERR_DATA, "no train.txt, dev.txt");
    char *train = write_file("train.txt", "x\ta\n", 4), *dev = write_file("dev.jsonl", "{}", 2);
    char *label = write_file("label.txt", "a\n", 2), *csv = write_file("train.csv", "a\n", 2);
    CHECK_OK(data_dir_find(dir, &found, &err), err);
    assert_string_equal(found.train, train);
    assert_string_equal(found.dev, dev);
    assert_string_equal(found.label, label);
    assert_null(found.test);
    assert_null(found.unlabelled);
    data_dir_deinit(&found);
    mem_free(other);
    mem_free(train);
    mem_free(dev);
    mem_free(label);
    mem_free(csv);
}

/* An archive that unpacked one directory deeper, or less deep, than expected. */
static void test_data_dir_nearby(void **state) {
    (void)state;
    data_dir found;
    cloze_error err = {0};
    char *train = write_file("train.txt", "x\ta\n", 4), *empty = path_join(dir, "empty"),
         *below = path_join(dir, "empty/tnews"), *deeper = path_join(dir, "tnews");
    CHECK_ERROR(data_dir_find(deeper, &found, &err), err, CLOZE_ERR_DATA, "; ");
    assert_non_null(strstr(err.message, dir));
    assert_non_null(strstr(err.message, " holds train.txt"));
    CHECK_OK(dir_create(below, &err), err);
    CHECK_ERROR(data_dir_find(empty, &found, &err), err, CLOZE_ERR_DATA, "are found too)");
    assert_null(strstr(err.message, "has them"));
    char *inner = path_join(below, "train.tsv");
    CHECK_OK(file_write_atomic(inner, "x\ta\n", 4, &err), err);
    CHECK_ERROR(data_dir_find(empty, &found, &err), err, CLOZE_ERR_DATA, "empty/tnews has them");
    mem_free(train);
    mem_free(empty);
    mem_free(below);
    mem_free(deeper);
    mem_free(inner);
}

/* Unlabelled pairs without field names. */
static void test_pair_lines(void **state) {
    (void)state;
    static const stream_case cases[] = {
        {"p.txt", "x\ty\n\n\tz\n", "[x|y@1][|@2][|z@3]", NULL},
        {"p.txt", "x\ty\nz\n",
         "[x|y@1]!p.txt:2: no tab; a pair is text<TAB>second text", NULL},
        {"p.txt", "x\ty\tlabel\n", "[x|y@1]", NULL}, /* labels are not looked at */
        {"p.txt", "中\ty\tz\t\n",
         "!p.txt:1:6: a third tab; a pair is text<TAB>second text<TAB>label", NULL},
        {"p.jsonl", "{\"text_a\": \"x\", \"text_b\": \"y\"}\n", "[x|y@1]", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dataset_options opts = {.pair_lines = true};
        buf got;
        buf_init(&got, 1 << 16);
        char *path = write_file(cases[i].name, cases[i].text, strlen(cases[i].text));
        print_stream(path, &opts, &got);
        assert_string_equal(got.data, cases[i].want);
        mem_free(path);
        buf_deinit(&got);
    }
}

/* The shared data sets, where they are: counts as their README states them. */
static void test_real_files(void **state) {
    (void)state;
    static const struct {
        const char *path;
        dataset_labelling labelling;
        int64_t n;
        int32_t n_labels;
        bool pairs;
    } files[] = {
        {"tnews/train.txt", DATASET_LABELS_REQUIRED, 240, 15, false},
        {"tnews/dev.txt", DATASET_LABELS_REQUIRED, 240, 15, false},
        {"tnews/test.txt", DATASET_LABELS_AUTO, 2010, 15, false},
        {"tnews/data.txt", DATASET_LABELS_NONE, 20000, 0, false},
        {"yelp5/train.jsonl", DATASET_LABELS_REQUIRED, 970, 5, false},
        {"agnews/test.csv", DATASET_LABELS_REQUIRED, 7600, 4, true},
        {"medical_abstracts/medical_tc_test.csv", DATASET_LABELS_REQUIRED, 2888, 5, false},
        {"paper_abstracts/test.csv", DATASET_LABELS_AUTO, 2358, 0, true},
        {"fewclue/bustm/train_0.jsonl", DATASET_LABELS_REQUIRED, 32, 2, true},
        {"fewclue/eprstmt/train_0.jsonl", DATASET_LABELS_REQUIRED, 32, 2, false},
        {"fewglue/RTE/train.jsonl", DATASET_LABELS_REQUIRED, 32, 2, true},
        {"fewglue/BoolQ/train.jsonl", DATASET_LABELS_REQUIRED, 32, 2, true},
    };
    const char *shared =
        getenv("CLOZE_SHARED") ? getenv("CLOZE_SHARED") : TESTS_DIR "/../../shared";
    char *data_root = path_join(shared, "data");
    if (!file_is_dir(data_root)) {
        print_message("SKIP: no shared data in %s\n", data_root);
        mem_free(data_root);
        skip();
    }
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        dataset data;
        label_set labels = {0};
        cloze_error err = {0};
        dataset_options opts = {.labelling = files[i].labelling};
        char *path = path_join(data_root, files[i].path);
        CHECK_OK(dataset_read(path, &opts, NULL, &data, &err), err);
        if (data.labelled) CHECK_OK(dataset_collect_labels(&data, &labels, &err), err);
        if (data.n != files[i].n || labels.n != files[i].n_labels ||
            data.has_text_b != files[i].pairs)
            fail_msg("%s: %d examples, %d labels, pairs %d", files[i].path, (int)data.n,
                     (int)labels.n, data.has_text_b);
        label_set_deinit(&labels);
        dataset_deinit(&data);
        mem_free(path);
    }
    mem_free(data_root);
}

static int make_dir(void **state) {
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state) {
    (void)state;
    return dir_remove(dir, NULL) == CLOZE_OK ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streams),           cmocka_unit_test(test_missing),
        cmocka_unit_test(test_pipe_line_by_line), cmocka_unit_test(test_data_dir),
        cmocka_unit_test(test_data_dir_nearby),   cmocka_unit_test(test_pair_lines),
        cmocka_unit_test(test_real_files),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}

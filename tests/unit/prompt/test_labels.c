/* Label files: both forms, ids by code point, quotes as people paste them, and every bad input. */
#include "prompt_check.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "prompt/labels.h"

/* Labels as "id:name=word|word" joined by spaces. */
static void print_labels(const label_set *labels, buf *out) {
    for (int32_t i = 0; i < labels->n; i++) {
        buf_printf(out, "%s%d:%s=", i ? " " : "", (int)i, labels->entries[i].name);
        for (int32_t w = 0; w < labels->entries[i].n_words; w++)
            buf_printf(out, "%s%s", w ? "|" : "", labels->entries[i].words[w]);
    }
}

typedef struct good_case {
    const char *text, *want;
} good_case;

static const good_case GOOD_TEXTS[] = {
    {"b\na\n", "0:a=a 1:b=b"},
    {"b\r\na", "0:a=a 1:b=b"},
    {"\xEF\xBB\xBF"
     "a\n\n  \nb\n",
     "0:a=a 1:b=b"},
    {"news_car==汽车\nnews_tech==科技\n", "0:news_car=汽车 1:news_tech=科技"},
    {"pos==good\nneg==bad\npos==great\n", "0:neg=bad 1:pos=good|great"},
    {"  a == x y \n", "0:a=x y"},
    {"news_car'=='汽车\nnews_culture'=='文化\n", "0:news_car=汽车 1:news_culture=文化"},
    {"'news_car'=='汽车'\n", "0:news_car=汽车"},
    {"news_car‘==’汽车\n", "0:news_car=汽车"},
    {"news_car’==‘汽车\n", "0:news_car=汽车"},
    {"“news_car”==“汽车”\n", "0:news_car=汽车"},
    {"\"a\"==b\n", "0:a=b"},
    {"a==\"b\"\n", "0:a=b"},
    {"'a'\n", "0:a=a"},
    {"news_car＝＝汽车\n", "0:news_car=汽车"},
    {"5\"==inch\n", "0:5\"=inch"},
    {"rock'n==x\n", "0:rock'n=x"},
    {"组织关系##加盟\n", "0:组织关系##加盟=加盟"},
    {"a##b##c\n", "0:a##b##c=c"},
    {"a##b==w\n", "0:a##b=w"},
    {"a##\n", "0:a##=a##"},
    {"a=b\n", "0:a=b=a=b"},
    {"b\nB\na\nä\n中\n", "0:B=B 1:a=a 2:b=b 3:ä=ä 4:中=中"},
    {"𠀀\n\xEF\xBC\xA1\n", "0:Ａ=Ａ 1:𠀀=𠀀"}, /* UTF-16 order would be the other way round */
    {"a==x\na==x\n", "0:a=x"},
};

static void test_text(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof GOOD_TEXTS / sizeof *GOOD_TEXTS; i++) {
        label_set labels;
        cloze_error err = {0};
        buf got;
        buf_init(&got, 1 << 16);
        CHECK_OK(label_set_parse_text(GOOD_TEXTS[i].text, strlen(GOOD_TEXTS[i].text), "label.txt",
                                      &labels, NULL, &err),
                 err);
        print_labels(&labels, &got);
        assert_string_equal(got.data, GOOD_TEXTS[i].want);
        buf_deinit(&got);
        label_set_deinit(&labels);
    }
}

typedef struct bad_case {
    const char *text;
    size_t n;
    const char *piece;
} bad_case;
#define BAD(text, piece)                                                                           \
    { text, sizeof text - 1, piece }

static const bad_case BAD_TEXTS[] = {
    BAD("", "label.txt: there is no label"),
    BAD("\n\n", "label.txt: there is no label"),
    BAD("a\n==b\n", "label.txt:2: the label is empty"),
    BAD("a==\n", "label.txt:1: no word after =="),
    BAD("a==''\n", "label.txt:1: no word after =="),
    BAD("a==b==c\n", "label.txt:1: more than one =="),
    BAD("a\nb\tc\n", "label.txt:2:2: a tab"),
    BAD("中\xFF\n", "label.txt:1:2: not UTF-8 (byte 0xFF)"),
    BAD("a\nb\xC3", "label.txt:2:2: not UTF-8"),
    BAD("a\0b\n", "label.txt:1:2: a NUL byte"),
    BAD("\xFF\xFE"
        "a\0",
        "UTF-16"),
};

static void test_bad_text(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof BAD_TEXTS / sizeof *BAD_TEXTS; i++) {
        label_set labels;
        cloze_error err = {0};
        cloze_status status = label_set_parse_text(BAD_TEXTS[i].text, BAD_TEXTS[i].n, "label.txt",
                                                   &labels, NULL, &err);
        CHECK_ERROR(status, err, CLOZE_ERR_DATA, BAD_TEXTS[i].piece);
        assert_int_equal(labels.n, 0);
    }
}

static const good_case GOOD_JSON[] = {
    {"{\"b\": [\"y\"], \"a\": [\"x\", \"w\"]}", "0:a=x|w 1:b=y"},
    {"\xEF\xBB\xBF{\"b\": \"y\"}", "0:b=y"},
    {"{\"a##b\": [\"x==y\"]}", "0:a##b=x==y"},
};

static const good_case BAD_JSON[] = {
    {"[]", "a JSON object"},
    {"{}", "there is no label"},
    {"{\"\": [\"a\"]}", "a label is empty"},
    {"{\"a\": []}", "label \"a\" has no word"},
    {"{\"a\": [1]}", "must be non-empty strings"},
    {"{\"a\": [\" \"]}", "must be non-empty strings"},
    {"{\"a\": {}}", "must be non-empty strings"},
    {"{\"a\": [\"b\"]", "verbalizer_config.json:1:"},
};

static void test_json(void **state) {
    (void)state;
    cloze_error err = {0};
    for (size_t i = 0; i < sizeof GOOD_JSON / sizeof *GOOD_JSON; i++) {
        label_set labels;
        buf got;
        buf_init(&got, 1 << 16);
        CHECK_OK(label_set_parse_json(GOOD_JSON[i].text, strlen(GOOD_JSON[i].text), "v",
                                      CLOZE_ERR_MODEL, &labels, NULL, &err),
                 err);
        print_labels(&labels, &got);
        assert_string_equal(got.data, GOOD_JSON[i].want);
        buf_deinit(&got);
        label_set_deinit(&labels);
    }
    for (size_t i = 0; i < sizeof BAD_JSON / sizeof *BAD_JSON; i++) {
        label_set labels;
        cloze_status status =
            label_set_parse_json(BAD_JSON[i].text, strlen(BAD_JSON[i].text),
                                 "verbalizer_config.json", CLOZE_ERR_MODEL, &labels, NULL, &err);
        CHECK_ERROR(status, err, CLOZE_ERR_MODEL, BAD_JSON[i].want);
    }
}

static void test_write_json(void **state) {
    (void)state;
    label_set labels, again;
    cloze_error err = {0};
    buf out, out2;
    const char *text = "b==y\na==\"x\"\nq\"==z\na==中\n";
    buf_init(&out, 1 << 16);
    buf_init(&out2, 1 << 16);
    CHECK_OK(label_set_parse_text(text, strlen(text), "label.txt", &labels, NULL, &err), err);
    label_set_write_json(&labels, &out);
    assert_string_equal(out.data, "{\"a\": [\"x\", \"中\"], \"b\": [\"y\"], \"q\\\"\": [\"z\"]}");
    CHECK_OK(label_set_parse_json(out.data, out.len, "v", CLOZE_ERR_MODEL, &again, NULL, &err),
             err);
    label_set_write_json(&again, &out2);
    assert_string_equal(out.data, out2.data);
    buf_deinit(&out);
    buf_deinit(&out2);
    label_set_deinit(&labels);
    label_set_deinit(&again);
}

static void test_notes(void **state) {
    (void)state;
    label_set labels;
    cloze_error err = {0};
    buf notes;
    const char *text = "a==x\na==x\nb==y\nc==y\n";
    buf_init(&notes, 1 << 16);
    CHECK_OK(label_set_parse_text(text, strlen(text), "label.txt", &labels, &notes, &err), err);
    assert_string_equal(notes.data, "label.txt: label \"a\" has the word \"x\" twice\n"
                                    "labels \"b\" and \"c\" share the word \"y\"\n");
    buf_deinit(&notes);
    label_set_deinit(&labels);
}

/* A label of very many words, one of them twice at the ends: each is looked up, not searched for. */
static void test_many_words(void **state) {
    (void)state;
    enum { WORDS = 200000 };
    label_set labels;
    cloze_error err = {0};
    buf text, notes;
    buf_init(&text, 1 << 24);
    buf_init(&notes, 1 << 16);
    for (int i = 0; i < WORDS; i++) buf_printf(&text, "a==w%d\n", i);
    buf_puts(&text, "b==w7\na==w0\n");
    CHECK_OK(label_set_parse_text(text.data, text.len, "label.txt", &labels, &notes, &err), err);
    assert_int_equal(labels.n, 2);
    assert_int_equal(labels.entries[0].n_words, WORDS);
    assert_string_equal(labels.entries[0].words[WORDS - 1], "w199999");
    assert_string_equal(notes.data, "label.txt: label \"a\" has the word \"w0\" twice\n"
                                    "labels \"a\" and \"b\" share the word \"w7\"\n");
    buf_deinit(&text);
    buf_deinit(&notes);
    label_set_deinit(&labels);
}

static void test_find_and_nearest(void **state) {
    (void)state;
    static const struct {
        const char *name, *nearest;
    } cases[] = {
        {"news_sport", "news_sports"},
        {"sports", "news_sports"},
        {"News_Car", "news_car"},
        {"new_car", "news_car"},
        {"108", NULL},
        {"zzzzzz", NULL},
        {"汽车", NULL},
        {"n", NULL},
    };
    const char *names[] = {"news_sports", "news_car", "news_story", "news_car"};
    label_set labels;
    cloze_error err = {0};
    CHECK_OK(label_set_from_names(names, 4, &labels, &err), err);
    assert_int_equal(labels.n, 3);
    assert_int_equal(label_set_find(&labels, "news_car", 8), 0);
    assert_int_equal(label_set_find(&labels, "news_sports", 11), 1);
    assert_int_equal(label_set_find(&labels, "news_ca", 7), -1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *near = label_set_nearest(&labels, cases[i].name, strlen(cases[i].name));
        if (!cases[i].nearest)
            assert_null(near);
        else {
            assert_non_null(near);
            assert_string_equal(near, cases[i].nearest);
        }
    }
    label_set_deinit(&labels);
}

/* What label_set_read makes of a file with this text: its JSON, or "!" and the error. */
static void read_file(const char *text, buf *out) {
    char path[] = "/tmp/cloze-labels-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    label_set labels;
    cloze_error err = {0};
    cloze_status status = label_set_read(path, &labels, NULL, &err);
    unlink(path);
    if (status == CLOZE_OK)
        label_set_write_json(&labels, out);
    else
        buf_printf(out, "!%s", err.message + strlen(path));
    label_set_deinit(&labels);
}

static void test_files(void **state) {
    (void)state;
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"b==y\na\n", "{\"a\": [\"a\"], \"b\": [\"y\"]}"},
        {" {\"b\": \"y\", \"a\": [\"x\"]}", "{\"a\": [\"x\"], \"b\": [\"y\"]}"},
        {"{\"label\": \"y\", \"text\": [\"x\"]}\n", "{\"y\": [\"y\"]}"},
        /* one object a line: FewCLUE's index */
        {"\xEF\xBB\xBF{\"label\": \"101\", \"label_desc\": "
         "\"news_culture\",\"label_zh\":\"文化\"}\r\n\n"
         "{\"label\": \"100\", \"label_desc\": \"news_story\"}\n",
         "{\"100\": [\"news_story\"], \"101\": [\"文化\"]}"},
        {"{\"label\": 1}\n{\"label\": 0, \"name\": \"neg\"}\n",
         "{\"0\": [\"neg\"], \"1\": [\"1\"]}"},
        {"{\"label\": 1}\n{\"label\": \"\"}\n", "!:2: the object has no \"label\""},
        {"{\"label\": 1}\n{\"label\": 2\n", "!:2:11: not valid JSON: it breaks off"},
        {"{\"a\": 0}", "!: label \"a\" has a number where its word belongs; if the data's labels "
                       "are numbers, write {\"0\": \"word\", ...}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        buf out;
        buf_init(&out, 1 << 16);
        read_file(cases[i].text, &out);
        assert_string_equal(out.data, cases[i].want);
        buf_deinit(&out);
    }
}

static void test_half_separators(void **state) {
    (void)state;
    const char *text = "a=x\nb：y\nc==z\nd=\n";
    label_set labels;
    cloze_error err = {0};
    buf notes;
    buf_init(&notes, 1 << 12);
    CHECK_OK(label_set_parse_text(text, strlen(text), "l", &labels, &notes, &err), err);
    assert_string_equal(notes.data,
                        "l:1: \"a=x\" is taken as a label; a word follows == (a==x)\n"
                        "l:2: \"b：y\" is taken as a label; a word follows == (b==y)\n");
    label_set_deinit(&labels);
    buf_deinit(&notes);
}

/* Whichever allocation fails, the answer is CLOZE_ERR_MEMORY and nothing leaks. */
static void test_no_memory(void **state) {
    (void)state;
    const char *text = "b==y\na==x\na==z\n";
    cloze_status status = CLOZE_ERR_MEMORY;
    int64_t k = 0;
    for (; status != CLOZE_OK && k < 1000; k++) {
        label_set labels;
        cloze_error err = {0};
        buf notes;
        buf_init(&notes, 1 << 10);
        mem_fail_after(k);
        status = label_set_parse_text(text, strlen(text), "label.txt", &labels, NULL, &err);
        mem_fail_after(-1);
        if (status != CLOZE_OK) assert_int_equal(status, CLOZE_ERR_MEMORY);
        label_set_deinit(&labels);
        buf_deinit(&notes);
    }
    assert_int_equal(status, CLOZE_OK);
    assert_true(k > 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),      cmocka_unit_test(test_bad_text),
        cmocka_unit_test(test_json),      cmocka_unit_test(test_write_json),
        cmocka_unit_test(test_notes),     cmocka_unit_test(test_find_and_nearest),
        cmocka_unit_test(test_files),     cmocka_unit_test(test_half_separators),
        cmocka_unit_test(test_many_words),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Data files: every format by content and name, every bad input with file:line:column. */
#include "prompt_check.h"

#include "base/buf.h"
#include "base/mem.h"
#include "prompt/dataset.h"

/* Examples as [text|text_b|label@line]. */
static void print_dataset(const dataset *data, buf *out) {
    for (int64_t i = 0; i < data->n; i++) {
        const example *ex = &data->examples[i];
        assert_int_equal(strlen(ex->text), ex->text_len);
        buf_printf(out, "[%s", ex->text);
        if (ex->text_b) buf_printf(out, "|%s", ex->text_b);
        if (ex->label_name) buf_printf(out, "|%s", ex->label_name);
        buf_printf(out, "@%d]", (int)ex->line);
    }
}

#define REQUIRED DATASET_LABELS_REQUIRED
#define AUTO DATASET_LABELS_AUTO
#define NONE DATASET_LABELS_NONE

typedef struct good_case {
    const char *name;
    dataset_labelling labelling;
    const char *text, *want;
    const char *text_column, *text_b_column, *label_column;
} good_case;

#define GOOD(name, labelling, text, want)                                                          \
    { name, labelling, text, want, NULL, NULL, NULL }

static const good_case GOOD_FILES[] = {
    /* text TAB label */
    GOOD("f.txt", REQUIRED, "x y\ta\nz\tb\n", "[x y|a@1][z|b@2]"),
    GOOD("f.txt", REQUIRED, "\xEF\xBB\xBFx\ta\r\nz\t b \r\n", "[x|a@1][z|b@2]"),
    GOOD("f.txt", REQUIRED, "x\ta\n\n \nz\tb", "[x|a@1][z|b@4]"),
    GOOD("f.txt", REQUIRED, " x \ta\n", "[ x |a@1]"),
    GOOD("f.tsv", REQUIRED, "x\ta\n", "[x|a@1]"),
    GOOD("f", REQUIRED, "{x}\ta\n", "[{x}|a@1]"),
    GOOD("f.txt", REQUIRED, "中，文,\"q\"\t汽车\n", "[中，文,\"q\"|汽车@1]"),
    GOOD("f.txt", AUTO, "x\ny\n", "[x@1][y@2]"),
    GOOD("f.txt", AUTO, "x\ta\ny\tb\n", "[x|a@1][y|b@2]"),
    GOOD("f.txt", NONE, "x\ta\n\ny\n", "[x\ta@1][y@3]"),
    GOOD("f.txt", NONE, "title\nlabel\n", "[title@1][label@2]"),
    GOOD("f.txt", NONE, "a,b\n", "[a,b@1]"),
    /* a header of usual names */
    GOOD("f.tsv", REQUIRED, "sentence\tlabel\nx y\t1\n", "[x y|1@2]"),
    GOOD("f.tsv", REQUIRED, "id\tsentence1\tsentence2\tlabel\n7\tx\ty\t1\n", "[x|y|1@2]"),
    GOOD("f.txt", NONE, "sentence\tlabel\n", "[sentence\tlabel@1]"), /* a tab is text */
    {"f.txt", NONE, "a\tb\nx\ty\n", "[y@2]", "b", NULL, NULL},
    /* JSON lines */
    GOOD("f.jsonl", REQUIRED,
         "{\"text\": \"x\", \"label\": \"a\"}\n{\"label\": \"b\", \"text\": \"y\\tz\"}\n",
         "[x|a@1][y\tz|b@2]"),
    GOOD("f.txt", REQUIRED, "{\"text\": \"x\", \"label\": 3}\n{\"text\": \"y\", \"label\": true}\n",
         "[x|3@1][y|true@2]"),
    GOOD("f.json", REQUIRED, "{\"sentence\": \"x\", \"label\": \"1\", \"id\": 0}\r\n\r\n",
         "[x|1@1]"),
    GOOD("f", REQUIRED, "{\"sentence1\": \"x\", \"sentence2\": \"y\", \"label\": \"0\"}",
         "[x|y|0@1]"),
    GOOD("f", REQUIRED, "{\"hypothesis\": \"x\", \"premise\": \"y\", \"label\": \"0\"}",
         "[y|x|0@1]"),
    GOOD("f", REQUIRED, "{\"question\": \"x\", \"passage\": \"y\", \"label\": false}",
         "[x|y|false@1]"),
    GOOD("f", REQUIRED, "{\"content\": \"x\", \"label\": 1.5}", "[x|1.5@1]"),
    GOOD("f", AUTO, "{\"content\": \"x\", \"label\": null}", "[x@1]"),
    GOOD("f", AUTO, "{\"content\": \"x\"}", "[x@1]"),
    GOOD("f", NONE, "{\"content\": \"x\", \"label\": [1]}", "[x@1]"),
    {"f", REQUIRED, "{\"a\": \"x\", \"b\": \"y\", \"c\": \"z\"}", "[y|x|z@1]", "b", "a", "c"},
    GOOD("f", REQUIRED, "{\"Text\": \"\\u4e2d\\ud840\\udc00\\n\", \"Label\": \"a\"}",
         "[中𠀀\n|a@1]"),
    /* JSON lists, in any layout and under any name */
    GOOD("f.json", REQUIRED, "[{\"text\": \"x\", \"label\": \"a\"}, {\"text\": \"y\", \"label\": 2}]",
         "[x|a@1][y|2@1]"),
    GOOD("f", REQUIRED,
         "\n[\n  {\n    \"text\": \"x]}\\\"\",\n    \"label\": \"a\"\n  },\r\n  {\"text\": \"y\", "
         "\"label\": \"b\",\"more\":[{}]}\n]\n\n",
         "[x]}\"|a@3][y|b@7]"),
    GOOD("f.txt", AUTO, "[ {\"text\": \"x\"} ,{\"text\":\"y\"}]", "[x@1][y@1]"),
    GOOD("f.txt", NONE, "[x] y\n[{\n", "[[x] y@1][[{@2]"), /* lines of text */
    /* CSV */
    GOOD("f.csv", REQUIRED, "text,label\nx,a\n\"y, \"\"z\"\"\",b\n", "[x|a@2][y, \"z\"|b@3]"),
    GOOD("f.csv", REQUIRED, "label,text\r\na,\"x\r\ny\"\r\nb,z\r\n", "[x\ny|a@2][z|b@4]"),
    GOOD("f.txt", REQUIRED, "\xEF\xBB\xBFtext,label\n\nx,a", "[x|a@3]"),
    GOOD("f.csv", REQUIRED, "id,title,description,class\n1,\"t\",d,2\n", "[t|d|2@2]"),
    GOOD("f.csv", REQUIRED, "text,label\nx\"y,a\n", "[x\"y|a@2]"),
    GOOD("f.csv", AUTO, "text\nx\n\"\"\"y\"\n", "[x@2][\"y@3]"),
    GOOD("f.csv", REQUIRED, "Class Index,Title\n3,x\n", "[x|3@2]"),
    {"f.csv", REQUIRED, "a,b\nx,y\n", "[y|x@2]", "b", NULL, "a"},
    {"f.data", REQUIRED, "a,b\nx,y\n", "[y|x@2]", "b", NULL, "a"},
    GOOD("f.csv", REQUIRED, "text,label\n\"a\n\nb\",x\n", "[a\n\nb|x@2]"),
    GOOD("f.csv", NONE, "text,label\nx,a\n", "[x@2]"),
};

static void test_formats(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof GOOD_FILES / sizeof *GOOD_FILES; i++) {
        const good_case *c = &GOOD_FILES[i];
        dataset data;
        cloze_error err = {0};
        dataset_options opts = {.labelling = c->labelling, .text_column = c->text_column,
                                .text_b_column = c->text_b_column, .label_column = c->label_column};
        buf got;
        buf_init(&got, 1 << 16);
        CHECK_OK(dataset_parse(c->text, strlen(c->text), c->name, &opts, NULL, &data, &err), err);
        print_dataset(&data, &got);
        assert_string_equal(got.data, c->want);
        buf_deinit(&got);
        dataset_deinit(&data);
    }
}

typedef struct bad_case {
    const char *name;
    dataset_labelling labelling;
    const char *text;
    size_t n;
    const char *piece;
    const char *text_column, *label_column;
} bad_case;
#define BAD(name, labelling, text, piece)                                                          \
    { name, labelling, text, sizeof text - 1, piece, NULL, NULL }

static const bad_case BAD_FILES[] = {
    BAD("f.txt", REQUIRED, "", "f.txt: there is no example"),
    BAD("f.txt", REQUIRED, "\n \n", "f.txt: there is no example"),
    BAD("f.csv", REQUIRED, "", "f.csv: there is no example"),
    BAD("f.csv", REQUIRED, "text,label\n", "f.csv: there is no example"),
    BAD("f.txt", REQUIRED, "x\ta\ny b\n", "f.txt:2: no tab; a line is text<TAB>label"),
    BAD("f.txt", REQUIRED, "x\\ta\n", "no tab; a line is text<TAB>label (here stand a backslash and a t)"),
    BAD("f.txt", REQUIRED, "中　a\n", "(here stands a full-width blank)"),
    BAD("f.txt", REQUIRED, "x    a\n", "(here stand blanks)"),
    BAD("f.txt", REQUIRED, "0 a film\n", "a label, a blank and the text is --data_format label_text"),
    BAD("f.txt", REQUIRED, "12", "f.txt:1: no tab; a line is text<TAB>label"),
    BAD("f.txt", REQUIRED, "x\ta\n中y\tz\tb\n", "f.txt:2:5: a second tab"),
    BAD("f.txt", AUTO, "x\ta\tb\n", "f.txt:1:4: a second tab"),
    BAD("f.txt", REQUIRED, "x\t\n", "f.txt:1: the label is empty"),
    BAD("f.txt", REQUIRED, "x\t \r\n", "f.txt:1: the label is empty"),
    BAD("f.txt", REQUIRED, "\ta\n", "f.txt:1: the text is empty"),
    BAD("f.txt", REQUIRED, "　\ta\n", "f.txt:1: the text is empty"),
    BAD("f.txt", REQUIRED, "\t\n", "f.txt:1: the text is empty"),
    BAD("f.txt", AUTO, "x\ny\ta\n", "f.txt:1: no tab, but line 2 has one"),
    BAD("f.txt", AUTO, "x\ta\n\ny\n", "f.txt:3: no tab, but line 1 has one"),
    BAD("f.txt", REQUIRED, "x\ta\n中\xC0y\tb\n", "f.txt:2:2: not UTF-8 (byte 0xC0)"),
    BAD("f.txt", NONE, "x\ny\xED\xA0\x80\n", "f.txt:2:2: not UTF-8"),
    BAD("f.txt", NONE, "x\0y\n", "f.txt:1:2: a NUL byte"),
    BAD("f.txt", NONE, "\xFF\xFEx\0\n\0", "UTF-16"),
    BAD("f.jsonl", REQUIRED, "{\"text\": \"x\", \"label\": \"a\"}\n{\"text\": \"y\"\n",
        "f.jsonl:2:"),
    BAD("f.json", REQUIRED,
        "[{\"text\": \"中文\", \"label\": \"a\"}, {\"text\": \"文\", \"label\": \"a\"} 7",
        "f.json:1:60: , or ] is wanted here"),
    BAD("f.jsonl", REQUIRED, "{\"text\": \"x\", \"label\": \"a\"}\n[1]\n",
        "f.jsonl:2:1: one JSON object a line"),
    BAD("f.jsonl", REQUIRED, "{\"text\": \"x\", \"label\": \"a\"}\n{\"text\": \"y\"}\n",
        "f.jsonl:2: no label"),
    BAD("f.jsonl", AUTO, "{\"text\": \"x\", \"label\": \"a\"}\n{\"text\": \"y\"}\n",
        "f.jsonl:2: no label, but line 1 has one"),
    BAD("f.jsonl", REQUIRED, "{\"text\": \"x\", \"label\": \"a\"}\n{\"label\": \"y\"}\n",
        "f.jsonl:2: the object has no field \"text\""),
    BAD("f.jsonl", REQUIRED, "{\"text\": [\"x\"], \"label\": \"a\"}\n",
        "f.jsonl:1: field \"text\" must be one string or number, not a list"),
    BAD("f.jsonl", REQUIRED, "{\"text\": \"x\", \"label\": {}}\n",
        "f.jsonl:1: field \"label\" must be one string or number, not an object"),
    BAD("f.jsonl", REQUIRED, "{\"foo\": \"x\", \"label\": \"a\"}\n",
        "f.jsonl:1: no column looks like the text; the columns are: foo, label; name it with "
        "--text_column"),
    BAD("f.jsonl", REQUIRED, "{\"text\": \"x\", \"foo\": \"a\"}\n",
        "f.jsonl:1: no column looks like the label; the columns are: text, foo; name it with "
        "--label_column"),
    BAD("f.jsonl", REQUIRED, "{}\n", "f.jsonl:1: the object has no fields"),
    BAD("f.jsonl", REQUIRED, "{\"text\": \"\", \"label\": \"a\"}\n",
        "f.jsonl:1: the text is empty"),
    BAD("f.jsonl", REQUIRED, "{\"text\": \"x\\u0000\", \"label\": \"a\"}\n", "NUL"),
    BAD("f.json", REQUIRED, "[\n{\"text\": \"x\"}]\n",
        "f.json:2: no column looks like the label; the columns are: text"),
    BAD("f.json", REQUIRED, "[1]", "f.json:1:2: an object, {\"text\": ...}, is wanted here"),
    BAD("f.json", REQUIRED, "[]", "f.json: there is no example"),
    BAD("f.json", REQUIRED, "[\n]", "f.json: there is no example"),
    BAD("f.json", REQUIRED, "[\n", "f.json:1: the list is never closed"),
    BAD("f.json", AUTO, "[{\"text\": \"x\"}", "f.json:1: the list is never closed: , or ]"),
    BAD("f.json", AUTO, "[{\"text\": \"x\"},]", "f.json:1:16: an object"),
    BAD("f.json", AUTO, "[{\"text\": \"x\"}\n {\"text\": \"y\"}]", "f.json:2:2: , or ] is wanted"),
    BAD("f.json", AUTO, "[{\"text\": \"x\"}] x", "f.json:1:17: something follows the list"),
    BAD("f.json", AUTO, "[{\"text\": \"x\"},\n {\"text\": \"y}]", "f.json:2:2: the object that begins"),
    BAD("f.json", AUTO, "[{\"text\": \"x\"}, {\"text\": 'y'}]",
        "f.json:1:26: not valid JSON: strings want double quotes"),
    BAD("f.json", AUTO, "[{\"text\":\n 'y'}]", "f.json:2:2: not valid JSON: strings want"),
    BAD("f.json", AUTO, "[{\"text\": \"x\"}, {\"text\": [1]}]",
        "f.json:1:17: field \"text\" must be one string"),
    BAD("f.json", REQUIRED, "[{\"text\": \"x\", \"label\": 1}, {\"text\": \"y\"}]", "f.json:1:29: no label"),
    BAD("f.csv", REQUIRED, "text,label\nx,y,z\n",
        "f.csv:2: 3 fields, but the header has 2 (a field with a comma in it needs quotes)"),
    BAD("f.csv", REQUIRED, "text,label,text\nx,y,z\n",
        "f.csv:1: two columns are called \"text\"; rename one of them"),
    BAD("f.csv", REQUIRED, "text,label\nx\n", "f.csv:2: 1 fields, but the header has 2"),
    BAD("f.csv", REQUIRED, "text,label\na,b\n\"x\n\ny,a\n",
        "f.csv:3:1: the quote that opens here is never closed"),
    BAD("f.csv", REQUIRED, "text,label\na,\"b\n",
        "f.csv:2:3: the quote that opens here is never closed"),
    BAD("f.csv", REQUIRED, "text,label\n\"中\"x,a\n",
        "f.csv:2:4: a comma is wanted after the closing quote"),
    BAD("f.csv", REQUIRED, "text,label\n\"\n\",a\n", "f.csv:2: the text is empty"),
    BAD("f.csv", REQUIRED, "text,label\nx,\n", "f.csv:2: the label is empty"),
    BAD("f.csv", REQUIRED, "foo,label\nx,a\n",
        "f.csv:1: no column looks like the text; the columns are: foo, label"),
    {"f.csv", REQUIRED, "text,label\nx,a\n", 15,
     "f.csv:1: no column \"foo\"; the columns are: text, label", "foo", NULL},
    {"f.csv", REQUIRED, "text,label\nx,a\n", 15,
     "f.csv:1: no column \"foo\"; the columns are: text, label; name it with --label_column", NULL,
     "foo"},
    {"f.txt", REQUIRED, "x\ta\n", 4, "f.txt:1: no column \"text\"; the columns are: x, a", "text",
     NULL},
    {"f.tsv", REQUIRED, "text\tlabel\nx\n", 13, "f.tsv:2: 1 fields, but the header has 2", NULL,
     NULL},
};

static void test_bad_files(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof BAD_FILES / sizeof *BAD_FILES; i++) {
        const bad_case *c = &BAD_FILES[i];
        dataset data;
        cloze_error err = {0};
        dataset_options opts = {
            .labelling = c->labelling, .text_column = c->text_column, .label_column = c->label_column};
        cloze_status status = dataset_parse(c->text, c->n, c->name, &opts, NULL, &data, &err);
        CHECK_ERROR(status, err, CLOZE_ERR_DATA, c->piece);
        assert_int_equal(data.n, 0);
    }
}

static void test_named_formats(void **state) {
    (void)state;
    static const struct {
        const char *format, *text, *want;
    } cases[] = {
        {"label_text", "1 a  fine film \n\n0\tpoor\n", "[a  fine film|1@1][poor|0@3]"},
        {"pairs", "x\ty\ta\n\nz\t\t b \n", "[x|y|a@1][z||b@3]"},
        {"lines", "{\"text\": 1}\ta\n", "[{\"text\": 1}|a@1]"},
        {"tsv", "a\ttext\tlabel\n1\tx\ty\n", "[x|y@2]"},
        {"csv", "a,text,label\n1,x,y\n", "[x|y@2]"},
        {"json", "[{\"text\": \"x\", \"label\": \"y\"}]", "[x|y@1]"},
        {"jsonl", "{\"text\": \"x\", \"label\": \"y\"}", "[x|y@1]"},
    };
    dataset data;
    cloze_error err = {0};
    dataset_options opts = {.labelling = REQUIRED};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        buf got;
        buf_init(&got, 1 << 16);
        assert_true(dataset_format_from_name(cases[i].format, &opts.format));
        CHECK_OK(dataset_parse(cases[i].text, strlen(cases[i].text), "f", &opts, NULL, &data, &err),
                 err);
        print_dataset(&data, &got);
        assert_string_equal(got.data, cases[i].want);
        buf_deinit(&got);
        dataset_deinit(&data);
    }
    assert_false(dataset_format_from_name("xml", &opts.format));
    opts.format = DATASET_LABEL_TEXT;
    cloze_status status = dataset_parse("1 x\nword\n", 9, "f", &opts, NULL, &data, &err);
    CHECK_ERROR(status, err, CLOZE_ERR_DATA, "f:2: no blank; a line is a label, a blank, the text");
    opts.format = DATASET_PAIRS;
    status = dataset_parse("x\ty\ta\nx\ty\n", 10, "f", &opts, NULL, &data, &err);
    CHECK_ERROR(status, err, CLOZE_ERR_DATA, "f:2: one tab; a pair with its label is text<TAB>");
    status = dataset_parse("x\n", 2, "f", &opts, NULL, &data, &err);
    CHECK_ERROR(status, err, CLOZE_ERR_DATA, "f:1: no tab; a pair is text<TAB>second text<TAB>label");
    opts.format = DATASET_JSON_LIST;
    status = dataset_parse("{}", 2, "f", &opts, NULL, &data, &err);
    CHECK_ERROR(status, err, CLOZE_ERR_DATA, "f:1:1: [ is wanted here");
}

static void test_labels(void **state) {
    (void)state;
    static const char text[] = "x\tnews_car\ny\tnews_tech\n\nz\tnews_car\n";
    dataset_options opts = {0};
    label_set labels;
    dataset data;
    cloze_error err = {0};
    int64_t counts[4];
    buf notes;
    buf_init(&notes, 1 << 16);
    const char *known = "news_tech==科技\nnews_car==汽车\nnews_story\n";
    CHECK_OK(label_set_parse_text(known, strlen(known), "label.txt", &labels, NULL, &err), err);
    CHECK_OK(dataset_parse(text, sizeof text - 1, "train.txt", &opts, &labels, &data, &err), err);
    assert_int_equal(data.examples[0].label, 0);
    assert_int_equal(data.examples[1].label, 2);
    assert_true(data.labelled);
    dataset_count_labels(&data, &labels, counts, &notes);
    assert_int_equal(counts[0], 2);
    assert_int_equal(counts[1], 0);
    assert_string_equal(
        notes.data, "train.txt: no example of \"news_story\"\ntrain.txt: 1 blank line skipped\n");
    label_set found;
    CHECK_OK(dataset_collect_labels(&data, &found, &err), err);
    assert_int_equal(found.n, 2);
    assert_string_equal(found.entries[1].name, "news_tech");
    label_set_deinit(&found);
    dataset_deinit(&data);
    cloze_status status =
        dataset_parse("x\tnews_car\ny\tnews_cat\n", 22, "t.txt", &opts, &labels, &data, &err);
    CHECK_ERROR(status, err, CLOZE_ERR_DATA,
                "t.txt:2: unknown label \"news_cat\"; is \"news_car\" meant?");
    status = dataset_parse("x\tfoo\n", 6, "t.txt", &opts, &labels, &data, &err);
    CHECK_ERROR(
        status, err, CLOZE_ERR_DATA,
        "t.txt:1: unknown label \"foo\"; the labels are: news_car, news_story, news_tech");
    buf_deinit(&notes);
    label_set_deinit(&labels);
}

/* FewCLUE's files have a code in label and the name in label_desc: the known one is read. */
static void test_label_column_by_value(void **state) {
    (void)state;
    static const char *const files[][2] = {
        {"f.json", "{\"label\": \"103\", \"label_desc\": \"sports\", \"sentence\": \"x\"}\n"},
        {"f.csv", "label,label_desc,sentence\n103,sports,x\n"},
    };
    const char *names[] = {"sports"}, *codes[] = {"103"};
    for (int i = 0; i < 4; i++) {
        dataset_options opts = {0};
        label_set labels;
        dataset data;
        cloze_error err = {0};
        CHECK_OK(label_set_from_names(i < 2 ? names : codes, 1, &labels, &err), err);
        CHECK_OK(dataset_parse(files[i % 2][1], strlen(files[i % 2][1]), files[i % 2][0], &opts,
                               &labels, &data, &err),
                 err);
        assert_string_equal(data.examples[0].label_name, i < 2 ? "sports" : "103");
        assert_int_equal(data.examples[0].label, 0);
        dataset_deinit(&data);
        label_set_deinit(&labels);
    }
}

/* Lines longer than every buffer, and a file whose pieces end anywhere. */
static void test_long_lines(void **state) {
    (void)state;
    size_t n = 300000;
    char *text = mem_alloc(2 * n + 16);
    dataset_options opts = {0};
    dataset data;
    cloze_error err = {0};
    memset(text, 'x', 2 * n);
    memcpy(text + n, "\ta\n\xE4\xB8\xAD", 6);
    memcpy(text + 2 * n, "\tb", 2);
    CHECK_OK(dataset_parse(text, 2 * n + 2, "long.txt", &opts, NULL, &data, &err), err);
    assert_int_equal(data.n, 2);
    assert_int_equal(data.examples[0].text_len, n);
    assert_int_equal(data.examples[1].text_len, n - 3);
    assert_int_equal((unsigned char)data.examples[1].text[0], 0xE4);
    dataset_deinit(&data);
    mem_free(text);
}

static void test_no_memory(void **state) {
    (void)state;
    static const char *const texts[] = {"x\ta\ny\tb\n", "text,label\n\"x\",a\n",
                                        "{\"text\": \"x\", \"label\": 1}\n"};
    for (size_t t = 0; t < 3; t++) {
        cloze_status status = CLOZE_ERR_MEMORY;
        int64_t k = 0;
        for (; status != CLOZE_OK && k < 1000; k++) {
            dataset data;
            cloze_error err = {0};
            dataset_options opts = {0};
            mem_fail_after(k);
            status = dataset_parse(texts[t], strlen(texts[t]), "f", &opts, NULL, &data, &err);
            mem_fail_after(-1);
            if (status != CLOZE_OK && status != CLOZE_ERR_MEMORY)
                fail_msg("text %d, allocation %d: %s", (int)t, (int)k, err.message);
            dataset_deinit(&data);
        }
        assert_int_equal(status, CLOZE_OK);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats),    cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_named_formats),
        cmocka_unit_test(test_labels),     cmocka_unit_test(test_label_column_by_value),
        cmocka_unit_test(test_long_lines), cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The template language: what is read, how it is written back, and where errors are said to be. */
#include "prompt_check.h"

#include "base/buf.h"
#include "base/mem.h"
#include "prompt/template.h"

typedef struct parse_case {
    const char *text, *want; /* line 1 of template_config.json */
    const char *class_name;
} parse_case;

#define MANUAL "ManualTemplate"
#define TEXT "{\"text\": \"text_a\"}"
#define MASK "{\"mask\": null}"

static const parse_case GOOD[] = {
    {"这条新闻标题的主题是", "[" TEXT ", {\"hard\": \"这条新闻标题的主题是\"}, " MASK "]", MANUAL},
    {"", "[" TEXT ", " MASK "]", MANUAL},
    {"   ", "[" TEXT ", " MASK "]", MANUAL},
    {NULL, "[{\"soft\": null}, " TEXT ", " MASK "]", "SoftTemplate"},
    {"{'mask'}", "[" TEXT ", " MASK "]", MANUAL},
    {"{\"mask\"}{'hard':'x'}", "[" TEXT ", " MASK ", {\"hard\": \"x\"}]", MANUAL},
    {"{'text':'text_a'}{'mask'}", "[" TEXT ", " MASK "]", MANUAL},
    {"{'text':'text_a'}", "[" TEXT "]", MANUAL},
    {"It was {'mask'}. {'text':'text_a'}",
     "[{\"hard\": \"It was\"}, " MASK ", {\"hard\": \".\"}, " TEXT "]", MANUAL},
    {" a b {'mask'}  c ",
     "[" TEXT ", {\"add_space\": \" \", \"hard\": \"a b\"}, " MASK
     ", {\"add_space\": \" \", \"hard\": \"c\"}]",
     MANUAL},
    {" {'mask'}", "[" TEXT ", {\"add_space\": \" \", \"mask\": null}]", MANUAL},
    {"{'text':'text_a'} {'mask'}", "[" TEXT ", {\"add_space\": \" \", \"mask\": null}]", MANUAL},
    {"{ 'text' : \"text_a\" , }{ 'mask' : None, 'length': 3 }",
     "[" TEXT ", {\"mask\": null, \"length\": 3}]", MANUAL},
    {"{'hard':'}{'}{'mask'}{'text':'text_a'}", "[{\"hard\": \"}{\"}, " MASK ", " TEXT "]", MANUAL},
    {"{'text':'text_a','token_type':0}{'hard':'和','token_type':1}{'text':'text_b'}{'mask'}",
     "[{\"text\": \"text_a\", \"token_type\": 0}, {\"hard\": \"和\", \"token_type\": 1}, "
     "{\"text\": \"text_b\"}, " MASK "]",
     MANUAL},
    {"{'soft':'甲乙','encoder':'mlp','hidden_size':20}{'text':'text_a','truncate':False}{'mask'}",
     "[{\"soft\": \"甲乙\", \"encoder\": \"mlp\", \"hidden_size\": 20}, "
     "{\"text\": \"text_a\", \"truncate\": false}, " MASK "]",
     "SoftTemplate"},
    {"{'soft_id':1,'length':2,'encoder':None}{'text':'a'}{'soft':'x','soft_id':2}{'mask'}",
     "[{\"soft_id\": 1, \"length\": 2, \"encoder\": null}, {\"text\": \"a\"}, "
     "{\"soft\": \"x\", \"soft_id\": 2}, " MASK "]",
     "SoftTemplate"},
    {"{'prefix':'x','encoder':'lstm'}{'text':'text_a'}{'sep'}{'mask'}",
     "[{\"prefix\": \"x\", \"encoder\": \"lstm\"}, " TEXT ", {\"sep\": null}, " MASK "]",
     "PrefixTemplate"},
    {"{'options':['a','b'],'add_omask':True,'add_prompt':'[OPT]?','position':0}{'cls'}{'text':'t'}",
     "[{\"options\": [\"a\", \"b\"], \"position\": 0, \"add_omask\": true, \"add_prompt\": "
     "\"[OPT]?\"}, "
     "{\"cls\": null}, {\"text\": \"t\"}]",
     "UTCTemplate"},
    {"{'options':('a',)}{'text':'t'}", "[{\"options\": [\"a\"]}, {\"text\": \"t\"}]",
     "UTCTemplate"},
    {"{'options':'label.txt'}{'text':'t'}", "[{\"options\": \"label.txt\"}, {\"text\": \"t\"}]",
     "UTCTemplate"},
    {"{'hard':'a\\'b\\\\c\\n\\x41\\u4e2d\\U00020000\\q\"'}{'mask'}",
     "[" TEXT ", {\"hard\": \"a'b\\\\c\\nA中𠀀\\\\q\\\"\"}, " MASK "]", MANUAL},
    {"{'hard':'x','add_space':True}{'text':'t','add_space':False}{'mask'}",
     "[{\"add_space\": \" \", \"hard\": \"x\"}, {\"text\": \"t\"}, " MASK "]", MANUAL},
    {"{'text':'text_a','position':7,'truncate':1}{'mask'}",
     "[{\"text\": \"text_a\", \"position\": 7, \"truncate\": true}, " MASK "]", MANUAL},
};

/* Each parses to its list of parts, and what is written reads back to the same bytes. */
static void test_parse(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof GOOD / sizeof *GOOD; i++) {
        template_t t, again;
        cloze_error err = {0};
        buf want, got, second;
        buf_init(&want, 1 << 16);
        buf_init(&got, 1 << 16);
        buf_init(&second, 1 << 16);
        buf_printf(&want, "%s\n{\"class\": \"%s\"}\n", GOOD[i].want, GOOD[i].class_name);
        CHECK_OK(template_parse(GOOD[i].text, &t, &err), err);
        template_write_config(&t, &got);
        assert_string_equal(got.data, want.data);
        CHECK_OK(template_parse_config(got.data, got.len, "template_config.json", &again, &err),
                 err);
        template_write_config(&again, &second);
        assert_string_equal(second.data, want.data);
        template_deinit(&t);
        template_deinit(&again);
        buf_deinit(&want);
        buf_deinit(&got);
        buf_deinit(&second);
    }
}

typedef struct bad_case {
    const char *text, *piece;
} bad_case;

static const bad_case BAD_TYPED[] = {
    {"这条{'mask'", "template, column 3: this { is never closed, at: {'mask'"},
    {"{", "column 1: this { is never closed, at: {"},
    {"{'mask':", "column 9: a value is expected"},
    {"{'mask':}", "column 9: a value is expected"},
    {"是}", "column 2: this } has no { before it, at: }"},
    {"{'text':'text_a'}}{'mask'}", "column 18: this } has no { before it"},
    {"{}", "column 2: a quoted keyword such as 'text' is expected, at: }"},
    {"{mask}", "column 2: a quoted keyword"},
    {"{'text':text_a}", "column 9: a value is expected"},
    {"{'text':'text_a}", "column 9: this string has no closing quote"},
    {"{'text':'text_a\n'}", "column 9: this string has no closing quote"},
    {"{‘text’:‘text_a’}", "column 2: a typographic quote; type ' or \""},
    {"{'text'：'text_a'}", "column 8: a full-width colon; type :"},
    {"{'text':'a'，'length':1}", "column 12: a full-width comma; type ,"},
    {"{'text':'a'｝", "column 12: a full-width bracket; type }"},
    {"{'text':'a' 'length':1}", "column 13: , or } is expected, at: 'length':1}"},
    {"{'text':'a','mask'}", "column 19: : and a value are expected, at: }"},
    {"{'mask','length':3}", "column 17: , or } is expected, at: :3}"},
    {"{'txt':'a'}", "column 2: there is no 'txt'; a part is text, hard,"},
    {"{'length':3}", "column 1: this part has no keyword"},
    {"{'text':'a','hard':'b'}", "column 13: one part cannot be both 'text' and 'hard'"},
    {"{'text':'a','text':'b'}", "column 13: 'text' is given twice"},
    {"{'text':None}", "column 2: 'text' wants the name of a field"},
    {"{'text':''}", "'text' wants the name of a field"},
    {"{'hard':1}", "'hard' wants a string"},
    {"{'hard'}", "'hard' wants a string"},
    {"{'mask':3}", "'mask' wants no value; its count is 'length'"},
    {"{'sep':'x'}", "'sep' wants no value"},
    {"{'mask':None,'length':0}", "column 14: 'length' wants a whole number from 1 to 65536"},
    {"{'mask':None,'length':-1}", "'length' wants a whole number"},
    {"{'mask':None,'length':'3'}", "'length' wants a whole number"},
    {"{'mask':None,'length':1.5}", "column 23: a whole number is expected, at: 1.5}"},
    {"{'mask':None,'length':1+2}", "column 24: , or } is expected, at: +2}"},
    {"{'mask':None,'length':99999999999}", "column 23: this number is too large"},
    {"{'text':'a','token_type':2}", "'token_type' wants a whole number from 0 to 1"},
    {"{'text':'a','truncate':'no'}", "'truncate' wants True or False"},
    {"{'soft':'a','encoder':'gru'}", "'encoder' wants 'lstm', 'mlp' or None"},
    {"{'soft':3}", "'soft' wants a string or None"},
    {"{'soft_id':'a'}", "'soft_id' wants a whole number"},
    {"{'options':[]}", "'options' wants a list of strings"},
    {"{'options':[1]}", "column 13: a string or ] is expected"},
    {"{'options':['a' 'b']}", "column 17: , or ] is expected"},
    {"{'options':['a'}", "column 16: , or ] is expected"},
    {"{'options':['a'],'add_prompt':'x'}", "'add_prompt' wants a string with [OPT] in it"},
    {"{'text':__import__('os').system('x')}", "column 9: a value is expected"},
    {"{'text':'\\x4'}", "column 10: an escape with too few hexadecimal digits"},
    {"{'text':'\\ud800'}", "column 10: an escape that is no character"},
    {"{'text':'\\", "this string has no closing quote"},
    {"{{'text':'a'}}", "column 2: a quoted keyword"},
    {"a\xFF", "column 2: not UTF-8"},
};

static void test_bad_typed(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof BAD_TYPED / sizeof *BAD_TYPED; i++) {
        template_t t;
        cloze_error err = {0};
        CHECK_ERROR(template_parse(BAD_TYPED[i].text, &t, &err), err, CLOZE_ERR_USAGE,
                    BAD_TYPED[i].piece);
        assert_int_equal(t.n_parts, 0);
    }
}

/* As PaddleNLP writes them: with and without the class, prefixes and soft parts as it saves them.
 */
static const bad_case SAVED[] = {
    {"[{\"text\": \"text_a\"}, {\"hard\": \"x\"}, {\"mask\": null, \"length\": 1}]\n{\"class\": "
     "\"ManualTemplate\"}\n",
     "[" TEXT ", {\"hard\": \"x\"}, {\"mask\": null, \"length\": 1}]\n"},
    {"[{\"add_space\": \" \", \"hard\": \"is\"}, {\"mask\": null}]",
     "[" TEXT ", {\"add_space\": \" \", \"hard\": \"is\"}, " MASK "]\n"},
    {"[{\"soft\": [\"[UNK]\", \"[UNK]\"]}, {\"text\": \"text_a\"}, {\"mask\": "
     "null}]\r\n{\"class\": \"SoftTemplate\"}\r\n",
     "[{\"soft\": null, \"length\": 2}, " TEXT ", " MASK "]\n"},
    {"[{\"encoder\": \"mlp\", \"soft\": \"x\"}, {\"text\": \"text_a\"}, {\"mask\": "
     "null}]\n{\"class\": \"PrefixTemplate\"}\n",
     "[{\"prefix\": \"x\", \"encoder\": \"mlp\"}, " TEXT ", " MASK "]\n"},
    {"[]", "[" TEXT ", " MASK "]\n"},
};

static const bad_case BAD_SAVED[] = {
    {"", "template_config.json:1:1:"},
    {"{}", "line 1 must be a JSON list of parts"},
    {"[1]", "part 1 of the template is not an object"},
    {"[{}]", "part 1 of the template has no keyword"},
    {"[{\"text\": \"a\"}, {\"foo\": 1}]", "part 2 of the template: there is no 'foo'"},
    {"[{\"text\": {\"a\": 1}}]", "part 1 of the template: 'text' has a value of a wrong kind"},
    {"[{\"mask\": null, \"length\": 1.5}]", "'length' wants a whole number"},
    {"[{\"mask\": null}]\n[1]", "line 2 must be"},
    {"[{\"mask\": null}]\n{\"class\": 3}", "class"},
    {"[{\"mask\": null}", "template_config.json:1:"},
};

static void test_saved(void **state) {
    (void)state;
    cloze_error err = {0};
    template_t t;
    for (size_t i = 0; i < sizeof SAVED / sizeof *SAVED; i++) {
        buf got;
        buf_init(&got, 1 << 16);
        CHECK_OK(template_parse_config(SAVED[i].text, strlen(SAVED[i].text), "t", &t, &err), err);
        template_write_config(&t, &got);
        got.data[strcspn(got.data, "\n") + 1] = '\0';
        assert_string_equal(got.data, SAVED[i].piece);
        template_deinit(&t);
        buf_deinit(&got);
    }
    for (size_t i = 0; i < sizeof BAD_SAVED / sizeof *BAD_SAVED; i++) {
        cloze_status status = template_parse_config(BAD_SAVED[i].text, strlen(BAD_SAVED[i].text),
                                                    "template_config.json", &t, &err);
        CHECK_ERROR(status, err, CLOZE_ERR_MODEL, BAD_SAVED[i].piece);
    }
    CHECK_ERROR(template_read("/nowhere/template_config.json", &t, &err), err, CLOZE_ERR_MODEL,
                "/nowhere/");
}

static void test_check(void **state) {
    (void)state;
    static const bad_case refused[] = {
        {NULL, "part 1 of the template: soft parts are not built yet"},
        {"{'soft_id':1}{'text':'a'}{'mask'}", "soft_id parts are not built yet"},
        {"{'prefix'}{'text':'a'}{'mask'}", "prefix parts are not built yet"},
        {"{'text':'a'}{'options':['x']}{'mask'}",
         "part 2 of the template: options parts are not built yet"},
        {"{'text':'a'}", "the template has no mask"},
        {"{'text':'a'}{'mask':None,'truncate':True}", "a mask cannot be cut"},
    };
    static const char *const fine[] = {"x", "{'text':'a'}{'sep'}{'cls'}{'mask'}",
                                       "{'text':'a'}{'hard':'[MASK]'}"};
    cloze_error err = {0};
    template_t t;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        CHECK_OK(template_parse(refused[i].text, &t, &err), err);
        CHECK_ERROR(template_check(&t, CLOZE_ERR_USAGE, &err), err, CLOZE_ERR_USAGE,
                    refused[i].piece);
        CHECK_ERROR(template_check(&t, CLOZE_ERR_MODEL, &err), err, CLOZE_ERR_MODEL,
                    refused[i].piece);
        template_deinit(&t);
    }
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
        CHECK_OK(template_parse(fine[i], &t, &err), err);
        CHECK_OK(template_check(&t, CLOZE_ERR_USAGE, &err), err);
        template_deinit(&t);
    }
}

static void test_fixed_masks(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int32_t want;
    } cases[] = {
        {"x", 0},
        {"{'mask'}{'mask'}", 2},
        {"{'mask':None,'length':1}", 1},
        {"{'mask':None,'length':3}{'mask'}", 4},
        {"{'mask'}{'hard':'[MASK]'}", 1},
    };
    cloze_error err = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        template_t t;
        CHECK_OK(template_parse(cases[i].text, &t, &err), err);
        assert_int_equal(template_fixed_masks(&t), cases[i].want);
        assert_true(template_uses_field(&t, "text_a"));
        assert_false(template_uses_field(&t, "text_b"));
        template_deinit(&t);
    }
}

static void test_limits(void **state) {
    (void)state;
    cloze_error err = {0};
    template_t t;
    buf text;
    buf_init(&text, 1 << 20);
    for (int i = 0; i < 255; i++) buf_puts(&text, "{'mask'}");
    CHECK_ERROR(template_parse(text.data, &t, &err), err, CLOZE_ERR_USAGE, "too many parts");
    buf_clear(&text);
    for (int i = 0; i < 70000; i++) buf_putc(&text, 'x');
    CHECK_ERROR(template_parse(text.data, &t, &err), err, CLOZE_ERR_USAGE, "longer than 64 KB");
    buf_clear(&text);
    for (int i = 0; i < 300; i++) buf_puts(&text, i ? ", {\"mask\": null}" : "[{\"mask\": null}");
    buf_puts(&text, "]");
    CHECK_ERROR(template_parse_config(text.data, text.len, "t", &t, &err), err, CLOZE_ERR_MODEL,
                "more than");
    buf_deinit(&text);
}

static void test_no_memory(void **state) {
    (void)state;
    const char *text = "{'text':'text_a'}x{'options':['a']}{'mask'}";
    cloze_status status = CLOZE_ERR_MEMORY;
    for (int64_t k = 0; status != CLOZE_OK && k < 100; k++) {
        template_t t;
        cloze_error err = {0};
        mem_fail_after(k);
        status = template_parse(text, &t, &err);
        mem_fail_after(-1);
        if (status != CLOZE_OK) assert_int_equal(status, CLOZE_ERR_MEMORY);
        template_deinit(&t);
    }
    assert_int_equal(status, CLOZE_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),       cmocka_unit_test(test_bad_typed),
        cmocka_unit_test(test_saved),       cmocka_unit_test(test_check),
        cmocka_unit_test(test_fixed_masks), cmocka_unit_test(test_limits),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

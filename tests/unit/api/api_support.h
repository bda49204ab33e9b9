/*
 * What the tests of cloze.h share: argument lists, collected output and log lines, and, made once
 * for a test program, a tiny model with two runs trained on a handful of lines.
 */
#ifndef CLOZE_TESTS_API_SUPPORT_H
#define CLOZE_TESTS_API_SUPPORT_H

#include "unit/unit_support.h"

#include "base/buf.h"
#include "base/json.h"

#define MAX_ARGS 32

/* args(list, "--a", "b", NULL): list.values lives as long as list. */
typedef struct arg_list {
    char *values[MAX_ARGS];
    int count;
} arg_list;

static UNUSED cloze_args args(arg_list *list, ...) {
    va_list rest;
    va_start(rest, list);
    for (list->count = 0; list->count < MAX_ARGS; list->count++) {
        list->values[list->count] = va_arg(rest, char *);
        if (!list->values[list->count]) break;
    }
    va_end(rest);
    return (cloze_args){list->count, list->values};
}

/* What a call said and wrote. */
typedef struct recorder {
    buf out, log;
    int pieces, partial_pieces; /* of output; those that do not end with a line's end */
    int reports, finished;
    int interrupt_after; /* polls; -1 = never */
} recorder;

static UNUSED void recorder_init(recorder *r) {
    memset(r, 0, sizeof *r);
    buf_init(&r->out, 1 << 26);
    buf_init(&r->log, 1 << 20);
    r->interrupt_after = -1;
}

static UNUSED void recorder_deinit(recorder *r) {
    buf_deinit(&r->out);
    buf_deinit(&r->log);
}

static UNUSED int record_write(void *user, const char *text, size_t n) {
    recorder *r = user;
    buf_append(&r->out, text, n);
    r->pieces++;
    r->partial_pieces += n == 0 || text[n - 1] != '\n';
    return 0;
}

static UNUSED int refuse_write(void *user, const char *text, size_t n) { return 1; }

static UNUSED void record_log(void *user, cloze_log_level level, const char *line) {
    buf_printf(&((recorder *)user)->log, "%s\n", line);
}

static UNUSED void record_progress(void *user, const cloze_progress *p) {
    recorder *r = user;
    assert_non_null(p->task);
    assert_non_null(p->unit);
    assert_true(p->total == 0 || p->done <= p->total);
    r->reports++;
    r->finished += p->finished;
}

static UNUSED int record_interrupted(void *user) {
    recorder *r = user;
    return r->interrupt_after >= 0 && r->interrupt_after-- == 0;
}

static UNUSED cloze_callbacks recording(recorder *r) {
    return (cloze_callbacks){r, record_log, record_progress, record_interrupted};
}

static UNUSED cJSON *parse_json(const char *text) {
    cJSON *json = NULL;
    assert_non_null(text);
    MUST(json_parse(text, strlen(text), "output", CLOZE_ERR_INTERNAL, &json, err));
    return json;
}

/* ---- the model and its runs ---- */

static const char DATA[] = "今天股市大涨\t财经\n球队赢得冠军\t体育\n基金净值下跌\t财经\n"
                           "篮球联赛开幕\t体育\n央行下调利率\t财经\n足球队员受伤\t体育\n";

/* Files of the program's directory, as text: */
#define MODEL_DIR at("model")
#define PROMPT_RUN at("prompt run")
#define FINETUNE_RUN at("finetune")
#define DATA_DIR at("data")

static UNUSED void make_model(void) {
    buf text;
    arg_list list;
    buf_init(&text, 1 << 20);
    for (int i = 0; i < 20; i++) buf_puts(&text, DATA);
    for (char *p = text.data; *p; p++)
        if (*p == '\t') *p = ' ';
    put_file(at("raw.txt"), text.data);
    buf_deinit(&text);
    MUST(cloze_pretrain(args(&list, "--train_file", at("raw.txt"), "--output_dir", MODEL_DIR,
                             "--hidden_size", "32", "--num_hidden_layers", "1",
                             "--num_attention_heads", "2", "--vocab_size", "200", "--max_steps",
                             "1", "--max_seq_length", "32", "--eval_lines", "0",
                             "--tokens_per_batch", "256", NULL),
                        NULL, NULL, err));
}

static UNUSED void make_run(const char *dir, const char *method) {
    arg_list list;
    MUST(cloze_train(args(&list, "--data_dir", DATA_DIR, "--model_name_or_path", MODEL_DIR,
                          "--output_dir", dir, "--method", method, "--max_steps", "3",
                          "--learning_rate", "1e-3", "--max_seq_length", "32", NULL),
                     NULL, NULL, err));
}

static UNUSED int api_setup(void **state) {
    if (dir_setup(state) != 0) return -1;
    MUST(dir_create(DATA_DIR, err));
    put_file(at("data/train.txt"), DATA);
    put_file(at("data/dev.txt"), DATA);
    make_model();
    make_run(PROMPT_RUN, "prompt");
    make_run(FINETUNE_RUN, "finetune");
    return 0;
}

#endif

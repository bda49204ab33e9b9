/* Flags: their table, values, the argument list, and what they imply for each other. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/utf8.h"
#include "train/options_internal.h"

const option_row OPTION_ROWS[OPTION_COUNT] = {
#define OPT_GROUP(title) {title, KIND_GROUP, 0, NULL, 0, 0, 0, "", NULL, NULL},
#define OPT_STRING(n, def, cmds, meta, h)                                                          \
    {#n, KIND_STRING, offsetof(options, n), def, 0, 0, 0, cmds, meta, h},
#define OPT_INT(n, def, lo, hi, cmds, h)                                                           \
    {#n, KIND_INT, offsetof(options, n), NULL, def, lo, hi, cmds, "N", h},
#define OPT_REAL(n, def, lo, hi, cmds, h)                                                          \
    {#n, KIND_REAL, offsetof(options, n), NULL, def, lo, hi, cmds, "X", h},
#define OPT_BOOL(n, def, cmds, h)                                                                  \
    {#n, KIND_BOOL, offsetof(options, n), NULL, def, 0, 1, cmds, NULL, h},
#define OPT_CHOICE(n, def, list, cmds, h)                                                          \
    {#n, KIND_CHOICE, offsetof(options, n), def, 0, 0, 0, cmds, list, h},
#include "train/options.def"
};

void options_set_defaults(options *o, char command) {
    memset(o, 0, sizeof *o);
    arena_init(&o->memory, 4096);
    buf_init(&o->notes, 1 << 16);
    o->command = command;
    for (int i = 0; i < OPTION_COUNT; i++) {
        const option_row *row = &OPTION_ROWS[i];
        switch (row->kind) {
        case KIND_GROUP: break;
        case KIND_STRING:
        case KIND_CHOICE: *(const char **)option_field(o, row) = row->text; break;
        case KIND_INT: *(int64_t *)option_field(o, row) = (int64_t)row->number; break;
        case KIND_REAL: *(double *)option_field(o, row) = row->number; break;
        case KIND_BOOL: *(bool *)option_field(o, row) = row->number != 0; break;
        }
    }
}

void options_deinit(options *o) {
    buf_deinit(&o->notes);
    arena_deinit(&o->memory);
}

/* ---- values ---- */

bool options_parse_bool(const char *text, bool *out) {
    static const char *const WORDS[2][5] = {{"false", "False", "0", "no", "off"},
                                            {"true", "True", "1", "yes", "on"}};
    for (int value = 0; value < 2; value++)
        for (int i = 0; i < 5; i++)
            if (strcmp(text, WORDS[value][i]) == 0) {
                *out = value == 1;
                return true;
            }
    return false;
}

static cloze_status set_number(options *o, const option_row *row, const char *name,
                               const char *value, cloze_error *err) {
    char *end;
    double number = strtod(value, &end); /* too large a one is infinite, too small a one 0 */
    if (end == value || *end || strspn(value, "+-.0123456789eE") != strlen(value))
        CLOZE_FAIL(err, USAGE, "--%s: \"%s\" is not a number", name, value);
    if (row->kind == KIND_INT && number != floor(number))
        CLOZE_FAIL(err, USAGE, "--%s: \"%s\" is not a whole number", name, value);
    if (number < row->min || number > row->max)
        CLOZE_FAIL(err, USAGE, "--%s: %s is out of range (%.*g to %.*g)", name, value,
                   row->kind == KIND_INT ? 17 : 12, row->min, row->kind == KIND_INT ? 17 : 12,
                   row->max);
    if (row->kind == KIND_INT)
        *(int64_t *)option_field(o, row) = (int64_t)number;
    else
        *(double *)option_field(o, row) = number;
    return CLOZE_OK;
}

static bool is_choice(const char *choices, const char *value) {
    size_t n = strcspn(value, "|");
    for (const char *at = choices; n && !value[n] && at; at = strchr(at, '|')) {
        if (*at == '|') at++;
        if (strncmp(at, value, n) == 0 && (at[n] == '|' || at[n] == 0)) return true;
    }
    return false;
}

/* Texts may be empty and must be UTF-8; names of files and columns are the other way round. */
static cloze_status check_string(int index, const char *name, const char *value, cloze_error *err) {
    if (index == OPTION_text || index == OPTION_text_b || index == OPTION_prompt) {
        size_t n = strlen(value), valid = utf8_valid_prefix(value, n);
        if (valid < n)
            CLOZE_FAIL(err, USAGE, "--%s: column %zu is not UTF-8 (byte 0x%02X)", name,
                       utf8_count(value, valid) + 1, (unsigned)(unsigned char)value[valid]);
        return CLOZE_OK;
    }
    if (!*value)
        CLOZE_FAIL(err, USAGE, "--%s is empty; it wants a %s", name, OPTION_ROWS[index].metavar);
    return CLOZE_OK;
}

/* name: the flag as it was written, which may be an alias. */
static cloze_status set_row(options *o, int index, const char *name, const char *value,
                            option_source source, cloze_error *err) {
    const option_row *row = &OPTION_ROWS[index];
    if (row->kind == KIND_BOOL) {
        if (!options_parse_bool(value, option_field(o, row)))
            CLOZE_FAIL(err, USAGE, "--%s: \"%s\" is neither true nor false", name, value);
    } else if (row->kind == KIND_INT || row->kind == KIND_REAL) {
        CLOZE_TRY(set_number(o, row, name, value, err));
    } else {
        if (row->kind == KIND_CHOICE && !is_choice(row->metavar, value))
            CLOZE_FAIL(err, USAGE, "--%s: \"%s\" is not one of %s", name, value, row->metavar);
        if (row->kind == KIND_STRING) CLOZE_TRY(check_string(index, name, value, err));
        const char *copy = arena_strdup(&o->memory, value);
        if (!copy) CLOZE_FAIL(err, MEMORY, "out of memory for --%s", name);
        *(const char **)option_field(o, row) = copy;
    }
    o->is_set[index] = (uint8_t)source;
    return CLOZE_OK;
}

/* --lr_scheduler_kwargs: each member sets the flag of its name. */
static cloze_status set_schedule(options *o, const char *json, option_source source,
                                 cloze_error *err) {
    static const int ALLOWED[] = {OPTION_num_cycles, OPTION_power,       OPTION_lr_end,
                                  OPTION_min_lr,     OPTION_min_lr_rate, OPTION_timescale};
    cJSON *root, *item;
    cloze_status status = CLOZE_OK;
    CLOZE_TRY(json_parse(json, strlen(json), "--lr_scheduler_kwargs", CLOZE_ERR_USAGE, &root, err));
    if (!cJSON_IsObject(root))
        status = error_set(err, CLOZE_ERR_USAGE, "--lr_scheduler_kwargs: not a JSON object");
    for (item = root->child; item && status == CLOZE_OK; item = item->next) {
        char value[40];
        int index = -1;
        for (size_t i = 0; i < sizeof ALLOWED / sizeof *ALLOWED; i++)
            if (strcmp(OPTION_ROWS[ALLOWED[i]].name, item->string) == 0) index = ALLOWED[i];
        snprintf(value, sizeof value, "%.17g", item->valuedouble);
        if (index < 0 || !cJSON_IsNumber(item))
            status = error_set(err, CLOZE_ERR_USAGE,
                               "--lr_scheduler_kwargs: \"%.60s\" is not one of num_cycles, power, "
                               "lr_end, min_lr, min_lr_rate, timescale with a number",
                               item->string);
        else
            status = set_row(o, index, item->string, value, source, err);
    }
    json_destroy(root);
    return status;
}

cloze_status option_set(options *o, option_target t, const char *name, const char *value,
                        option_source source, cloze_error *err) {
    if (t.accepted) return option_accept(o, t.accepted, value, err);
    CLOZE_TRY(set_row(o, t.index, name, value, source, err));
    return t.index == OPTION_lr_scheduler_kwargs ? set_schedule(o, value, source, err) : CLOZE_OK;
}

cloze_status options_set(options *o, const char *name, const char *value, cloze_error *err) {
    option_target t;
    CLOZE_TRY(option_find(o, name, &t, err));
    return option_set(o, t, name, value, OPTION_ARGUMENT, err);
}

void options_tell_notes(options *o, const cloze_callbacks *callbacks) {
    char *line = buf_ok(&o->notes) && o->notes.len ? o->notes.data : NULL;
    while (line && *line) {
        char *end = strchr(line, '\n');
        *end = 0; /* every note ends with one */
        log_line(callbacks, CLOZE_LOG_WARN, "%s", line);
        line = end + 1;
    }
    buf_clear(&o->notes);
}

/* ---- the argument list ---- */

void options_apply_rules(options *o) {
    if (o->command == 'M' && o->eval_steps == 0) o->eval_steps = o->logging_steps;
    if (o->command != 'T' && o->command != 'I') return;
    if (o->finetune_names && !OPTION_IS_SET(o, prompt) && !OPTION_IS_SET(o, method))
        o->method = "finetune";
    if (!o->do_train && !o->do_eval && !o->do_predict) o->do_train = true;
    if (o->freeze_dropout) o->freeze_plm = true;
    if (o->early_stop) {
        o->load_best_model_at_end = true;
        o->do_eval = true;
        if (!OPTION_IS_SET(o, evaluation_strategy) && !OPTION_IS_SET(o, eval_steps))
            o->evaluation_strategy = "epoch";
    }
    if (o->do_eval && OPTION_IS_SET(o, eval_steps) && !OPTION_IS_SET(o, evaluation_strategy))
        o->evaluation_strategy = "steps";
    if (o->load_best_model_at_end && strcmp(o->evaluation_strategy, "no") == 0)
        o->evaluation_strategy = "steps";
    if (strcmp(o->evaluation_strategy, "no") != 0) o->do_eval = true;
    if (o->eval_steps == 0) o->eval_steps = o->logging_steps;
}

/* The flag's name without dashes and with underscores; the value behind '=' or NULL. */
static cloze_status split_flag(const char *argument, char name[64], const char **value,
                               cloze_error *err) {
    const char *start = argument + 2, *equals = strchr(start, '=');
    size_t n = equals ? (size_t)(equals - start) : strlen(start);
    *value = equals ? equals + 1 : NULL;
    if (n == 0 || n > 63) CLOZE_FAIL(err, USAGE, "unknown flag %.80s", argument);
    for (size_t i = 0; i < n; i++) name[i] = start[i] == '-' ? '_' : start[i];
    name[n] = 0;
    return CLOZE_OK;
}

/* An argument list being read. */
typedef struct argument_list {
    int argc;
    char *const *argv;
    int at;
    const char *given[OPTION_COUNT]; /* the values so far */
    const char *switched; /* the boolean flag just before that stood without a value, or NULL */
} argument_list;

/* Bytes of a hyphen or of a dash that word processors make of it; 0 = neither. */
static size_t dash_prefix(const char *text) {
    static const char *const dashes[] = {"-", "\xE2\x80\x93", "\xE2\x80\x94", "\xE2\x88\x92",
                                         "\xEF\xBC\x8D"};
    for (size_t i = 0; i < sizeof dashes / sizeof *dashes; i++)
        if (strncmp(text, dashes[i], strlen(dashes[i])) == 0) return strlen(dashes[i]);
    return 0;
}

/* An argument that does not begin with two hyphens and one letter. */
static cloze_status not_a_flag(const argument_list *list, cloze_error *err) {
    const char *argument = list->argv[list->at], *name = argument;
    while (dash_prefix(name)) name += dash_prefix(name);
    if (name != argument && *name)
        CLOZE_FAIL(err, USAGE, "\"%.80s\": a flag begins with two plain hyphens, --%.80s", argument,
                   name);
    if (list->switched)
        CLOZE_FAIL(err, USAGE,
                   "\"%.80s\" is not a flag, and %.80s stands alone or takes true or false",
                   argument, list->switched);
    CLOZE_FAIL(err, USAGE,
               "\"%.80s\" is not a flag (flags begin with --; quote a text that has blanks)",
               argument);
}

/* Of two values for one flag the last counts, as scripts of Python's argparse have it; that is
 * worth a word, for it may be a slip. */
static void note_given(options *o, argument_list *list, int index, const char *name,
                       const char *value) {
    const char *before = list->given[index], *own = OPTION_ROWS[index].name;
    list->given[index] = value;
    if (!before || strcmp(before, value) == 0) return;
    bool alias = strcmp(name, own) != 0;
    buf_printf(&o->notes, "--%s%s%s%s is given twice: %.60s counts, not %.60s\n", name,
               alias ? " (the same as --" : "", alias ? own : "", alias ? ")" : "", value, before);
}

static cloze_status parse_flag(options *o, argument_list *list, cloze_error *err) {
    char name[64];
    const char *value, *flag = list->argv[list->at];
    option_target t;
    if (strncmp(flag, "--", 2) != 0 || dash_prefix(flag + 2)) return not_a_flag(list, err);
    CLOZE_TRY(split_flag(flag, name, &value, err));
    const char *next = list->at + 1 < list->argc ? list->argv[list->at + 1] : NULL;
    CLOZE_TRY(option_find(o, name, &t, err));
    list->switched = NULL;
    if (!value && option_target_is_bool(t)) {
        bool ignored, takes_next = next && options_parse_bool(next, &ignored);
        value = takes_next ? next : "true";
        list->at += takes_next;
        if (!takes_next) list->switched = flag;
    } else if (!value) {
        if (!next || strncmp(next, "--", 2) == 0)
            CLOZE_FAIL(err, USAGE, "--%s needs a value (%s)", name,
                       t.accepted ? "X" : OPTION_ROWS[t.index].metavar);
        value = next;
        list->at++;
    }
    if (!t.accepted) note_given(o, list, t.index, name, value);
    return option_set(o, t, name, value, OPTION_ARGUMENT, err);
}

/* The file of --config, wherever it stands in the list; what the list itself says wins. */
static cloze_status read_config(options *o, int argc, char *const argv[], cloze_error *err) {
    for (int i = 0; i < argc; i++) {
        const char *value = strncmp(argv[i], "--config", 8) == 0 ? argv[i] + 8 : NULL;
        if (!value || (*value != 0 && *value != '=')) continue;
        if (!option_is_listed(&OPTION_ROWS[OPTION_config], o->command)) continue;
        value = *value ? value + 1 : i + 1 < argc ? argv[i + 1] : NULL;
        if (value) CLOZE_TRY(options_read_config(o, value, err));
    }
    return CLOZE_OK;
}

/* Without slashes at its end, so that what is said about files in it reads well. */
static cloze_status trim_output_dir(options *o, cloze_error *err) {
    size_t n = strlen(o->output_dir);
    while (n > 1 && o->output_dir[n - 1] == '/') n--;
    if (n == 0) CLOZE_FAIL(err, USAGE, "--output_dir is empty");
    char *trimmed = arena_copy(&o->memory, o->output_dir, n + 1);
    if (!trimmed) CLOZE_FAIL(err, MEMORY, "out of memory for --output_dir");
    trimmed[n] = 0;
    o->output_dir = trimmed;
    return CLOZE_OK;
}

/* Event files are the one place that results are reported to. */
static void note_reports(options *o) {
    const char *names = o->report_to;
    if (strcmp(names, "none") != 0 && strcmp(names, "all") != 0 && !strstr(names, "tensorboard"))
        buf_printf(&o->notes, "--report_to %.80s: TensorBoard event files are written instead\n",
                   names);
}

static cloze_status check_rules(const options *o, cloze_error *err) {
    if (o->use_rdrop && o->freeze_dropout)
        CLOZE_FAIL(err, USAGE,
                   "--use_rdrop compares two passes with different dropout, and --freeze_dropout "
                   "leaves none: give one of them");
    return CLOZE_OK;
}

cloze_status options_parse(options *o, char command, int argc, char *const argv[],
                           cloze_error *err) {
    argument_list list = {.argc = argc, .argv = argv};
    options_set_defaults(o, command);
    CLOZE_TRY(read_config(o, argc, argv, err));
    for (; list.at < argc; list.at++) CLOZE_TRY(parse_flag(o, &list, err));
    options_apply_rules(o);
    note_reports(o);
    CLOZE_TRY(check_rules(o, err));
    return trim_output_dir(o, err);
}

/* Flags: parsing, checking, help and JSON, all from the table in options.def. */
#include "train/options.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

typedef enum option_kind {
    KIND_GROUP,
    KIND_STRING,
    KIND_INT,
    KIND_REAL,
    KIND_BOOL,
    KIND_CHOICE
} option_kind;

typedef struct option_row {
    const char *name; /* a group: its title */
    option_kind kind;
    size_t offset;    /* in struct options */
    const char *text; /* default of a string or choice */
    double number, min, max;
    const char *commands;
    const char *metavar; /* a choice: its choices */
    const char *help;
} option_row;

/* Indexed by enum option_index. */
static const option_row ROWS[OPTION_COUNT] = {
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

static const struct {
    const char *command;
    char letter;
} COMMANDS[] = {
    {"train", 'T'},    {"eval", 'E'},    {"predict", 'P'},  {"fill", 'F'},
    {"tokenize", 'K'}, {"inspect", 'I'}, {"pretrain", 'M'},
};

/* Other names of flags: the fine-tuning script of the tutorial, newer Hugging Face names, habits.
 */
static const struct {
    const char *alias;
    int option;
    const char *commands;
    bool finetune;
} ALIASES[] = {
    {"dataset_dir", OPTION_data_dir, "T", true},
    {"save_dir", OPTION_output_dir, "T", true},
    {"epochs", OPTION_num_train_epochs, "TM", true},
    {"batch_size", OPTION_per_device_train_batch_size, "T", true},
    {"model_name", OPTION_model_name_or_path, "TM", true},
    {"eval_strategy", OPTION_evaluation_strategy, "TM", false},
    {"max_length", OPTION_max_seq_length, "TEPI", false},
    {"model_name_or_path", OPTION_model, "EPFKI", false},
};

char options_command_letter(const char *command) {
    for (size_t i = 0; i < sizeof COMMANDS / sizeof *COMMANDS; i++)
        if (strcmp(COMMANDS[i].command, command) == 0) return COMMANDS[i].letter;
    return 0;
}

static const char *command_name(char letter) {
    for (size_t i = 0; i < sizeof COMMANDS / sizeof *COMMANDS; i++)
        if (COMMANDS[i].letter == letter) return COMMANDS[i].command;
    return "";
}

static bool takes(const option_row *row, char command) {
    return row->kind != KIND_GROUP && strchr(row->commands, command) != NULL;
}

static void *field(const options *o, const option_row *row) { return (char *)o + row->offset; }

static void set_defaults(options *o, char command) {
    memset(o, 0, sizeof *o);
    arena_init(&o->memory, 4096);
    o->command = command;
    for (int i = 0; i < OPTION_COUNT; i++) {
        const option_row *row = &ROWS[i];
        switch (row->kind) {
        case KIND_GROUP: break;
        case KIND_STRING:
        case KIND_CHOICE: *(const char **)field(o, row) = row->text; break;
        case KIND_INT: *(int64_t *)field(o, row) = (int64_t)row->number; break;
        case KIND_REAL: *(double *)field(o, row) = row->number; break;
        case KIND_BOOL: *(bool *)field(o, row) = row->number != 0; break;
        }
    }
}

void options_deinit(options *o) { arena_deinit(&o->memory); }

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
        *(int64_t *)field(o, row) = (int64_t)number;
    else
        *(double *)field(o, row) = number;
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
    if (!*value) CLOZE_FAIL(err, USAGE, "--%s is empty; it wants a %s", name, ROWS[index].metavar);
    return CLOZE_OK;
}

/* name: the flag as it was written, which may be an alias. */
static cloze_status set_row(options *o, int index, const char *name, const char *value,
                            cloze_error *err) {
    const option_row *row = &ROWS[index];
    if (row->kind == KIND_BOOL) {
        if (!options_parse_bool(value, field(o, row)))
            CLOZE_FAIL(err, USAGE, "--%s: \"%s\" is neither true nor false", name, value);
    } else if (row->kind == KIND_INT || row->kind == KIND_REAL) {
        CLOZE_TRY(set_number(o, row, name, value, err));
    } else {
        if (row->kind == KIND_CHOICE && !is_choice(row->metavar, value))
            CLOZE_FAIL(err, USAGE, "--%s: \"%s\" is not one of %s", name, value, row->metavar);
        if (row->kind == KIND_STRING) CLOZE_TRY(check_string(index, name, value, err));
        const char *copy = arena_strdup(&o->memory, value);
        if (!copy) CLOZE_FAIL(err, MEMORY, "out of memory for --%s", name);
        *(const char **)field(o, row) = copy;
    }
    o->is_set[index] = true;
    return CLOZE_OK;
}

/* ---- names ---- */

/* Levenshtein distance of two short names. */
static int distance(const char *a, const char *b) {
    enum { MAX = 48 };
    int row[MAX + 1];
    int n = (int)strlen(b), m = (int)strlen(a);
    if (n > MAX || m > MAX) return MAX;
    for (int j = 0; j <= n; j++) row[j] = j;
    for (int i = 1; i <= m; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            int up = row[j], best = diagonal + (a[i - 1] != b[j - 1]);
            if (up + 1 < best) best = up + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            diagonal = up;
            row[j] = best;
        }
    }
    return row[n];
}

static const char *nearest(char command, const char *name) {
    const char *best = NULL;
    int best_distance = 1 + (int)strlen(name) / 3;
    for (int i = 0; i < OPTION_COUNT; i++) {
        if (!takes(&ROWS[i], command)) continue;
        int d = distance(name, ROWS[i].name);
        if (d > best_distance || (best && d == best_distance)) continue;
        best_distance = d;
        best = ROWS[i].name;
    }
    return best;
}

bool options_is_planned_command(const char *name) {
    static const char *const planned[] = {"infer",  "pet",   "search",  "generate",
                                          "export", "serve", "explain", "compare"};
    for (size_t i = 0; i < sizeof planned / sizeof *planned; i++)
        if (strcmp(planned[i], name) == 0) return true;
    return false;
}

const char *options_nearest_command(const char *name) {
    const char *best = NULL;
    int best_distance = 1 + (int)strlen(name) / 3;
    for (size_t i = 0; i < sizeof COMMANDS / sizeof *COMMANDS; i++) {
        int d = distance(name, COMMANDS[i].command);
        if (d > best_distance || (best && d == best_distance)) continue;
        best_distance = d;
        best = COMMANDS[i].command;
    }
    return best;
}

static int find_option(char command, const char *name, bool *finetune) {
    for (int i = 0; i < OPTION_COUNT; i++)
        if (takes(&ROWS[i], command) && strcmp(ROWS[i].name, name) == 0) return i;
    for (size_t i = 0; i < sizeof ALIASES / sizeof *ALIASES; i++) {
        if (!strchr(ALIASES[i].commands, command) || strcmp(ALIASES[i].alias, name) != 0) continue;
        *finetune = *finetune || ALIASES[i].finetune;
        return ALIASES[i].option;
    }
    return -1;
}

/* The commands that know a flag by this name, as letters; NULL when none does. */
static const char *commands_with(const char *name) {
    for (int i = 0; i < OPTION_COUNT; i++)
        if (ROWS[i].kind != KIND_GROUP && strcmp(ROWS[i].name, name) == 0) return ROWS[i].commands;
    for (size_t i = 0; i < sizeof ALIASES / sizeof *ALIASES; i++)
        if (strcmp(ALIASES[i].alias, name) == 0) return ALIASES[i].commands;
    return NULL;
}

/* A flag that exists, but not for this command: says which commands have it. */
static cloze_status misplaced_flag(char command, const char *name, const char *commands,
                                   cloze_error *err) {
    char list[128] = "";
    size_t used = 0, n = strlen(commands);
    for (size_t i = 0; i < n && used < sizeof list; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s",
                                 i == 0       ? ""
                                 : i + 1 == n ? " and "
                                              : ", ",
                                 command_name(commands[i]));
    CLOZE_FAIL(err, USAGE, "--%s is not a flag of `cloze %s`; %s %s it", name,
               command_name(command), list, n == 1 ? "has" : "have");
}

static cloze_status unknown_flag(char command, const char *name, cloze_error *err) {
    const char *commands = commands_with(name);
    if (commands && !commands[0])
        CLOZE_FAIL(err, USAGE, "--%s is not built yet in this version; nothing was started", name);
    if (commands) return misplaced_flag(command, name, commands, err);
    const char *hint = nearest(command, name);
    if (hint) CLOZE_FAIL(err, USAGE, "unknown flag --%s; did you mean --%s?", name, hint);
    CLOZE_FAIL(err, USAGE, "unknown flag --%s (cloze %s --help lists them)", name,
               command_name(command));
}

cloze_status options_set(options *o, const char *name, const char *value, cloze_error *err) {
    bool finetune = false;
    int index = find_option(o->command, name, &finetune);
    if (index < 0) return unknown_flag(o->command, name, err);
    return set_row(o, index, name, value, err);
}

/* ---- the argument list ---- */

/* What one flag implies for others; every implication is a documented rule of the commands. */
static void apply_rules(options *o, bool finetune) {
    if (o->command == 'M' && o->eval_steps == 0) o->eval_steps = o->logging_steps;
    if (o->command != 'T') return;
    if (finetune && !OPTION_IS_SET(o, prompt) && !OPTION_IS_SET(o, method)) o->method = "finetune";
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
    bool finetune;                   /* an alias of the fine-tuning script was among them */
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
    const char *before = list->given[index];
    list->given[index] = value;
    if (!before || strcmp(before, value) == 0) return;
    bool alias = strcmp(name, ROWS[index].name) != 0;
    snprintf(o->note, sizeof o->note, "--%s%s%s%s is given twice: %.60s counts, not %.60s", name,
             alias ? " (the same as --" : "", alias ? ROWS[index].name : "", alias ? ")" : "",
             value, before);
}

static cloze_status parse_flag(options *o, argument_list *list, cloze_error *err) {
    char name[64];
    const char *value, *flag = list->argv[list->at];
    if (strncmp(flag, "--", 2) != 0 || dash_prefix(flag + 2)) return not_a_flag(list, err);
    CLOZE_TRY(split_flag(flag, name, &value, err));
    const char *next = list->at + 1 < list->argc ? list->argv[list->at + 1] : NULL;
    int index = find_option(o->command, name, &list->finetune);
    if (index < 0) return unknown_flag(o->command, name, err);
    list->switched = NULL;
    if (!value && ROWS[index].kind == KIND_BOOL) {
        bool ignored, takes_next = next && options_parse_bool(next, &ignored);
        value = takes_next ? next : "true";
        list->at += takes_next;
        if (!takes_next) list->switched = flag;
    } else if (!value) {
        if (!next || strncmp(next, "--", 2) == 0)
            CLOZE_FAIL(err, USAGE, "--%s needs a value (%s)", name, ROWS[index].metavar);
        value = next;
        list->at++;
    }
    note_given(o, list, index, name, value);
    return set_row(o, index, name, value, err);
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

cloze_status options_parse(options *o, char command, int argc, char *const argv[],
                           cloze_error *err) {
    argument_list list = {.argc = argc, .argv = argv};
    set_defaults(o, command);
    for (; list.at < argc; list.at++) CLOZE_TRY(parse_flag(o, &list, err));
    apply_rules(o, list.finetune);
    return trim_output_dir(o, err);
}

/* ---- help and JSON ---- */

static void write_default(const option_row *row, buf *out) {
    if (row->kind == KIND_STRING || row->kind == KIND_CHOICE) {
        if (row->text) buf_printf(out, " [%s]", row->text);
    } else if (row->kind != KIND_BOOL || row->number != 0) {
        buf_puts(out, " [");
        if (row->kind == KIND_BOOL)
            buf_puts(out, "true");
        else
            buf_printf(out, "%.10g", row->number);
        buf_puts(out, "]");
    }
}

/* Wraps text to 80 columns behind an indent of 6. */
static void write_wrapped(const char *text, buf *out) {
    size_t column = 6;
    buf_puts(out, "      ");
    while (*text) {
        size_t word = strcspn(text, " ");
        if (column > 6 && column + 1 + word > 80) {
            buf_puts(out, "\n      ");
            column = 6;
        } else if (column > 6) {
            buf_putc(out, ' ');
            column++;
        }
        buf_append(out, text, word);
        column += word;
        text += word;
        while (*text == ' ') text++;
    }
    buf_putc(out, '\n');
}

void options_help(char command, buf *out) {
    const char *title = NULL;
    for (int i = 0; i < OPTION_COUNT; i++) {
        const option_row *row = &ROWS[i];
        if (row->kind == KIND_GROUP) title = row->name;
        if (!takes(row, command)) continue;
        if (title) buf_printf(out, "\n%s\n", title);
        title = NULL;
        buf_printf(out, "  --%s", row->name);
        if (row->metavar) buf_printf(out, " %s", row->metavar);
        write_default(row, out);
        buf_putc(out, '\n');
        if (row->help[0]) write_wrapped(row->help, out);
    }
}

static int by_name(const void *a, const void *b) {
    return strcmp(ROWS[*(const int *)a].name, ROWS[*(const int *)b].name);
}

static void write_value(const options *o, const option_row *row, buf *out) {
    const char *text;
    switch (row->kind) {
    case KIND_GROUP: break;
    case KIND_STRING:
    case KIND_CHOICE:
        text = *(const char **)field(o, row);
        if (text)
            buf_json_string(out, text, strlen(text));
        else
            buf_puts(out, "null");
        break;
    case KIND_INT: buf_printf(out, "%lld", (long long)*(int64_t *)field(o, row)); break;
    case KIND_REAL: buf_json_double(out, *(double *)field(o, row)); break;
    case KIND_BOOL: buf_puts(out, *(bool *)field(o, row) ? "true" : "false"); break;
    }
}

void options_write_json(const options *o, buf *out) {
    int order[OPTION_COUNT], n = 0;
    for (int i = 0; i < OPTION_COUNT; i++)
        if (takes(&ROWS[i], o->command)) order[n++] = i;
    qsort(order, (size_t)n, sizeof *order, by_name);
    buf_puts(out, "{");
    for (int i = 0; i < n; i++) {
        buf_printf(out, "%s\n  \"%s\": ", i ? "," : "", ROWS[order[i]].name);
        write_value(o, &ROWS[order[i]], out);
    }
    buf_puts(out, "\n}\n");
}

/* ---- the options of an earlier run ---- */

static cloze_status set_json(options *o, const option_row *row, const cJSON *value,
                             cloze_error *err) {
    void *to = field(o, row);
    int64_t whole = 0;
    const char *text = NULL, *copy = NULL;
    switch (row->kind) {
    case KIND_GROUP: break;
    case KIND_BOOL: return json_get_bool(value, row->name, to, err);
    case KIND_REAL: return json_get_double(value, row->name, to, err);
    case KIND_INT:
        whole = *(int64_t *)to;
        CLOZE_TRY(
            json_get_int(value, row->name, (int64_t)row->min, (int64_t)row->max, &whole, err));
        *(int64_t *)to = whole;
        break;
    case KIND_STRING:
    case KIND_CHOICE:
        CLOZE_TRY(json_get_string(value, row->name, &text, err));
        if (!text) break;
        copy = arena_strdup(&o->memory, text);
        if (!copy) CLOZE_FAIL(err, MEMORY, "out of memory for --%s", row->name);
        *(const char **)to = copy;
        break;
    }
    return CLOZE_OK;
}

static bool is_equal(const option_row *row, const options *a, const options *b) {
    const void *x = field(a, row), *y = field(b, row);
    switch (row->kind) {
    case KIND_GROUP: return true;
    case KIND_BOOL: return *(const bool *)x == *(const bool *)y;
    case KIND_REAL: return *(const double *)x == *(const double *)y;
    case KIND_INT: return *(const int64_t *)x == *(const int64_t *)y;
    case KIND_STRING:
    case KIND_CHOICE: break;
    }
    const char *s = *(const char *const *)x, *t = *(const char *const *)y;
    return s && t ? strcmp(s, t) == 0 : s == t;
}

static void write_plain(const options *o, const option_row *row, buf *out) {
    bool text = row->kind == KIND_STRING || row->kind == KIND_CHOICE;
    const char *value = text ? *(const char **)field(o, row) : NULL;
    if (text)
        buf_puts(out, value ? value : "(none)");
    else
        write_value(o, row, out);
}

static cloze_status adopt_row(options *o, const options *saved, int index, options_judge judge,
                              void *ctx, cloze_error *err) {
    const option_row *row = &ROWS[index];
    bool keep = false;
    buf then, now;
    if (is_equal(row, o, saved)) return CLOZE_OK;
    buf_init(&then, 1 << 20);
    buf_init(&now, 1 << 20);
    write_plain(saved, row, &then);
    write_plain(o, row, &now);
    cloze_status status =
        buf_ok(&then) && buf_ok(&now)
            ? judge(ctx, row->name, then.data, now.data, o->is_set[index], &keep, err)
            : error_set(err, CLOZE_ERR_MEMORY, "out of memory for --%s", row->name);
    buf_deinit(&then);
    buf_deinit(&now);
    if (status != CLOZE_OK || keep || o->is_set[index]) return status;
    o->is_set[index] = true;
    if (row->kind == KIND_BOOL) {
        *(bool *)field(o, row) = *(bool *)field(saved, row);
    } else if (row->kind == KIND_INT) {
        *(int64_t *)field(o, row) = *(int64_t *)field(saved, row);
    } else if (row->kind == KIND_REAL) {
        *(double *)field(o, row) = *(double *)field(saved, row);
    } else {
        const char *text = *(const char **)field(saved, row);
        const char *copy = text ? arena_strdup(&o->memory, text) : NULL;
        if (text && !copy) CLOZE_FAIL(err, MEMORY, "out of memory for --%s", row->name);
        *(const char **)field(o, row) = copy;
    }
    return CLOZE_OK;
}

cloze_status options_adopt(options *o, const cJSON *saved, const char *what, options_judge judge,
                           void *ctx, cloze_error *err) {
    options then;
    cloze_status status = CLOZE_OK;
    set_defaults(&then, o->command);
    for (int i = 0; i < OPTION_COUNT && status == CLOZE_OK; i++)
        if (takes(&ROWS[i], o->command)) status = set_json(&then, &ROWS[i], saved, err);
    if (status != CLOZE_OK) error_prefix(err, "%s", what);
    for (int i = 0; i < OPTION_COUNT && status == CLOZE_OK; i++)
        if (takes(&ROWS[i], o->command) && cJSON_HasObjectItem(saved, ROWS[i].name))
            status = adopt_row(o, &then, i, judge, ctx, err);
    options_deinit(&then);
    if (status == CLOZE_OK) apply_rules(o, false);
    return status;
}
